package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"

	"github.com/tandem-cdn/tandem/internal/nat"
)

// stunService answers STUN binding requests (RFC 8489) on UDP. Clients send one
// from the same socket to each of its ports: equal answers are one mapping for
// all destinations, different ones a mapping for each (RFC 4787 §4.1). An answer
// is 12 bytes longer than a bare request, 24 with IPv6, so reflection gains little. Those
// who ask are told when the request came, in as many bytes as they asked with, which
// shows the queue in front of their uplink.
type stunService struct {
	conns    []net.PacketConn
	start    time.Time // of the clock that clients are told
	answered atomic.Int64
	log      *slog.Logger
}

// maxSTUN bounds the requests that are read; binding requests are far smaller.
const maxSTUN = 548

// listenSTUN opens the sockets that cfg asks for.
func listenSTUN(cfg Config) (*stunService, error) {
	s := &stunService{log: cfg.Logger, start: time.Now()}
	if cfg.NoSTUN {
		return s, nil
	}
	addrs, defaults := cfg.STUN, cfg.STUN == nil
	if defaults {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			host, port = "", "0"
		}
		addrs = []string{net.JoinHostPort(host, port), net.JoinHostPort(host, "0")}
	}
	var lc net.ListenConfig
	for _, a := range addrs {
		conn, err := lc.ListenPacket(context.Background(), "udp", a)
		if err != nil && defaults {
			// The port has another user, HTTP/3 for one: any port will do.
			host, _, _ := net.SplitHostPort(a)
			conn, err = lc.ListenPacket(context.Background(), "udp", net.JoinHostPort(host, "0"))
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("stun: %w", err), s.close())
		}
		s.conns = append(s.conns, conn)
	}
	return s, nil
}

// advertise lists the sockets for clients: the port alone, since they are on the
// host of control unless the operator says otherwise.
func (s *stunService) advertise() []string {
	var out []string
	for _, c := range s.conns {
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			out = append(out, ":"+strconv.Itoa(a.Port))
		}
	}
	return out
}

func (s *stunService) close() error {
	var errs []error
	for _, c := range s.conns {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) { // serve closes, too
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// serve answers on conn until ctx ends.
func (s *stunService) serve(ctx context.Context, conn net.PacketConn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := make([]byte, maxSTUN)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Such as an ICMP error for an earlier answer, or a datagram cut off:
			// of no concern to the next one.
			s.log.Debug("stun read", "error", err)
			continue
		}
		answer, ok := answerSTUN(buf[:n], from, time.Since(s.start))
		if !ok {
			continue
		}
		if _, err := conn.WriteTo(answer, from); err == nil {
			s.answered.Add(1)
		}
	}
}

// answerSTUN makes the answer to one datagram that came at now; anything but a
// binding request has none.
func answerSTUN(b []byte, from net.Addr, now time.Duration) ([]byte, bool) {
	udp, ok := from.(*net.UDPAddr)
	if !ok || !stun.IsMessage(b) {
		return nil, false
	}
	req := &stun.Message{Raw: append([]byte(nil), b...)}
	if req.Decode() != nil || req.Type != stun.BindingRequest {
		return nil, false
	}
	ap := udp.AddrPort()
	answer := []stun.Setter{
		stun.NewTransactionIDSetter(req.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: net.IP(ap.Addr().Unmap().AsSlice()), Port: udp.Port},
	}
	if v, err := req.Get(nat.AttrTime); err == nil && len(v) == 8 {
		answer = append(answer, stun.RawAttribute{Type: nat.AttrTime, Value: nat.TimeValue(now)})
	}
	res, err := stun.Build(answer...)
	if err != nil {
		return nil, false
	}
	return res.Raw, true
}
