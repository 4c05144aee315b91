package transport

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Off as a listening address opens no socket: without one for UDP there are no
// QUIC links, without one for TCP only those that this side dials.
const Off = "off"

// Config is what an endpoint needs.
type Config struct {
	// Key is the session key: what peers know this process by.
	Key ed25519.PrivateKey
	// ListenTCP and ListenUDP are host:port; empty is any port on all
	// interfaces, the same for both where it is free. [Off] disables.
	ListenTCP, ListenUDP string
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Endpoint makes and accepts links with peers.
type Endpoint struct {
	identity     *identity
	log          *slog.Logger
	tcp          net.Listener // nil when off
	shared       bool         // tcp leaves its port to connections that are dialled, too
	udp          *net.UDPConn // nil when off
	quic         *quic.Transport
	quicListener *quic.Listener
	inboundTCP   *admission
	inboundQUIC  *admission
	accepted     chan *Conn

	gathering sync.Mutex
	kind      atomic.Value // wire.NAT, what Gather found last
	// local says that control is on this machine: only then are loopback
	// addresses of peers dialled, which elsewhere would let a peer point us at
	// services of our own.
	local atomic.Bool

	ctx    context.Context // done when the endpoint is closed
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	pairs map[wire.Key]*pair
	links map[wire.Key]*Conn
	over  map[wire.Key]time.Time // when links ended that were lately chosen
}

// Listen opens the sockets.
func Listen(cfg Config) (*Endpoint, error) {
	id, err := newIdentity(cfg.Key)
	if err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		identity:    id,
		log:         log,
		inboundTCP:  newAdmission(maxHandshakes, maxHandshakesPerIP),
		inboundQUIC: newAdmission(maxHandshakes, maxHandshakesPerIP),
		accepted:    make(chan *Conn, maxUnaccepted),
		pairs:       make(map[wire.Key]*pair),
		links:       make(map[wire.Key]*Conn),
		over:        make(map[wire.Key]time.Time),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.open(cfg); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Endpoint) open(cfg Config) error {
	if cfg.ListenTCP != Off {
		lc := net.ListenConfig{KeepAliveConfig: keepAliveConfig(), Control: controlTCP}
		lc.SetMultipathTCP(false) // Go's default for listeners; it takes no options of TCP
		l, err := lc.Listen(e.ctx, "tcp", orAny(cfg.ListenTCP))
		if err != nil {
			return fmt.Errorf("listen for links: %w", err)
		}
		e.tcp = l
		if raw, err := l.(*net.TCPListener).SyscallConn(); err == nil {
			e.shared = sharePort(raw) == nil
		}
		e.wg.Go(e.acceptTCP)
	}
	if cfg.ListenUDP != Off {
		socket, err := e.bindUDP(cfg.ListenUDP)
		if err != nil {
			return fmt.Errorf("listen for links: %w", err)
		}
		if err := e.listenQUIC(socket); err != nil {
			return err
		}
		e.wg.Go(e.acceptQUIC)
	}
	return nil
}

func orAny(addr string) string {
	if addr == "" {
		return ":0"
	}
	return addr
}

// bindUDP opens the UDP socket, on TCP's port when any will do: one rule in a
// firewall serves both.
func (e *Endpoint) bindUDP(addr string) (*net.UDPConn, error) {
	if addr == "" && e.tcp != nil {
		same := fmt.Sprintf(":%d", addrPort(e.tcp.Addr()).Port())
		if c, err := e.listenPacket(same); err == nil {
			return c, nil
		}
	}
	return e.listenPacket(orAny(addr))
}

func (e *Endpoint) listenPacket(addr string) (*net.UDPConn, error) {
	var lc net.ListenConfig
	c, err := lc.ListenPacket(e.ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// Key is what peers know this endpoint by.
func (e *Endpoint) Key() wire.Key { return e.identity.key }

// Accept returns the next link that a peer made while nobody waited for it in
// Connect. It fails with net.ErrClosed when the endpoint is closed.
func (e *Endpoint) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-e.accepted:
		return c, nil
	case <-e.ctx.Done():
		return nil, fmt.Errorf("accept a link: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("accept a link: %w", ctx.Err())
	}
}

// Addrs are the addresses at which peers may find this endpoint: those of the
// interfaces, for TCP and UDP each. The address local, this side of the
// connection to control, comes first. Loopback addresses are among them only
// when local is one; from then on, loopback addresses of peers are dialled too.
func (e *Endpoint) Addrs(local netip.Addr) []wire.Addr {
	local = local.Unmap()
	e.local.Store(local.IsLoopback())
	prefixes, err := nat.Interfaces()
	if err != nil {
		e.log.Warn("own addresses are not known", "err", err)
	}
	var ips []netip.Addr
	for _, p := range prefixes {
		if !p.Addr().IsLoopback() || local.IsLoopback() && p.Addr().Is4() == local.Is4() {
			ips = append(ips, p.Addr())
		}
	}
	ips = nat.Rank(ips, local)
	var addrs []wire.Addr
	for _, ip := range ips {
		for _, at := range e.listening() {
			if len(addrs) < maxHostAddrs && at.serves(ip) {
				addrs = append(addrs, wire.Addr{
					Net: at.net, Kind: addrHost,
					Addr: netip.AddrPortFrom(ip, at.addr.Port()).String(),
				})
			}
		}
	}
	return addrs
}

// Ports are those on which packets for ip reach this endpoint; 0 where none do.
func (e *Endpoint) Ports(ip netip.Addr) (tcp, udp uint16) {
	for _, at := range e.listening() {
		switch {
		case !at.serves(ip):
		case at.net == netTCP:
			tcp = at.addr.Port()
		default:
			udp = at.addr.Port()
		}
	}
	return tcp, udp
}

// listener is a socket that takes links.
type listener struct {
	net  string
	addr netip.AddrPort
}

// serves says whether a packet for ip reaches the listener.
func (l listener) serves(ip netip.Addr) bool {
	bound := l.addr.Addr()
	switch {
	case bound == ip:
		return true
	case !bound.IsUnspecified():
		return false
	}
	return bound.Is6() || ip.Is4() // [::] is for both families
}

func (e *Endpoint) listening() []listener {
	var ls []listener
	if e.tcp != nil {
		ls = append(ls, listener{netTCP, addrPort(e.tcp.Addr())})
	}
	if e.udp != nil {
		ls = append(ls, listener{netUDP, addrPort(e.udp.LocalAddr())})
	}
	return ls
}

// newConn makes a connection whose peer is authenticated.
func (e *Endpoint) newConn(s stream, kind Kind, peer wire.Key, remote netip.AddrPort) *Conn {
	return &Conn{
		stream: s, kind: kind, self: e.identity.key, peer: peer, remote: remote,
		release: func() {}, dead: e.forget,
	}
}

// spawn runs f unless the endpoint is closed, whose Close waits for it.
func (e *Endpoint) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return false
	}
	e.wg.Go(f)
	return true
}

// pause waits and says whether the endpoint is still open.
func (e *Endpoint) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.ctx.Done():
		return false
	}
}

// Close closes the sockets and every link. Links that were closed before get
// their second to deliver what was written.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.ctx.Err() != nil {
		e.mu.Unlock()
		return nil
	}
	e.cancel()
	var conns []*Conn
	for _, p := range e.pairs {
		conns = append(conns, p.conns...)
	}
	for _, c := range e.links {
		conns = append(conns, c)
	}
	e.mu.Unlock()

	var errs []error
	if e.tcp != nil {
		errs = append(errs, e.tcp.Close())
	}
	for _, c := range conns {
		c.discard()
	}
	if e.quicListener != nil {
		errs = append(errs, e.quicListener.Close())
	}
	e.wg.Wait()
	if e.quic != nil {
		errs = append(errs, e.quic.Close())
	}
	if e.udp != nil {
		errs = append(errs, e.udp.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close endpoint: %w", err)
	}
	return nil
}
