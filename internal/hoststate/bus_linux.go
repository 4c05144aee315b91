package hoststate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	defaultBus = "unix:path=/run/dbus/system_bus_socket"

	// joinWithin bounds how long it takes to join the bus, askWithin one question to a
	// service, lookWithin all of them, writeWithin what is written.
	joinWithin  = 2 * time.Second
	askWithin   = time.Second
	lookWithin  = 4 * time.Second
	writeWithin = time.Second

	// maxBetween is the most bytes that the bus may send between two looks; the
	// answers are a few hundred.
	maxBetween = 1 << 20
	// maxActive is the most network connections that are asked about.
	maxActive = 32

	properties = "org.freedesktop.DBus.Properties"
)

// service is one that is asked, and whose changes are followed.
type service struct {
	name, iface string
	path        dbus.ObjectPath
}

var (
	upower  = service{"org.freedesktop.UPower", "org.freedesktop.UPower", "/org/freedesktop/UPower"}
	network = service{"org.freedesktop.NetworkManager", "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"}
	active  = service{network.name, "org.freedesktop.NetworkManager.Connection.Active", ""}
	login   = service{"org.freedesktop.login1", "org.freedesktop.login1.Manager", "/org/freedesktop/login1"}
)

// bus is a connection to the system's message bus. What signals say is not read: they
// tell that it is time to ask.
type bus struct {
	conn *dbus.Conn
	wire *wire
}

// dialBus joins the bus at the first address of a list that answers; "" is the usual
// place. stir is called when something may have changed, also when the bus is lost.
func dialBus(ctx context.Context, list string, stir func()) (*bus, error) {
	if list == "" {
		list = defaultBus
	}
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	var errs []error
	for address := range strings.SplitSeq(list, ";") {
		b, err := join(ctx, address, stir)
		if err == nil {
			return b, nil
		}
		errs = append(errs, fmt.Errorf("bus %.200q: %w", address, err))
	}
	return nil, errors.Join(errs...)
}

func join(ctx context.Context, address string, stir func()) (*bus, error) {
	path, err := socketPath(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: raw, lost: stir}
	w.left.Store(maxBetween)
	conn, err := dbus.NewConn(w, dbus.WithSignalHandler(signals(stir)), dbus.WithIncomingInterceptor(soundNames),
		dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(os.Geteuid()))))
	if err != nil {
		raw.Close()
		return nil, err
	}
	b := &bus{conn, w}
	// Neither the handshake nor Hello can be told of ctx.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err == nil {
		err = b.follow(ctx)
	}
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		b.close()
		return nil, err
	}
	w.joined.Store(true)
	return b, nil
}

// socketPath is where a unix socket listens; other kinds of addresses are for buses
// that are not this machine's.
func socketPath(address string) (string, error) {
	kind, list, _ := strings.Cut(address, ":")
	for pair := range strings.SplitSeq(list, ",") {
		key, value, _ := strings.Cut(pair, "=")
		if kind != "unix" || key != "path" && key != "abstract" {
			continue
		}
		path, err := dbus.UnescapeBusAddressValue(value)
		if err == nil && path == "" {
			err = errors.New("an empty path")
		}
		if key == "abstract" {
			path = "@" + path
		}
		return path, err
	}
	return "", errors.New("want unix:path=… or unix:abstract=…")
}

// follow has the bus send a signal when something has changed, and when a service comes
// or goes.
func (b *bus) follow(ctx context.Context) error {
	rules := [][]dbus.MatchOption{{
		dbus.WithMatchSender(active.name), dbus.WithMatchInterface(properties), dbus.WithMatchMember("PropertiesChanged"),
		dbus.WithMatchArg(0, active.iface),
	}}
	for _, s := range []service{upower, network, login} {
		rules = append(rules, []dbus.MatchOption{
			dbus.WithMatchSender(s.name), dbus.WithMatchObjectPath(s.path), dbus.WithMatchInterface(properties),
			dbus.WithMatchMember("PropertiesChanged"), dbus.WithMatchArg(0, s.iface),
		}, []dbus.MatchOption{
			dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, s.name),
		})
	}
	for _, r := range rules {
		if err := b.conn.AddMatchSignalContext(ctx, r...); err != nil {
			return err
		}
	}
	return nil
}

func (b *bus) alive() bool { return !b.wire.dead.Load() }

func (b *bus) close() {
	b.wire.joined.Store(false) // it is not lost
	b.wire.Close()             // at once, also when something is being written
	_ = b.conn.Close()
}

// look asks all services. Those that are not there are not started.
func (b *bus) look(ctx context.Context) State {
	b.wire.left.Store(maxBetween)
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	return State{
		Battery: b.truth(ctx, upower, "OnBattery"),
		Metered: b.metered(ctx),
		VPN:     b.vpn(ctx),
		Idle:    b.truth(ctx, login, "IdleHint"),
	}
}

func (b *bus) truth(ctx context.Context, s service, property string) Answer {
	var yes bool
	if !b.get(ctx, s, property, &yes) {
		return Unknown
	}
	return answer(yes)
}

// metered reads NMMetered: 1 yes, 2 no, 3 and 4 the same as guessed.
func (b *bus) metered(ctx context.Context) Answer {
	var m uint32
	b.get(ctx, network, "Metered", &m)
	switch m {
	case 1, 3:
		return Yes
	case 2, 4:
		return No
	}
	return Unknown
}

// vpn is whether a connection that NetworkManager calls a VPN has a default route. One
// without it is for a network of its own, and does not carry what is shared.
func (b *bus) vpn(ctx context.Context) Answer {
	var conns []dbus.ObjectPath
	if !b.get(ctx, network, "ActiveConnections", &conns) {
		return Unknown
	}
	for _, path := range conns[:min(len(conns), maxActive)] {
		var all map[string]dbus.Variant
		ask, cancel := context.WithTimeout(ctx, askWithin)
		err := b.conn.Object(active.name, path).CallWithContext(ask, properties+".GetAll", dbus.FlagNoAutoStart, active.iface).Store(&all)
		cancel()
		if err != nil {
			continue // gone meanwhile
		}
		kind, _ := all["Type"].Value().(string)
		vpn, _ := all["Vpn"].Value().(bool)
		by4, _ := all["Default"].Value().(bool)
		by6, _ := all["Default6"].Value().(bool)
		if (vpn || kind == "wireguard") && (by4 || by6) {
			return Yes
		}
	}
	return No
}

// get reads a property into a pointer of its type.
func (b *bus) get(ctx context.Context, s service, property string, to any) bool {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var v dbus.Variant
	err := b.conn.Object(s.name, s.path).CallWithContext(ctx, properties+".Get", dbus.FlagNoAutoStart, s.iface, property).Store(&v)
	return err == nil && v.Store(to) == nil
}

// signals implements [dbus.SignalHandler].
type signals func()

func (s signals) DeliverSignal(string, string, *dbus.Signal) { s() }

// soundNames makes a signal about this connection's names, which the library takes to be
// well-formed, into nothing when it is not.
func soundNames(m *dbus.Message) {
	if m.Type != dbus.TypeSignal {
		return
	}
	if len(m.Body) == 1 {
		if _, ok := m.Body[0].(string); ok {
			return
		}
	}
	if name, _ := m.Headers[dbus.FieldMember].Value().(string); name == "NameLost" || name == "NameAcquired" {
		m.Type = 0
	}
}

// wire bounds what a bus can do to us: it must take what is written in time and may send
// so many bytes between two looks.
type wire struct {
	net.Conn
	left   atomic.Int64
	joined atomic.Bool // and in use
	dead   atomic.Bool // nothing can be read any more
	lost   func()      // called when one in use dies
}

var errFlood = errors.New("the bus sends too much")

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err == nil && w.left.Add(-int64(n)) < 0 {
		err = errFlood
	}
	if err != nil {
		w.dead.Store(true)
		if w.joined.Load() {
			w.lost()
		}
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}
