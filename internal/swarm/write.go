package swarm

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/upload"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// grantGrace is how long after its grant has run out a peer is still served: it
// may be waiting for a new one.
const grantGrace = 10 * time.Minute

const (
	// leastData is how much of a piece goes into a frame on a link of which nothing is
	// known, or that is slow; wire.MaxData is how much on a fast one. Small frames
	// let what is more urgent overtake, large ones save work.
	leastData = 32 << 10
	// quickly and slowly are how long the writing of a frame takes where the next one
	// may be larger, or must be smaller.
	quickly = 2 * time.Millisecond
	slowly  = 10 * time.Millisecond
)

// nextData is how much of a piece the next frame takes when one of n bytes took so
// long to write.
func nextData(n int, took time.Duration) int {
	switch {
	case took < quickly:
		return min(2*n, wire.MaxData)
	case took > slowly:
		return max(n/2, leastData)
	}
	return n
}

// maxControl bounds what waits to be written to a peer that does not read.
const maxControl = 1 << 20

// writeLoop writes control frames as they come and pieces when it is the link's
// turn, until the link ends.
func (l *link) writeLoop(ctx context.Context) error {
	var (
		buf  []byte
		ping = time.NewTimer(wire.PingAfter)
	)
	defer ping.Stop()
	for nonce := uint64(1); ; {
		var ending bool
		buf, ending = l.pending(buf[:0])
		if len(buf) > 0 {
			if err := l.write(ctx, buf); err != nil {
				return err
			}
			ping.Reset(wire.PingAfter)
		}
		if ending {
			return errClosing
		}
		if q, n := l.node.uploads.turn(l); n > 0 {
			if err := l.serve(ctx, q, n, &buf); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-ping.C:
			l.mu.Lock()
			l.send(&wire.Ping{Nonce: nonce})
			l.mu.Unlock()
			nonce++
			ping.Reset(wire.PingAfter)
		}
	}
}

// pending takes the control frames and announcements that wait, a BYE when the
// link is ending.
func (l *link) pending(buf []byte) (out []byte, ending bool) {
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
	return buf, l.err != nil
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

// serve sends n bytes of the request whose turn it is, in a PIECE frame.
func (l *link) serve(ctx context.Context, q upload.Request, n int, buf *[]byte) error {
	p := l.peerOn(q.Channel)
	if p == nil { // gone a moment ago, and its requests with it
		return nil
	}
	b := wire.AppendPieceHeader((*buf)[:0], q.ID, q.Begin, n)
	head := len(b)
	b = grow(b, n)
	*buf = b
	s := p.swarm
	off := s.m.Pieces.Offset(int(q.Piece)) + int64(q.Begin)
	if _, err := s.m.Source.ReadAt(b[head:], off); err != nil {
		l.node.log.Warn("piece not readable", "object", s.m.Object.String()[:16], "piece", q.Piece, "error", err)
		l.node.uploads.drop(l, func(r *upload.Request) bool { return r.ID == q.ID })
		l.mu.Lock()
		l.send(&wire.Reject{ID: q.ID, Reason: wire.RejectError, Retry: 10000})
		l.mu.Unlock()
		return nil
	}
	began := time.Now()
	if err := l.write(ctx, b); err != nil {
		return err
	}
	if n == l.data {
		l.data = nextData(n, time.Since(began))
	}
	s.uploaded.Add(int64(n))
	l.uploaded.Store(true)
	p.active.Store(time.Now().UnixNano())
	if f := l.node.cfg.Uploaded; f != nil {
		f(s.m.scope(), n)
	}
	l.node.uploads.sent(l, q.ID, n)
	return nil
}

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n), b...)
	}
	return b[:len(b)+n]
}
