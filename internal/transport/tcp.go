package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// tcpStream is TLS over TCP.
type tcpStream struct {
	*tls.Conn
	out   *gatherer
	tcp   *net.TCPConn // below both
	stray *straying    // of the goroutine that writes
}

// newTCPStream is a stream of tc over tcp.
func newTCPStream(tc *tls.Conn, out *gatherer, tcp net.Conn) tcpStream {
	below := tcp.(*net.TCPConn)
	return tcpStream{Conn: tc, out: out, tcp: below, stray: &straying{tcp: below}}
}

func (s tcpStream) Write(b []byte) (int, error) {
	s.out.writing.Add(1)
	defer s.out.writing.Add(-1)
	s.out.gather()
	n, err := s.Conn.Write(b)
	if flushErr := s.out.flush(); err == nil && flushErr != nil {
		return 0, flushErr
	}
	s.stray.wrote()
	return n, err
}

// Close interrupts a write, behind which TLS could not say goodbye.
func (s tcpStream) Close() error {
	if s.out.writing.Load() > 0 {
		return s.tcp.Close()
	}
	return s.Conn.Close()
}

func (s tcpStream) abort() { _ = s.tcp.Close() }

func (s tcpStream) rtt() time.Duration { return tcpRTT(s.tcp) }

func (s tcpStream) packets() (sent, lost int64) { return tcpPackets(s.tcp) }

func keepAliveConfig() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 3}
}

// dialTCP makes an authenticated connection to the peer at one address.
func (e *Endpoint) dialTCP(ctx context.Context, peer wire.Key, to netip.AddrPort) (*Conn, error) {
	d := e.dialer()
	raw, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err // names the address
	}
	return e.begin(ctx, peer, to, raw, raw)
}

// meetTCP dials from the port that takes links, which a NAT has mapped to the port at
// which the peer dials this side: so that both SYNs get through, whether the peer takes
// this one or they cross.
func (e *Endpoint) meetTCP(ctx context.Context, peer wire.Key, to netip.AddrPort) (*Conn, error) {
	d, ok := e.FromListener(e.dialer())
	if !ok {
		return e.dialTCP(ctx, peer, to)
	}
	raw, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		// A connection to there that ended a moment ago may bar the way, and a router
		// that passes the port on takes every other.
		return e.dialTCP(ctx, peer, to)
	}
	return e.meet(ctx, peer, to, raw)
}

// meet is TLS over a connection that the peer may have dialled, too.
func (e *Endpoint) meet(ctx context.Context, peer wire.Key, to netip.AddrPort, raw net.Conn) (*Conn, error) {
	m := &meeting{Conn: raw, controls: controls(e.identity.key, peer)}
	c, err := e.begin(ctx, peer, to, raw, m)
	if !errors.Is(err, errMet) {
		return c, err
	}
	return e.answer(ctx, e.identity.config(&peer), to, raw, m)
}

func (e *Endpoint) dialer() net.Dialer {
	return net.Dialer{Timeout: tcpDialWithin, KeepAliveConfig: keepAliveConfig(), Control: controlTCP}
}

// FromListener makes d dial from the port that takes links over TCP, so that whoever is
// dialled sees how a NAT maps that port. It reports whether that is possible here.
func (e *Endpoint) FromListener(d net.Dialer) (net.Dialer, bool) {
	if !e.shared {
		return d, false
	}
	at := addrPort(e.tcp.Addr())
	local := &net.TCPAddr{Port: int(at.Port())}
	if !at.Addr().IsUnspecified() {
		local.IP = at.Addr().AsSlice()
	}
	d.LocalAddr = local
	d.Control = func(network, address string, raw syscall.RawConn) error {
		return errors.Join(controlTCP(network, address, raw), sharePort(raw))
	}
	return d, true
}

// begin is TLS as a client over raw, to which conn leads; raw is closed when it fails,
// but for errMet.
func (e *Endpoint) begin(ctx context.Context, peer wire.Key, to netip.AddrPort, raw, conn net.Conn) (*Conn, error) {
	out := &gatherer{Conn: conn}
	tc := tls.Client(out, e.identity.config(&peer))
	if err := tc.HandshakeContext(ctx); err != nil {
		if !errors.Is(err, errMet) {
			raw.Close()
		}
		return nil, fmt.Errorf("tcp %s: %w", to, err)
	}
	return e.newConn(newTCPStream(tc, out, raw), KindTCP, peer, to), nil
}

// acceptTCP takes inbound connections until the listener is closed.
func (e *Endpoint) acceptTCP() {
	config := e.identity.config(nil)
	for {
		raw, err := e.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most often: the next try needs one to be free.
			e.log.Warn("tcp links are not accepted for a while", "err", err)
			if !e.pause(100 * time.Millisecond) {
				return
			}
			continue
		}
		from, began := addrPort(raw.RemoteAddr()), time.Now()
		release, ok := e.inboundTCP.enter(from.Addr(), func() { _ = raw.Close() })
		if !ok {
			raw.Close()
			continue
		}
		e.wg.Go(func() {
			c, err := e.serveTCP(raw, config, from)
			if err != nil {
				release()
				e.log.Debug("inbound connection refused", "net", "tcp", "addr", from, "err", err)
				return
			}
			c.release, c.began = release, began
			e.offer(c)
		})
	}
}

func (e *Endpoint) serveTCP(raw net.Conn, config *tls.Config, from netip.AddrPort) (*Conn, error) {
	ctx, cancel := context.WithTimeout(e.ctx, handshakeWithin)
	defer cancel()
	return e.answer(ctx, config, from, raw, raw)
}

// answer is TLS as a server over raw, to which conn leads; raw is closed when it fails.
func (e *Endpoint) answer(ctx context.Context, config *tls.Config, from netip.AddrPort, raw, conn net.Conn) (*Conn, error) {
	out := &gatherer{Conn: conn}
	tc := tls.Server(out, config)
	err := tc.HandshakeContext(ctx)
	var peer wire.Key
	if err == nil {
		peer, err = peerKey(tc.ConnectionState())
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("tcp %s: %w", from, err)
	}
	return e.newConn(newTCPStream(tc, out, raw), KindTCP, peer, from), nil
}

// addrPort is the address in a net.Addr, an IPv4 one as such even when it comes
// from a socket for both families.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
