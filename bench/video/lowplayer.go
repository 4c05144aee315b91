//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

// lowPlayer plays a live stream by its parts, as low-latency players do: one request for
// the playlist is always held by the server until that goes on, and the part that is
// hinted is asked for before it is there. It begins where it is [player.behind], by the
// clock of the stream, and shows the best rendition.
type lowPlayer struct {
	*player
	url *url.URL // of the media playlist

	mu      sync.Mutex
	media   *hls.Media
	changed chan struct{} // closed and replaced with it
	err     error         // of loading it
}

// place is that of a part: a segment by its number, and the part in it.
type place struct {
	segment uint64
	part    int
}

// found is what is to be loaded next.
type found struct {
	media.Resource
	init     *media.Resource
	duration time.Duration
	end      time.Time // of its media, by the clock of the stream
	next     place
}

// low plays the best variant until it is time to stop, or the stream ends.
func (p *player) low(ctx context.Context) error {
	p.now = len(p.guide.encodings()) - 1
	u, err := url.Parse(p.guide.encodings()[p.now].id)
	if err != nil {
		return err
	}
	first, err := loadHLS(ctx, p.get, u, nil)
	switch {
	case err != nil:
		return err
	case first.PartTarget == 0 || !first.ServerControl.CanBlockReload:
		return errors.New("it is no playlist for low latency")
	}
	l := &lowPlayer{player: p, url: u, media: first, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(ctx)
	reloaded := make(chan struct{})
	go func() { defer close(reloaded); l.reload(ctx) }()
	defer func() { cancel(); <-reloaded }()
	return l.play(ctx)
}

// reload loads the playlist again and again.
func (l *lowPlayer) reload(ctx context.Context) {
	m := l.media
	for ctx.Err() == nil && !m.EndList {
		got, err := loadHLS(ctx, l.get, m.Reload(l.url), m)
		l.mu.Lock()
		if l.err = err; err == nil {
			m, l.media = got, got
		}
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// last returns the playlist as it was loaded last, and what is closed with the next.
func (l *lowPlayer) last() (*hls.Media, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.media, l.changed, l.err
}

func (l *lowPlayer) play(ctx context.Context) error {
	m, _, _ := l.last()
	where := l.begin(m)
	for l.until == 0 || l.since() < l.until {
		m, changed, err := l.last()
		if err != nil {
			return err
		}
		f := find(m, where)
		switch {
		case f == nil && m.EndList:
			return nil
		case f == nil:
			if f, err = l.hinted(ctx, m, changed, where); err != nil {
				return err
			}
		default:
			err = l.load(ctx, f)
		}
		if err != nil {
			return err
		}
		if f != nil {
			l.show(f)
			where = f.next
		}
	}
	return nil
}

// begin is the last part that a player can begin with so far behind.
func (l *lowPlayer) begin(m *hls.Media) (where place) {
	segments := m.Segments
	if m.Partial != nil {
		segments = append(segments[:len(segments):len(segments)], *m.Partial)
	}
	for _, s := range segments {
		if time.Since(s.ProgramTime) >= l.behind {
			where = place{segment: s.Number}
		}
		start := s.ProgramTime
		for i, p := range s.Parts {
			if p.Independent && time.Since(start) >= l.behind {
				where = place{s.Number, i}
			}
			start = start.Add(p.Duration)
		}
	}
	if where == (place{}) {
		where.segment = m.MediaSequence
	}
	return where
}

// find returns what is at a place: a part, or a whole segment whose parts are not listed
// any more; nil for what is not there yet.
func find(m *hls.Media, where place) *found {
	for _, s := range m.Segments {
		if s.Number != where.segment {
			continue
		}
		if len(s.Parts) == 0 && where.part == 0 {
			return &found{s.Resource, s.Init, s.Duration, s.ProgramTime.Add(s.Duration), place{s.Number + 1, 0}}
		}
		if f := findPart(&s, where); f != nil {
			return f
		}
		where = place{s.Number + 1, 0} // it has no such part
	}
	if m.Partial != nil && m.Partial.Number == where.segment {
		return findPart(m.Partial, where)
	}
	return nil
}

func findPart(s *media.Segment, where place) *found {
	end := s.ProgramTime
	for i, p := range s.Parts {
		if end = end.Add(p.Duration); i == where.part {
			return &found{p.Resource, s.Init, p.Duration, end, place{s.Number, i + 1}}
		}
	}
	return nil
}

// load gets what was found, with its initialization.
func (l *lowPlayer) load(ctx context.Context, f *found) error {
	if f.init != nil && !l.inits[*f.init] {
		l.inits[*f.init] = true
		if _, err := l.keep(ctx, *f.init); err != nil {
			return err
		}
	}
	_, err := l.keep(ctx, f.Resource)
	return err
}

// hinted gets the part that is hinted and then waits until it is listed; without a hint
// it only waits for the next playlist, and returns nil.
func (l *lowPlayer) hinted(ctx context.Context, m *hls.Media, changed <-chan struct{}, where place) (*found, error) {
	hint := ""
	for _, h := range m.Hints {
		if !h.Map {
			hint = h.URL
		}
	}
	if hint == "" {
		return nil, wait(ctx, changed)
	}
	if _, err := l.keep(ctx, media.Resource{URL: hint}); err != nil {
		return nil, fmt.Errorf("hint: %w", err)
	}
	for {
		m, changed, err := l.last()
		if err != nil {
			return nil, err
		}
		f := find(m, where)
		switch {
		case f != nil && f.URL == hint:
			return f, nil
		case f != nil || m.EndList: // the hint was wrong
			return nil, nil //nolint:nilnil // see above
		}
		if err := wait(ctx, changed); err != nil {
			return nil, err
		}
	}
}

func wait(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// show puts what was loaded into the buffer. Before it begins it leaves out what is more
// than so far behind.
func (l *lowPlayer) show(f *found) {
	b, d := &l.buffer, f.duration
	b.advance(l.since())
	if !b.began {
		d = max(0, min(b.ahead+d, l.behind-time.Since(f.end))) - b.ahead
	}
	b.add(l.since(), d, f.duration/2)
	l.out.Media += f.duration.Seconds()
	e := l.guide.encodings()[l.now]
	l.out.Rate += float64(e.bandwidth) * f.duration.Seconds()
	l.out.Tops[e.name] += f.duration.Seconds()
	l.behinds = append(l.behinds, (time.Since(f.end) + b.ahead).Seconds())
}
