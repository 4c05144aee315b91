package stream

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
)

// Reader reads one segment while it arrives: an [io.ReadSeekCloser] for one goroutine at a
// time. Only verified bytes are returned.
type Reader struct {
	d      *Stream
	ctx    context.Context
	id     ReaderID
	track  TrackID
	seg    int
	m      *manifest.Manifest
	first  int     // piece
	plays  float64 // bytes per second
	off    int64
	told   bool // the plan knows that all was read
	failed chan struct{}
	err    error // before failed is closed

	heard time.Duration // when something was new, of the goroutine of Run
	left  int64         // missing then
}

// Open has a reader of a segment come, which [Stream.Find] has found. ctx bounds its reads.
func (d *Stream) Open(ctx context.Context, t TrackID, seg int) (*Reader, error) {
	s, at := d.track(t).Segment(seg)
	r := &Reader{d: d, ctx: ctx, track: t, seg: seg, m: s.Manifest, first: at.Piece, plays: float64(s.Manifest.Size) / max(s.Duration.Seconds(), 1e-3), failed: make(chan struct{})}
	ok := d.in.Call(func(now time.Duration) {
		d.lastRd++
		r.id, r.heard = d.lastRd, now
		d.readers[r.id] = r
		d.plan.OpenReader(now, r.id, t, seg)
		d.due = true
	})
	if !ok {
		return nil, errClosed
	}
	return r, nil
}

// Shown is how fast a player may be shown the segment, in bytes per second: as [Plan.Shown]
// says, and never so slow that it could not play it; 0: at any rate.
func (r *Reader) Shown() float64 {
	rate := r.d.Stats().Rate
	if rate == 0 {
		return 0
	}
	return max(rate, leastShown*r.plays)
}

// Disown has the names of the segments that are known of a track mean something else from
// now on: [Stream.Find] does not find them any more. Who reads one goes on, and peers are
// served.
func (d *Stream) Disown(id TrackID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next, _ := d.tracks[id].Next()
	d.former[id] = next.Segment
}

// Find returns the track and the number of the last segment of that name.
func (d *Stream) Find(name string) (id TrackID, seg int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.tracks) - 1; i >= 0; i-- {
		if _, at, ok := d.tracks[i].Find(name); ok && at.Segment >= d.former[i] {
			return TrackID(i), at.Segment, true
		}
	}
	return 0, 0, false
}

// Size is the size of the segment in bytes.
func (r *Reader) Size() int64 { return r.m.Size }

// Read implements io.Reader. It waits for the next byte.
func (r *Reader) Read(p []byte) (int, error) {
	if r.off >= r.m.Size {
		r.delivered()
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	i := int(r.off / r.m.PieceSize)
	b, err := r.piece(i)
	if err != nil {
		return 0, err
	}
	n := copy(p, b[r.off-r.m.Offset(i):])
	if r.off += int64(n); r.off == r.m.Size {
		r.delivered()
	}
	return n, nil
}

// piece waits for a piece of the segment.
func (r *Reader) piece(i int) ([]byte, error) {
	for {
		r.d.mu.Lock()
		changed := r.d.changed
		r.d.mu.Unlock()
		if b, err := r.d.get(Key{r.track, r.first + i}); err == nil {
			return b, nil
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		case <-r.failed:
			return nil, r.err
		case <-r.d.in.Done():
			return nil, errClosed
		}
	}
}

// delivered tells the plan that the player has the segment.
func (r *Reader) delivered() {
	if !r.told {
		r.told = true
		r.d.in.Post(func(now time.Duration) { r.d.plan.Delivered(now, r.id) })
	}
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.m.Size
	}
	if offset < 0 {
		return r.off, fmt.Errorf("seek to byte %d of a segment", offset)
	}
	r.off = offset
	return offset, nil
}

// Close has the reader go.
func (r *Reader) Close() error {
	r.d.in.Post(func(time.Duration) {
		r.d.plan.CloseReader(r.id)
		delete(r.d.readers, r.id)
		r.d.due = true
	})
	return nil
}

// giveUp ends readers for whom nothing will come. It runs in the goroutine of Run.
func (d *Stream) giveUp(now time.Duration) {
	for id, r := range d.readers {
		left := d.plan.Missing(r.track, r.seg)
		if left != r.left || left == 0 {
			r.left, r.heard = left, now
		}
		switch {
		case d.plan.Hopeless(r.track, r.seg):
			r.err = ErrGone
		case now-r.heard > stalledAfter:
			r.err = ErrStalled
		default:
			continue
		}
		close(r.failed)
		d.plan.CloseReader(id)
		delete(d.readers, id)
	}
}

// Segment returns what is known of a reader's segment.
func (r *Reader) Segment() track.Segment {
	s, _ := r.d.track(r.track).Segment(r.seg)
	return s
}
