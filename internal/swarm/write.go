package swarm

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// grantGrace is how long after its grant has run out a peer is still served: it
// may be waiting for a new one.
const grantGrace = 10 * time.Minute

// maxControl bounds what waits to be written to a peer that does not read.
const maxControl = 1 << 20

// writeLoop writes control frames as they come and pieces when it is the link's
// turn, until the link ends.
func (l *link) writeLoop(ctx context.Context) error {
	var (
		buf  []byte
		t    *turn
		sent int
		due  time.Time // of the next piece, where the rate is limited
		ping = time.NewTimer(wire.PingAfter)
	)
	defer ping.Stop()
	defer func() {
		if t != nil {
			l.node.uploads.leave(t)
		}
	}()
	for nonce := uint64(1); ; {
		var serving, ending bool
		buf, serving, ending = l.pending(buf[:0])
		if len(buf) > 0 {
			if err := l.write(ctx, buf); err != nil {
				return err
			}
			ping.Reset(wire.PingAfter)
		}
		if ending {
			return errClosing
		}
		if serving && t == nil {
			t, sent = l.node.uploads.enter(), 0
		}
		wait := time.Until(due)
		if t != nil && isReady(t) && wait <= 0 {
			done, n, err := l.serveSome(ctx, &buf)
			if err != nil {
				return err
			}
			due = l.node.paid(n)
			if sent += n; done || sent >= turnBytes {
				l.node.uploads.leave(t)
				t = nil
			}
			continue
		}
		var ready chan struct{}
		var paid <-chan time.Time
		switch {
		case t != nil && wait > 0:
			paid = time.After(wait)
		case t != nil:
			ready = t.ready
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-ready:
		case <-paid:
		case <-ping.C:
			l.mu.Lock()
			l.send(&wire.Ping{Nonce: nonce})
			l.mu.Unlock()
			nonce++
			ping.Reset(wire.PingAfter)
		}
	}
}

func isReady(t *turn) bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// pending takes the control frames and announcements that wait, a BYE when the
// link is ending.
func (l *link) pending(buf []byte) (out []byte, serving, ending bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	buf = append(buf, l.control...)
	l.control = l.control[:0]
	for _, p := range l.peers {
		for len(p.haves) > 0 {
			n := min(len(p.haves), wire.MaxHaves)
			buf = (&wire.Have{Channel: p.mine, Pieces: p.haves[:n]}).Append(buf)
			p.haves = p.haves[n:]
		}
		p.haves = nil
	}
	if l.err != nil {
		buf = (&wire.Bye{Reason: byeText(l.err)}).Append(buf)
	}
	return buf, len(l.serve) > 0, l.err != nil
}

func byeText(err error) string {
	text := []byte(err.Error())
	for i, c := range text {
		if c < 0x20 || c > 0x7e {
			text[i] = '?'
		}
	}
	return string(text)
}

func (l *link) write(ctx context.Context, b []byte) error {
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if ctx.Err() != nil {
		_ = l.conn.SetWriteDeadline(time.Now().Add(byeWithin))
	}
	if _, err := l.conn.Write(b); err != nil {
		return fmt.Errorf("write to %s: %w", l.key.Short(), err)
	}
	return nil
}

// serveSome sends the next PIECE frame of the first request that waits. It
// reports whether that request is done, and the bytes sent.
func (l *link) serveSome(ctx context.Context, buf *[]byte) (done bool, n int, err error) {
	l.mu.Lock()
	if len(l.serve) == 0 {
		l.mu.Unlock()
		return true, 0, nil
	}
	u := l.serve[0]
	l.mu.Unlock()
	n = int(min(u.Length, wire.MaxData))
	b := wire.AppendPieceHeader((*buf)[:0], u.ID, u.Begin, n)
	head := len(b)
	b = grow(b, n)
	*buf = b
	s := u.peer.swarm
	off := s.m.Manifest.Offset(int(u.Piece)) + int64(u.Begin)
	if _, err := s.m.Source.ReadAt(b[head:], off); err != nil {
		l.node.log.Warn("piece not readable", "object", s.m.Object.String()[:16], "piece", u.Piece, "error", err)
		l.served(u, u.Length)
		l.mu.Lock()
		l.send(&wire.Reject{ID: u.ID, Reason: wire.RejectError, Retry: 10000})
		l.mu.Unlock()
		return true, 0, nil
	}
	if err := l.write(ctx, b); err != nil {
		return false, 0, err
	}
	s.uploaded.Add(int64(n))
	if f := l.node.cfg.Uploaded; f != nil {
		f(s.m.Object, n)
	}
	return l.served(u, uint32(n)), n, nil
}

// served takes n sent bytes off a request, which the other side may have
// cancelled meanwhile, and reports whether it is done.
func (l *link) served(u upload, n uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.serve) == 0 || l.serve[0].ID != u.ID || l.serve[0].peer != u.peer {
		return true
	}
	first := &l.serve[0]
	first.Begin += n
	if first.Length -= n; first.Length == 0 {
		l.serve = l.serve[1:]
		return true
	}
	return false
}

// paid takes n sent bytes off the limit of the uplink and returns when the next
// may follow. Nobody waits before sending: frames that are not pieces would wait
// as well, and with them this side's own requests.
func (n *Node) paid(sent int) time.Time {
	now := time.Now()
	if n.cfg.Up == nil || sent == 0 {
		return now
	}
	return now.Add(n.cfg.Up.ReserveN(now, sent).DelayFrom(now))
}

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n), b...)
	}
	return b[:len(b)+n]
}
