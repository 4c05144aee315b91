package memnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Dial opens a plain connection to the host of that name (a port is ignored),
// which must have called Listen. It shares uplink and downlink with the links,
// so that an HTTP client and server compete with them: the method is made for
// http.Transport.DialContext.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		name = addr
	}
	opened := make(chan *Conn, 1)
	h.clock.lock()
	other := h.net.names[name]
	refused := other == nil || h.isClosed() || other.isClosed()
	if !refused {
		h.clock.after(2*h.net.options.Latency, func() { h.open(other, opened) })
	}
	h.clock.unlock()
	if refused {
		return nil, fmt.Errorf("dial %s %s: %w", network, addr, syscall.ECONNREFUSED)
	}
	select {
	case c := <-opened:
		return plainConn{c, h.addrOf(), other.addrOf()}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s %s: %w", network, addr, ctx.Err())
	case <-h.closed:
		return nil, fmt.Errorf("dial %s %s: %w", network, addr, net.ErrClosed)
	}
}

// open makes a plain connection, unless a host is gone: then nothing comes back.
func (h *Host) open(other *Host, opened chan<- *Conn) {
	if h.gone || other.gone || h.isClosed() || other.isClosed() {
		return
	}
	mine, theirs := newLink(h, other, h.net.options)
	select {
	case other.plain <- plainConn{theirs, other.addrOf(), h.addrOf()}:
		opened <- mine
	default:
		mine.cut()
	}
}

func (h *Host) addrOf() net.Addr { return net.TCPAddrFromAddrPort(h.addr) }

// Listen takes the plain connections to this host.
func (h *Host) Listen() net.Listener { return &plainListener{host: h, closed: make(chan struct{})} }

type plainListener struct {
	host   *Host
	closed chan struct{}
}

func (l *plainListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.host.plain:
		return c, nil
	case <-l.closed:
	case <-l.host.closed:
	}
	return nil, fmt.Errorf("accept on %s: %w", l.host.name, net.ErrClosed)
}

func (l *plainListener) Addr() net.Addr { return l.host.addrOf() }

func (l *plainListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

// plainConn is a link as a net.Conn.
type plainConn struct {
	*Conn
	local, remote net.Addr
}

func (c plainConn) LocalAddr() net.Addr  { return c.local }
func (c plainConn) RemoteAddr() net.Addr { return c.remote }

func (c plainConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
