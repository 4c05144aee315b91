package agent

import (
	"bytes"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

const (
	// holdFor is how long the names of a track are not relied on at most, from when an old
	// state of its playlist has come until a new one does: what looks old may be an origin
	// that began anew with the same numbers, and an edge finds out by the bytes, or by its
	// staying old. Then old states say nothing until holdAgain is over: servers behind one
	// name may be at different states all the time.
	holdFor, holdAgain = 15 * time.Second, 45 * time.Second
	// maxPlaylists bounds the playlists of a stream that are remembered.
	maxPlaylists = 64
)

// playlists are those of a stream, as players were given them last.
type playlists struct {
	mu     sync.Mutex
	byName map[string]*given
}

// next takes the next state of a playlist and says what became of the one before.
func (l *playlists) next(name string, at *url.URL, playlist []byte, now time.Time) media.Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.byName[name]
	if g == nil {
		if l.byName == nil || len(l.byName) >= maxPlaylists {
			l.byName = map[string]*given{}
		}
		g = &given{}
		l.byName[name] = g
	}
	return g.next(at, playlist, now)
}

// forget has the next state of a playlist be held against none.
func (l *playlists) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byName, name)
}

// given is a playlist as players were given it last.
type given struct {
	hls  *hls.Media
	dash *dash.MPD
}

// next takes the next state and says what became of the one before, as an edge does that
// follows it. One that cannot be read tells no more than an old one, and nothing where none
// could be: it may import variables.
func (g *given) next(at *url.URL, playlist []byte, now time.Time) media.Change {
	change := media.Continues
	if bytes.Contains(playlist, []byte("<MPD")) {
		m, err := dash.Parse(playlist, at)
		if err != nil {
			return media.Stale
		}
		if g.dash != nil {
			change, _ = dash.Compare(g.dash, m, now) // the error says more of the same
		}
		if change != media.Stale {
			g.dash = m
		}
		return change
	}
	p, err := hls.Parse(playlist, hls.Context{Base: at, Previous: g.hls})
	switch {
	case err == nil && p.Media != nil:
	case g.hls == nil:
		return media.Continues
	default:
		return media.Stale
	}
	if g.hls != nil {
		change, _ = hls.Compare(g.hls, p.Media) // likewise
	}
	if change != media.Stale {
		g.hls = p.Media
	}
	return change
}

// listed notes that a player was given a playlist. Where that contradicts the one before,
// the origin may have begun anew with the names of old segments, which the edge is about to
// tell: until it has, nothing that is known by name now is what the player means.
func (s *streaming) listed(at *url.URL, playlist []byte) {
	name, now := nameOf(at), time.Now()
	change := s.given.next(name, at, playlist, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.byID {
		switch {
		case t.playlist() != name:
		case change == media.Continues:
			t.old = false
		case change == media.Stale:
			if t.old = true; now.Sub(t.since) > holdAgain {
				t.since = now
			}
		default:
			t.old = false
			s.e.log.Info("names of a track mean something else", "track", t.ID.String()[:16], "playlist", change.String())
			s.d.Disown(t.id)
		}
	}
}

// playlist is the name of the playlist that the track is of.
func (t *tracking) playlist() string {
	name, _, _ := strings.Cut(t.Header.Name, "#")
	return name
}

// names reports whether the names of the track mean what players mean. The caller holds
// the mutex of the streaming.
func (t *tracking) names() bool {
	return !t.doubted && (!t.old || time.Since(t.since) > holdFor)
}

// doubt has the names of the track not be relied on, or relied on again.
func (t *tracking) doubt(yes bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.doubted = yes
}
