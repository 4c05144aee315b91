package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Kind is what carries a link.
type Kind string

// The kinds of link.
const (
	KindTCP  Kind = "tcp"  // TLS 1.3 over TCP
	KindQUIC Kind = "quic" // QUIC over UDP
	KindMem  Kind = "mem"  // in memory, for tests
)

// stream is what a connection of either kind offers.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	// abort closes the connection without delivering what was written.
	abort()
	// rtt is the smoothed round trip, 0 when not known.
	rtt() time.Duration
	// packets are those sent and, of them, lost; 0 when not known.
	packets() (sent, lost int64)
}

// Conn is one link to a peer, or, before it is chosen, a connection that may
// become it. Reads and writes may go on at the same time; each of them is for
// one goroutine.
type Conn struct {
	stream stream
	kind   Kind
	self   wire.Key
	peer   wire.Key
	remote netip.AddrPort

	// release gives the place among the inbound handshakes back.
	release func()
	// dead is called once, when the connection has ended.
	dead   func(*Conn)
	ended  sync.Once
	closed atomic.Bool
	began  time.Time // when it was dialled, or came in
	since  time.Time // when it was chosen
}

// Read reads what the peer wrote. It returns io.EOF after the peer's Close,
// net.ErrClosed after Close and os.ErrDeadlineExceeded after the deadline.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.stream.Read(b)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	return n, c.fail("read from", err)
}

// Write sends b; it waits while the peer or the network takes no more.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.stream.Write(b)
	if err != nil {
		return n, c.fail("write to", err)
	}
	return n, nil
}

// fail says what ended the link, except that a deadline did not.
func (c *Conn) fail(op string, err error) error {
	switch {
	case c.closed.Load():
		err = net.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	default:
		c.end()
	}
	return fmt.Errorf("%s %s at %s: %w", op, c.peer.Short(), c.remote, err)
}

func (c *Conn) end() {
	c.ended.Do(func() {
		c.release()
		c.dead(c)
	})
}

// Close ends the link in both directions. What was written is still delivered
// when the peer reads it within a second or so. Close interrupts reads and writes.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.end()
	if err := c.stream.Close(); err != nil {
		return fmt.Errorf("close link to %s at %s: %w", c.peer.Short(), c.remote, err)
	}
	return nil
}

// discard ends the connection at once.
func (c *Conn) discard() {
	if !c.closed.Swap(true) {
		c.end()
		c.stream.abort()
	}
}

// CloseWrite ends the peer's reading behind what was written.
func (c *Conn) CloseWrite() error {
	if err := c.stream.CloseWrite(); err != nil {
		return c.fail("end the writing to", err)
	}
	return nil
}

// SetReadDeadline bounds present and future reads; the zero time is no bound.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.stream.SetReadDeadline(t) }

// SetWriteDeadline bounds present and future writes; the zero time is no bound.
// A write that timed out has broken a TLS link: part of a record may be out.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.stream.SetWriteDeadline(t) }

// Peer is the key that the other side has proved to hold.
func (c *Conn) Peer() wire.Key { return c.peer }

// Kind is what carries the link.
func (c *Conn) Kind() Kind { return c.kind }

// RemoteAddr is the address of the other side.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// RTT is the smoothed round trip that TCP or QUIC has measured, 0 when not known.
func (c *Conn) RTT() time.Duration { return c.stream.rtt() }

// Packets counts those sent with data and, of them, those lost, as TCP or QUIC has
// seen; 0 when not known.
func (c *Conn) Packets() (sent, lost int64) { return c.stream.packets() }

// Local says whether the peer is on a network that this machine is attached to.
func (c *Conn) Local() bool { return nat.Attached(c.remote.Addr()) }

// Controlling says whether this side picked the connection: it has the smaller key.
func (c *Conn) Controlling() bool { return controls(c.self, c.peer) }
