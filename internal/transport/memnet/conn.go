package memnet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// ErrReset is what both sides of a link get after [Conn.Cut].
var ErrReset = errors.New("memnet: link cut")

// Conn is one side of a link. Its methods are those of a real link.
type Conn struct {
	in, out    *flow
	host       *Host
	self, peer wire.Key
	remote     netip.AddrPort
}

// newLink makes a link between two hosts.
func newLink(a, b *Host, o Options) (atA, atB *Conn) {
	ab, ba := newFlow(a, b, o), newFlow(b, a, o)
	atA = &Conn{in: ba, out: ab, host: a, self: a.Key(), peer: b.Key(), remote: b.addr}
	atB = &Conn{in: ab, out: ba, host: b, self: b.Key(), peer: a.Key(), remote: a.addr}
	a.conns[atA], b.conns[atB] = struct{}{}, struct{}{}
	return atA, atB
}

func newFlow(from, to *Host, o Options) *flow {
	return &flow{
		clock: from.clock, up: &from.up, down: &to.down, latency: o.Latency,
		buffer: o.Buffer, window: o.Window, changed: make(chan struct{}),
	}
}

// Read reads what the peer wrote. It returns io.EOF after the peer's Close or
// CloseWrite, net.ErrClosed after Close, [ErrReset] after Cut and
// os.ErrDeadlineExceeded after the deadline.
func (c *Conn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write sends b; it waits while the send buffer is full.
func (c *Conn) Write(b []byte) (int, error) { return c.out.write(b) }

// CloseWrite ends the peer's reading behind what was written.
func (c *Conn) CloseWrite() error {
	c.out.clock.lock()
	defer c.out.clock.unlock()
	c.out.closeWrite()
	return nil
}

// Close closes both directions. What was written still arrives.
func (c *Conn) Close() error {
	c.out.clock.lock()
	defer c.out.clock.unlock()
	c.out.closeWrite()
	c.in.closeRead()
	c.leave()
	return nil
}

// leave takes the closed side off its host's lists.
func (c *Conn) leave() {
	delete(c.host.conns, c)
	if c.host.links[c.peer] == c {
		delete(c.host.links, c.peer)
	}
}

// SetReadDeadline bounds present and future reads; the zero time is no bound.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.clock.lock()
	defer c.in.clock.unlock()
	c.in.readBy = t
	c.in.wake()
	return nil
}

// SetWriteDeadline bounds present and future writes; the zero time is no bound.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.clock.lock()
	defer c.out.clock.unlock()
	c.out.writBy = t
	c.out.wake()
	return nil
}

// Peer is the key of the other side.
func (c *Conn) Peer() wire.Key { return c.peer }

// RemoteAddr is a made-up address of the other side.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// RTT is twice the latency; queues are not counted.
func (c *Conn) RTT() time.Duration { return c.in.latency + c.out.latency }

// Packets are not counted.
func (c *Conn) Packets() (sent, lost int64) { return 0, 0 }

// Local is false: hosts are far apart.
func (c *Conn) Local() bool { return false }

// Controlling says whether this side has the smaller key.
func (c *Conn) Controlling() bool { return bytes.Compare(c.self[:], c.peer[:]) < 0 }

// Kind is [transport.KindMem].
func (c *Conn) Kind() transport.Kind { return transport.KindMem }

// Cut breaks the link at once: bytes on their way are lost and both sides get
// [ErrReset].
func (c *Conn) Cut() {
	c.out.clock.lock()
	defer c.out.clock.unlock()
	c.cut()
}

func (c *Conn) cut() {
	c.out.abort(ErrReset)
	c.in.abort(ErrReset)
	c.leave()
}

// Stall stops (or resumes) both directions: nothing leaves a send buffer, not
// even the end of the link. Never resumed, the peer has silently vanished.
func (c *Conn) Stall(on bool) {
	c.out.clock.lock()
	defer c.out.clock.unlock()
	c.stall(on)
}

func (c *Conn) stall(on bool) {
	for _, f := range []*flow{c.out, c.in} {
		f.stalled = on
		f.up.kick(f)
	}
}

// PrivateKey is the key of the host of that name, the same in every run.
func PrivateKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}
