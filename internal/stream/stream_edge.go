package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tandem-cdn/tandem/internal/track"
)

// errCorrupt: the edge has other bytes than the track says; the segment has changed.
var errCorrupt = errors.New("the edge sends other bytes than the track says")

// Alternatives is a body that may come from more than one place. Wrong says that its last n
// bytes are not those of the segment, and reports whether they will come from another.
type Alternatives interface{ Wrong(n int64) bool }

// ask sends a request to the edge. It runs in the goroutine of Run.
func (d *Stream) ask(ctx context.Context, a AskEdge) {
	s, at := d.track(a.Track).Segment(a.Segment)
	ctx, cancel := context.WithCancel(ctx)
	d.edge[a.Req] = cancel
	d.wg.Go(func() {
		defer cancel()
		err := d.fetch(ctx, a, &s, at)
		d.in.Post(func(now time.Duration) {
			delete(d.edge, a.Req)
			o := Outcome{OK: err == nil, Gone: permanent(err), Retry: retryAfter(err)}
			if err != nil && ctx.Err() == nil {
				d.o.Logger.Debug("edge failed", "segment", s.Name, "error", err)
			}
			d.plan.EdgeEnds(now, a.Req, o)
			d.due = true
		})
	})
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.Is(err, errCorrupt) || errors.As(err, &p) && p.Permanent()
}

func retryAfter(err error) time.Duration {
	var r interface{ RetryAfter() time.Duration }
	if errors.As(err, &r) {
		return r.RetryAfter()
	}
	return 0
}

// fetch reads the pieces of a request one after the other; each is stored and announced
// before the next is read.
func (d *Stream) fetch(ctx context.Context, a AskEdge, s *track.Segment, at Place) error {
	m := s.Manifest
	first, last := a.First-at.Piece, a.First-at.Piece+a.Count-1
	off := m.Offset(first)
	body, err := d.o.Edge.Fetch(ctx, a.Track, s, off, m.Offset(last)+m.PieceLen(last)-off)
	if err != nil {
		return err
	}
	defer body.Close()
	buf := make([]byte, m.PieceLen(first))
	for i := first; i <= last; i++ {
		piece := buf[:m.PieceLen(i)]
		if err := d.read(a.Req, body, piece); err != nil {
			return err
		}
		for !m.Verify(i, piece) {
			if other, ok := body.(Alternatives); !ok || !other.Wrong(int64(len(piece))) {
				return errCorrupt
			}
			if err := d.read(a.Req, body, piece); err != nil {
				return err
			}
		}
		d.fromEdge.Add(int64(len(piece)))
		d.store(Key{a.Track, at.Piece + i}, piece)
		d.in.Post(func(time.Duration) {
			d.plan.EdgePiece(a.Req, a.Track, at.Piece+i)
			d.due = true
		})
	}
	return nil
}

// read fills b, and has the plan know how it goes.
func (d *Stream) read(req int, body io.Reader, b []byte) error {
	for n := 0; n < len(b); {
		k, err := body.Read(b[n:])
		if n += k; k > 0 {
			d.in.Post(func(now time.Duration) { d.plan.EdgeBytes(now, req, int64(k)) })
		}
		if err != nil && n < len(b) {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
