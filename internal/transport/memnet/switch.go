package memnet

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// connectWithin is how long Connect tries, as the real one does.
	connectWithin = 5 * time.Second
	// maxUnaccepted bounds the links that wait for Accept.
	maxUnaccepted = 1024
)

// Switch joins named hosts.
type Switch struct {
	clock   clock
	options Options
	hosts   map[wire.Key]*Host
	names   map[string]*Host
	blocked map[[2]*Host]bool
}

// NewSwitch makes a network without hosts; the options hold for every link.
func NewSwitch(o Options) *Switch {
	return &Switch{
		options: o.withDefaults(), hosts: make(map[wire.Key]*Host),
		names: make(map[string]*Host), blocked: make(map[[2]*Host]bool),
	}
}

// Host is a machine on a [Switch], with the methods of a real endpoint. All its
// links share its uplink and downlink.
type Host struct {
	net   *Switch
	clock *clock
	name  string
	key   ed25519.PrivateKey
	addr  netip.AddrPort
	up    uplink
	down  downlink

	waiting  map[wire.Key]chan *Conn // calls of Connect
	links    map[wire.Key]*Conn      // one a peer
	conns    map[*Conn]struct{}      // all that are open, plain ones too
	accepted chan *Conn
	plain    chan net.Conn // inbound connections of [Host.Dial]
	gone     bool          // blackholed
	closed   chan struct{}
}

// Host adds a machine with the rates of its uplink and downlink in bytes per
// second, 0 being no limit. Its key is [PrivateKey] of the name.
func (s *Switch) Host(name string, up, down int64) *Host {
	s.clock.lock()
	defer s.clock.unlock()
	c := &s.clock
	n := len(s.hosts) + 1
	h := &Host{
		net: s, clock: c, name: name, key: PrivateKey(name),
		addr:     netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 4000),
		up:       uplink{clock: c, rate: up},
		down:     downlink{clock: c, rate: down},
		waiting:  make(map[wire.Key]chan *Conn),
		links:    make(map[wire.Key]*Conn),
		conns:    make(map[*Conn]struct{}),
		accepted: make(chan *Conn, maxUnaccepted),
		plain:    make(chan net.Conn, maxUnaccepted),
		closed:   make(chan struct{}),
	}
	s.hosts[h.Key()], s.names[name] = h, h
	return h
}

// Block keeps two hosts from making links with each other, as their NATs might.
func (s *Switch) Block(a, b *Host) {
	s.clock.lock()
	defer s.clock.unlock()
	s.blocked[[2]*Host{a, b}], s.blocked[[2]*Host{b, a}] = true, true
}

// Key is the public key of the host.
func (h *Host) Key() wire.Key { return wire.KeyOf(h.key.Public().(ed25519.PublicKey)) }

// PrivateKey is what the host signs with.
func (h *Host) PrivateKey() ed25519.PrivateKey { return h.key }

// Addrs is a made-up address.
func (h *Host) Addrs(netip.Addr) []wire.Addr {
	return []wire.Addr{{Net: "tcp", Addr: h.addr.String(), Kind: "host"}}
}

// Candidate is what control would tell others of the host.
func (h *Host) Candidate() wire.Candidate {
	return wire.Candidate{Key: h.Key(), Addrs: h.Addrs(netip.Addr{}), Uploads: true}
}

// Connect makes a link with the host that has the candidate's key; the addresses
// do not matter. It takes two round trips. As with a real endpoint, the other
// side may do the same at the same time, which makes one link, or may not, and
// then gets it from Accept.
func (h *Host) Connect(ctx context.Context, peer wire.Candidate) (*Conn, error) {
	waiter, err := h.await(peer.Key)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", peer.Key.Short(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	select {
	case c := <-waiter:
		return c, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-h.closed:
		err = net.ErrClosed
	}
	h.clock.lock()
	delete(h.waiting, peer.Key)
	h.clock.unlock()
	select {
	case c := <-waiter:
		return c, nil
	default:
		return nil, fmt.Errorf("link to %s: %w", peer.Key.Short(), err)
	}
}

func (h *Host) await(peer wire.Key) (chan *Conn, error) {
	h.clock.lock()
	defer h.clock.unlock()
	switch {
	case h.isClosed():
		return nil, net.ErrClosed
	case h.links[peer] != nil && h.links[peer].in.err == nil:
		return nil, transport.ErrLinked
	case h.waiting[peer] != nil:
		return nil, transport.ErrConnecting
	}
	waiter := make(chan *Conn, 1)
	h.waiting[peer] = waiter
	if other := h.net.hosts[peer]; other != nil && other != h {
		h.clock.after(4*h.net.options.Latency, func() { h.establish(other) })
	}
	return waiter, nil
}

// establish makes the link that this host waits for.
func (h *Host) establish(other *Host) {
	if h.waiting[other.Key()] == nil || h.isClosed() || other.isClosed() || h.gone || other.gone ||
		h.net.blocked[[2]*Host{h, other}] {
		return
	}
	mine, theirs := newLink(h, other, h.net.options)
	h.enter(mine, h.waiting[other.Key()])
	other.enter(theirs, other.waiting[h.Key()])
}

// enter hands a new link to the call of Connect that waits, or to Accept.
func (h *Host) enter(c *Conn, waiter chan *Conn) {
	delete(h.waiting, c.peer)
	h.links[c.peer] = c
	if waiter != nil {
		waiter <- c // has room for one
		return
	}
	select {
	case h.accepted <- c:
	default:
		c.cut()
	}
}

// Accept returns the next link that another host made.
func (h *Host) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-h.accepted:
		return c, nil
	case <-h.closed:
		return nil, fmt.Errorf("accept a link: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("accept a link: %w", ctx.Err())
	}
}

func (h *Host) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// Close cuts every link and connection of the host.
func (h *Host) Close() error {
	h.clock.lock()
	defer h.clock.unlock()
	if h.isClosed() {
		return nil
	}
	close(h.closed)
	for c := range h.conns {
		c.cut()
	}
	return nil
}

// Blackhole makes the host vanish without a word, as if its cable were pulled:
// nothing moves on its links and new ones do not come about. Off plugs it in
// again.
func (h *Host) Blackhole(on bool) {
	h.clock.lock()
	defer h.clock.unlock()
	h.gone = on
	for c := range h.conns {
		c.stall(on)
	}
}
