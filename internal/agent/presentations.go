package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/steering"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// maxPresentations bounds the multivariant playlists and MPDs that are remembered.
	maxPresentations = 64
	// maxSteering bounds a steering manifest, in bytes.
	maxSteering = 256 << 10
	// steerEvery is how often a stream looks whether a steering manifest is due.
	steerEvery = 2 * time.Second
)

// presentations are what multivariant playlists and MPDs that have passed say of places.
type presentations struct {
	mu    sync.Mutex
	byURL map[string]*presentation
}

// presentation is one of them. allow says whether a host may be asked; nil: any may.
type presentation struct {
	*steering.Presentation
	allow func(context.Context, *url.URL) error
	used  time.Time
}

func newPresentations() *presentations { return &presentations{byURL: map[string]*presentation{}} }

// shows are the presentations of guarded streams, or of the others.
func (e *Engine) shows(guarded bool) *presentations {
	if guarded {
		return e.guardedShows
	}
	return e.openShows
}

// Presented remembers what a multivariant playlist or an MPD that has come from at says of
// places, for guarded streams. allow says whether the host of a URL may be asked.
func (e *Engine) Presented(at *url.URL, playlist []byte, allow func(context.Context, *url.URL) error) {
	e.presented(true, at, playlist, allow)
}

func (e *Engine) presented(guarded bool, at *url.URL, playlist []byte, allow func(context.Context, *url.URL) error) {
	s, now := e.shows(guarded), time.Now()
	show := steering.New(now, playlist, at)
	if show == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := media.Location(at)
	p := s.byURL[key]
	if p == nil {
		if len(s.byURL) >= maxPresentations {
			delete(s.byURL, s.oldest())
		}
		p = &presentation{Presentation: show, allow: allow}
		s.byURL[key] = p
	} else {
		p.Renew(show)
	}
	p.used = now
	e.judge(s, p)
}

// oldest is what was used longest ago. The mutex is held.
func (s *presentations) oldest() (key string) {
	for k, p := range s.byURL {
		if key == "" || p.used.Before(s.byURL[key].used) {
			key = k
		}
	}
	return key
}

// judge finds out which hosts of a presentation may be asked. The mutex is held.
func (e *Engine) judge(s *presentations, p *presentation) {
	hosts := p.Hosts()
	for _, h := range hosts {
		p.Allow(h, p.allow == nil)
	}
	if p.allow == nil || len(hosts) == 0 {
		return
	}
	e.start(func() {
		for _, h := range hosts {
			u, err := url.Parse(h)
			ok := err == nil && u.User == nil && p.allow(e.ctx, u) == nil
			s.mu.Lock()
			p.Allow(h, ok)
			s.mu.Unlock()
			if ok {
				_, _ = e.WellKnown(e.ctx, u) // for Stream.names
			}
		}
	})
}

// Steers reports whether a URL is that of the steering server of a presentation.
func (e *Engine) Steers(u *url.URL) bool {
	s, at := e.guardedShows, media.Location(u)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byURL {
		if p.Steers(at) {
			return true
		}
	}
	return false
}

// SteersElsewhere records that a steering server redirects from one URL to another.
func (e *Engine) SteersElsewhere(from, to *url.URL) {
	s := e.guardedShows
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byURL {
		if p.Steers(media.Location(from)) {
			p.Moved(to)
		}
	}
}

// Steered takes a steering manifest that has come from at, for those that it steers.
func (e *Engine) Steered(at *url.URL, manifest []byte) {
	e.steered(e.guardedShows, at, manifest)
}

func (e *Engine) steered(s *presentations, at *url.URL, manifest []byte) {
	m, err := media.ParseSteering(manifest, at)
	if err != nil {
		e.log.Info("steering manifest", "host", at.Host, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byURL {
		if p.Steers(media.Location(at)) {
			p.Told(time.Now(), m)
			e.judge(s, p)
		}
	}
}

// of is the presentation that a rendition is of, and what names the rendition there; nil
// for none. The mutex is held.
func (s *presentations) of(t *tracking) (p *presentation, rendition string) {
	u, err := t.s.base.Parse(t.Header.Name)
	if err != nil {
		return nil, ""
	}
	rendition = u.String()
	for _, o := range s.byURL {
		if o.Has(rendition) && (p == nil || o.used.After(p.used)) {
			p = o
		}
	}
	if p != nil {
		p.used = time.Now()
	}
	return p, rendition
}

// names are what tracks at base may call what is at u: it may be at another place of the
// same presentation.
func (s *presentations) names(base, u *url.URL) (names []string) {
	if u.Scheme == base.Scheme && u.Host == base.Host {
		return []string{nameOf(u)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.byURL {
		for _, same := range p.Same(media.Location(u), base.Scheme+"://"+base.Host) {
			if o, err := url.Parse(same); err == nil && !slices.Contains(names, nameOf(o)) {
				names = append(names, nameOf(o))
			}
		}
	}
	return names
}

// names are what the tracks of shared may call what is at u. At another host a guarded
// stream has nothing unless that host vouches for the keys that sign the tracks: whoever
// names a host as a place of his would else answer for it.
func (s *Stream) names(shared *streaming, u *url.URL) []string {
	if base := shared.base; s.guarded && (u.Scheme != base.Scheme || u.Host != base.Host) && !vouches(s.e.hosts.peek(u), shared.doc) {
		return nil
	}
	return s.e.shows(s.guarded).names(shared.base, u)
}

// vouches reports whether all keys of a publisher are also those of a host.
func vouches(host, publisher *wire.WellKnown) bool {
	if host == nil || len(publisher.Keys.Public()) == 0 {
		return false
	}
	all := host.Keys.Public()
	return !slices.ContainsFunc(publisher.Keys.Public(), func(k ed25519.PublicKey) bool {
		return !slices.ContainsFunc(all, func(o ed25519.PublicKey) bool { return k.Equal(o) })
	})
}

// steer gets steering manifests for the stream's presentations while nobody else does:
// many players know nothing of them.
func (s *streaming) steer(ctx context.Context) {
	shows := s.e.shows(s.guard)
	every(ctx, steerEvery, func() {
		for _, t := range s.all() {
			shows.mu.Lock()
			p, _ := shows.of(t)
			var at *url.URL
			var due bool
			if p != nil {
				at, due = p.Ask(time.Now())
			}
			shows.mu.Unlock()
			if due {
				s.askSteering(ctx, p, at)
			}
		}
	})
}

func (s *streaming) all() []*tracking {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.byID)
}

// client follows redirects only to where may be asked, and not into the clear.
func (p *presentation) client(web *http.Client) *http.Client {
	c := *web
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= maxRedirects:
			return fmt.Errorf("more than %d redirects", maxRedirects)
		case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
			return errors.New("a redirect into the clear")
		case p.allow == nil:
			return nil
		}
		return p.allow(req.Context(), req.URL)
	}
	return &c
}

// askSteering asks a steering server. That it does not answer changes nothing but when it
// is asked again.
func (s *streaming) askSteering(ctx context.Context, p *presentation, at *url.URL) {
	ctx, cancel := context.WithTimeout(ctx, headerWithin)
	defer cancel()
	b, err := small(ctx, p.client(s.web), at, maxSteering)
	if err == nil && len(bytes.TrimSpace(b)) > 0 {
		s.e.steered(s.e.shows(s.guard), at, b)
		return
	}
	var status *statusError
	gone, retry := false, time.Duration(0)
	if errors.As(err, &status) {
		gone, retry = status.status == http.StatusGone, status.RetryAfter()
	}
	s.e.log.Info("no steering manifest", "host", at.Host, "error", err)
	shows := s.e.shows(s.guard)
	shows.mu.Lock()
	p.Refused(time.Now(), gone, retry)
	shows.mu.Unlock()
}
