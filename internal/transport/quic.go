package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// quicStream is a QUIC connection with its only stream.
type quicStream struct {
	*quic.Stream
	conn *quic.Conn
	// writing counts the writes under way.
	writing atomic.Int32
	// spawn runs what the endpoint's Close must wait for, if it is not closed.
	spawn func(func()) bool
}

func (s *quicStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	if err != nil && closedByPeer(err) {
		err = io.EOF
	}
	return n, err
}

func (s *quicStream) Write(b []byte) (int, error) {
	s.writing.Add(1)
	defer s.writing.Add(-1)
	return s.Stream.Write(b)
}

// closedByPeer says whether the peer has closed its side in good order.
func closedByPeer(err error) bool {
	app, ok := errors.AsType[*quic.ApplicationError](err)
	return ok && app.Remote && app.ErrorCode == 0
}

func (s *quicStream) CloseWrite() error { return s.Stream.Close() }

// Close leaves the connection open until the peer, which sees the end of the
// stream, has closed it, so that what was written arrives; but no longer than
// closeWithin.
func (s *quicStream) Close() error {
	// Whether the peer reads no more, or is gone; CloseWrite says neither.
	deaf := s.Context().Err() != nil && !errors.Is(context.Cause(s.Context()), quic.ErrStreamClosed)
	s.CancelRead(0)
	if s.writing.Load() > 0 || deaf {
		s.abort()
		return nil
	}
	err := s.Stream.Close()
	lingers := s.spawn(func() {
		timer := time.NewTimer(closeWithin)
		defer timer.Stop()
		select {
		case <-s.conn.Context().Done():
		case <-timer.C:
		}
		s.abort()
	})
	if !lingers {
		s.abort()
	}
	return err
}

func (s *quicStream) abort() { _ = s.conn.CloseWithError(0, "") }

func (s *quicStream) rtt() time.Duration { return s.conn.ConnectionStats().SmoothedRTT }

func (s *quicStream) packets() (sent, lost int64) {
	st := s.conn.ConnectionStats()
	return int64(st.PacketsSent), int64(st.PacketsLost)
}

func quicConfig(streams int64) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeWithin,
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     initialWindow,
		MaxStreamReceiveWindow:         maxWindow,
		InitialConnectionReceiveWindow: initialWindow,
		MaxConnectionReceiveWindow:     maxWindow,
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          -1,
	}
}

// listenQUIC takes the shared UDP socket into use.
func (e *Endpoint) listenQUIC(socket *net.UDPConn) error {
	e.udp = socket
	e.quic = &quic.Transport{
		Conn: withGRO(socket),
		// Forged addresses cannot fill the house: when it is half full, a client
		// must first show that it gets our packets (RFC 9000 §8.1.2).
		VerifySourceAddress: func(net.Addr) bool { return e.inboundQUIC.busy() },
		ConnContext:         e.admitQUIC,
	}
	l, err := e.quic.Listen(e.identity.config(nil), quicConfig(1))
	if err != nil {
		return fmt.Errorf("listen for QUIC on %s: %w", socket.LocalAddr(), err)
	}
	e.quicListener = l
	return nil
}

// placeKey is the context key of an inbound connection's place.
type placeKey struct{}

// place is that of an inbound connection among the handshakes.
type place struct {
	release func() // gives it back
	since   time.Time
}

func (e *Endpoint) admitQUIC(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	release, ok := e.inboundQUIC.enter(addrPort(info.RemoteAddr).Addr(), nil)
	if !ok {
		return nil, errors.New("too many handshakes")
	}
	context.AfterFunc(ctx, release)
	return context.WithValue(ctx, placeKey{}, place{release, time.Now()}), nil
}

// dialQUIC makes an authenticated connection to the peer at one address. Sent
// from both sides at the same time, the first packets open the NATs' mappings;
// QUIC repeats them after 200 ms, 400 ms and so on.
func (e *Endpoint) dialQUIC(ctx context.Context, peer wire.Key, to netip.AddrPort) (*Conn, error) {
	qc, err := e.quic.Dial(ctx, net.UDPAddrFromAddrPort(to), e.identity.config(&peer), quicConfig(-1))
	if err != nil {
		return nil, fmt.Errorf("quic %s: %w", to, err)
	}
	s, err := qc.OpenStream()
	if err == nil {
		_, err = s.Write([]byte{preamble})
	}
	if err != nil {
		_ = qc.CloseWithError(0, "")
		return nil, fmt.Errorf("quic %s: %w", to, err)
	}
	return e.newConn(&quicStream{Stream: s, conn: qc, spawn: e.spawn}, KindQUIC, peer, to), nil
}

// acceptQUIC takes inbound connections until the endpoint is closed.
func (e *Endpoint) acceptQUIC() {
	for {
		qc, err := e.quicListener.Accept(e.ctx)
		if err != nil {
			return
		}
		e.wg.Go(func() {
			c, err := e.serveQUIC(qc)
			if err != nil {
				_ = qc.CloseWithError(0, "")
				e.log.Debug("inbound connection refused", "net", "udp", "addr", addrPort(qc.RemoteAddr()), "err", err)
				return
			}
			if p, ok := qc.Context().Value(placeKey{}).(place); ok {
				c.release, c.began = p.release, p.since
			}
			e.offer(c)
		})
	}
}

func (e *Endpoint) serveQUIC(qc *quic.Conn) (*Conn, error) {
	ctx, cancel := context.WithTimeout(e.ctx, handshakeWithin)
	defer cancel()
	peer, err := peerKey(qc.ConnectionState().TLS)
	if err != nil {
		return nil, err
	}
	s, err := qc.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.SetReadDeadline(time.Now().Add(handshakeWithin)); err != nil {
		return nil, err
	}
	if err := errors.Join(expect(s, preamble), s.SetReadDeadline(time.Time{})); err != nil {
		return nil, err
	}
	return e.newConn(&quicStream{Stream: s, conn: qc, spawn: e.spawn}, KindQUIC, peer, addrPort(qc.RemoteAddr())), nil
}

// expect reads one byte, which must be want.
func expect(r io.Reader, want byte) error {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	if b[0] != want {
		return fmt.Errorf("byte %#02x where %#02x must be", b[0], want)
	}
	return nil
}

// stunSocket lets STUN use the socket of QUIC, which tells the packets apart by
// their first two bits (RFC 9443).
type stunSocket struct{ t *quic.Transport }

func (s stunSocket) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := s.t.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

func (s stunSocket) ReadFrom(ctx context.Context, b []byte) (int, netip.AddrPort, error) {
	n, from, err := s.t.ReadNonQUICPacket(ctx, b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return n, addrPort(from), nil
}
