package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// tcpStream is TLS over TCP.
type tcpStream struct {
	*tls.Conn
	out *gatherer
}

func (s tcpStream) Write(b []byte) (int, error) {
	s.out.writing.Add(1)
	defer s.out.writing.Add(-1)
	s.out.gather()
	n, err := s.Conn.Write(b)
	if flushErr := s.out.flush(); err == nil && flushErr != nil {
		return 0, flushErr
	}
	return n, err
}

// Close interrupts a write, behind which TLS could not say goodbye.
func (s tcpStream) Close() error {
	if s.out.writing.Load() > 0 {
		return s.out.Conn.Close()
	}
	return s.Conn.Close()
}

func (s tcpStream) abort() { _ = s.NetConn().Close() }

func (s tcpStream) rtt() time.Duration {
	if tcp, ok := s.out.Conn.(*net.TCPConn); ok {
		return tcpRTT(tcp)
	}
	return 0
}

func (s tcpStream) packets() (sent, lost int64) {
	if tcp, ok := s.NetConn().(*net.TCPConn); ok {
		return tcpPackets(tcp)
	}
	return 0, 0
}

func keepAliveConfig() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 3}
}

// dialTCP makes an authenticated connection to the peer at one address.
func (e *Endpoint) dialTCP(ctx context.Context, peer wire.Key, to netip.AddrPort) (*Conn, error) {
	d := net.Dialer{Timeout: tcpDialWithin, KeepAliveConfig: keepAliveConfig(), Control: controlTCP}
	raw, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err // names the address
	}
	out := &gatherer{Conn: raw}
	tc := tls.Client(out, e.identity.config(&peer))
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("tcp %s: %w", to, err)
	}
	return e.newConn(tcpStream{tc, out}, KindTCP, peer, to), nil
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
		from := addrPort(raw.RemoteAddr())
		release, ok := e.inboundTCP.enter(from.Addr(), func() { _ = raw.Close() })
		if !ok {
			raw.Close()
			continue
		}
		e.wg.Go(func() {
			c, err := e.serveTCP(raw, config, from)
			if err != nil {
				release()
				raw.Close()
				e.log.Debug("inbound connection refused", "net", "tcp", "addr", from, "err", err)
				return
			}
			c.release = release
			e.offer(c)
		})
	}
}

func (e *Endpoint) serveTCP(raw net.Conn, config *tls.Config, from netip.AddrPort) (*Conn, error) {
	ctx, cancel := context.WithTimeout(e.ctx, handshakeWithin)
	defer cancel()
	out := &gatherer{Conn: raw}
	tc := tls.Server(out, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	peer, err := peerKey(tc.ConnectionState())
	if err != nil {
		return nil, err
	}
	return e.newConn(tcpStream{tc, out}, KindTCP, peer, from), nil
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
