package agent

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tandem-cdn/tandem/internal/steering"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// streamEdge fetches bytes of segments from the servers that have them.
type streamEdge struct{ s *streaming }

// Fetch implements [stream.Edge]. Where the publisher names several places they are asked
// in the order of its steering manifest, each at once when the one before fails; what they
// send is verified like everything.
func (f streamEdge) Fetch(ctx context.Context, id stream.TrackID, seg *track.Segment, off, n int64) (io.ReadCloser, error) {
	s := f.s
	u, err := s.base.Parse(seg.Name)
	if err != nil || u.Host != s.base.Host {
		return nil, changed("its name is no path")
	}
	src := source{client: s.web, url: u.String(), size: seg.Manifest.Size, down: s.e.down.flow(Request{}, s.start), name: u.Redacted()}
	p, places := s.places(id, src.url)
	if len(places) < 2 {
		return src.Fetch(ctx, off, n)
	}
	src.client = p.client(s.web)
	a := &alternatives{ctx: ctx, shows: s.e.shows(s.guard), p: p, places: places, src: src, off: off, end: off + n}
	if seg.Duration > 0 {
		a.need = float64(seg.Manifest.Size) / seg.Duration.Seconds()
	}
	return a, nil
}

// places are where a segment of a track is to be had, the best first; none where there is
// no choice.
func (s *streaming) places(id stream.TrackID, segment string) (*presentation, []steering.Place) {
	s.mu.Lock()
	t := s.byID[id]
	s.mu.Unlock()
	shows := s.e.shows(s.guard)
	shows.mu.Lock()
	defer shows.mu.Unlock()
	p, rendition := shows.of(t)
	if p == nil {
		return nil, nil
	}
	return p, p.Places(time.Now(), rendition, segment)
}

// alternatives reads a part of a segment from a place, and goes on at the next one when
// that fails, falls silent or is slower than the segment is played.
type alternatives struct {
	ctx      context.Context //nolint:containedctx // of the one request
	shows    *presentations
	p        *presentation
	places   []steering.Place // the first is read from, the others are left
	src      source           // but for the URL
	off, end int64
	need     float64 // bytes per second that the segment is played at
	body     io.ReadCloser
	began    time.Time // of body, at from
	from     int64
	cancel   context.CancelFunc
	err      error // why places were left
}

var (
	errSilent = errors.New("the server is silent")
	errSlow   = errors.New("the server is slower than the segment is played")
)

// open begins at the first place that answers.
func (a *alternatives) open() error {
	for len(a.places) > 0 {
		err := a.try(a.places[0])
		if err == nil {
			return nil
		}
		if a.ctx.Err() != nil {
			return a.ctx.Err()
		}
		a.leave(err)
	}
	return a.err
}

func (a *alternatives) try(at steering.Place) error {
	ctx, cancel := context.WithCancel(a.ctx)
	src := a.src
	src.url = at.URL
	spared := func() bool { return true }
	if len(a.places) > 1 {
		src.silence = at.Silence
		spared = time.AfterFunc(at.Silence, cancel).Stop
	}
	began := time.Now()
	body, err := src.Fetch(ctx, a.off, a.end-a.off)
	switch {
	case !spared() && err == nil:
		body.Close()
		cancel()
		return errSilent
	case err != nil:
		cancel()
		return err
	}
	a.body, a.cancel, a.began, a.from = body, cancel, time.Now(), a.off
	a.note(func(p *presentation) { p.Answered(at, time.Since(began)) })
	return nil
}

func (a *alternatives) note(f func(*presentation)) {
	a.shows.mu.Lock()
	defer a.shows.mu.Unlock()
	f(a.p)
}

// leave goes on to the next place. Of what was wrong at all of them that is kept which may
// pass.
func (a *alternatives) leave(err error) {
	at := a.places[0]
	a.places = a.places[1:]
	a.note(func(p *presentation) {
		var r interface{ RetryAfter() time.Duration }
		switch {
		case errors.Is(err, ErrChanged):
			p.Wrong(time.Now(), at)
		case errors.As(err, &r):
			p.Failed(time.Now(), at, r.RetryAfter())
		default:
			p.Failed(time.Now(), at, 0)
		}
	})
	var permanent interface{ Permanent() bool }
	if a.err == nil || errors.As(a.err, &permanent) && permanent.Permanent() {
		a.err = err
	}
}

// Read implements [io.Reader].
func (a *alternatives) Read(b []byte) (int, error) {
	for a.off < a.end {
		if a.body == nil {
			if err := a.open(); err != nil {
				return 0, err
			}
		}
		n, err := a.body.Read(b[:min(int64(len(b)), a.end-a.off)])
		a.off += int64(n)
		switch {
		case a.off == a.end:
			a.note(func(p *presentation) { p.Served(a.places[0]) })
			return n, nil
		case err == nil && a.slow():
			err = errSlow
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		if a.ctx.Err() != nil {
			return n, err
		}
		a.stop()
		a.leave(err)
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// slow reports whether a place should be left for another because of its rate.
func (a *alternatives) slow() bool {
	took := time.Since(a.began)
	return len(a.places) > 1 && took > a.places[0].Silence && float64(a.off-a.from) < a.need*took.Seconds()
}

// Wrong implements [stream.Alternatives]. Bytes that have come from one place after another
// may be wrong for either: they are asked of the later one again.
func (a *alternatives) Wrong(n int64) bool {
	whole := a.body != nil && a.off-a.from >= n
	a.stop()
	a.off -= n
	if whole {
		a.leave(changed("the place has other bytes"))
	}
	return len(a.places) > 0
}

func (a *alternatives) stop() {
	if a.body != nil {
		a.body.Close()
		a.cancel()
		a.body = nil
	}
}

// Close implements [io.Closer].
func (a *alternatives) Close() error {
	a.stop()
	return nil
}
