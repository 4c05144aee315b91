package streams

import (
	"cmp"
	"crypto/rand"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// adopt makes the media playlists of a multivariant playlist one stream. They may import its
// variables.
func (s *Streams) adopt(p *playlist, children []string, variables map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.playlists[p.key] != p {
		return
	}
	id, known := s.streams[p.key]
	for _, c := range children {
		if !known {
			id, known = s.streams[c]
		}
	}
	if !known {
		id = newStream()
	}
	s.streams[p.key], p.children, p.variables = id, children, variables
	for _, c := range children {
		if _, ok := s.streams[c]; !ok {
			s.streams[c] = id
		}
	}
}

// leastSecret is the length of what may tell one viewer from others, in bytes.
const leastSecret = 4

// variables are those that a media playlist may import. Its track is for all who ask for it:
// there are none where its multivariant playlists say otherwise of them, and none of what came
// in the query of one but not in its own, which may be one viewer's.
func (s *Streams) variables(key string) (all map[string]string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.playlists {
		if len(p.variables) == 0 || !slices.Contains(p.children, key) {
			continue
		}
		private, own := valuesOf(p.key), valuesOf(key)
		private = slices.DeleteFunc(private, func(v string) bool { return len(v) < leastSecret || slices.Contains(own, v) })
		of := maps.Clone(p.variables)
		maps.DeleteFunc(of, func(_, v string) bool {
			return slices.ContainsFunc(private, func(part string) bool { return strings.Contains(v, part) })
		})
		if all != nil && !maps.Equal(all, of) {
			return nil
		}
		all = of
	}
	return all
}

// valuesOf are the values in the query of a key.
func valuesOf(key string) (values []string) {
	_, query, _ := strings.Cut(key, "?")
	q, _ := url.ParseQuery(query) // the rest says nothing
	for _, v := range q {
		values = append(values, v...)
	}
	return values
}

func newStream() (id track.StreamID) {
	rand.Read(id[:]) // never fails
	return id
}

// track returns the track with a name: the one that is kept, if it may go on, or a
// new one. Where there is no room it returns nil. The owner of the playlist alone
// calls it.
func (s *Streams) track(p *playlist, name string) *published {
	h, t := s.room(p, name)
	if h == nil {
		return t
	}
	var f *file
	if s.cfg.Dir != "" {
		var err error
		if f, err = createFile(s.cfg.Dir, h); err != nil {
			s.cfg.Logger.Warn("track is not kept", "url", name, "error", err)
		}
	}
	t = newPublished(stream.NewTrack(*h), p.key, s.cfg.Key, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.playlists[p.key] != p { // it has been left
		t.drop()
		return nil
	}
	s.tracks[t.ID], s.current[name] = t, t
	return t
}

// room returns the track with a name if there is one, else the header for one if
// there is room.
func (s *Streams) room(p *playlist, name string) (*track.Header, *published) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.playlists[p.key] != p || !track.ValidName(name) {
		return nil, nil
	}
	if t := s.current[name]; t != nil {
		s.streams[p.key] = t.Header.Stream
		return nil, t
	}
	if len(s.tracks) >= maxKept && !s.forgetLocked() {
		return nil, nil
	}
	if _, ok := s.streams[p.key]; !ok {
		s.streams[p.key] = newStream()
	}
	h := &track.Header{Stream: s.streams[p.key], Began: time.Now().Truncate(time.Millisecond), Name: name}
	for s.tracks[h.ID()] != nil { // one that ended within the same millisecond
		h.Began = h.Began.Add(time.Millisecond)
	}
	return h, nil
}

// forgetLocked makes room by dropping a kept track that nobody follows.
func (s *Streams) forgetLocked() bool {
	for _, t := range s.tracks {
		if s.playlists[t.playlist] == nil {
			s.dropLocked(t)
			return true
		}
	}
	return false
}

// add appends to a track within its bound and that of all together.
func (s *Streams) add(p *playlist, t *published, seg *track.Segment, most int) error {
	s.mu.Lock()
	if s.total >= maxTotal && !s.forgetLocked() && !s.evictLocked(p) {
		s.mu.Unlock()
		return errFull
	}
	s.total++
	s.mu.Unlock()
	err := t.add(seg, false, most)
	if err != nil {
		s.mu.Lock()
		s.total--
		s.mu.Unlock()
	}
	return err
}

// retire has a track that has ended forgotten when those who follow it know.
func (s *Streams) retire(t *published) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current[t.Header.Name] == t {
		delete(s.current, t.Header.Name)
	}
	if t.file != nil {
		os.Remove(t.file.path) // it must not go on after a restart
	}
	time.AfterFunc(retired, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ctx.Err() == nil {
			s.dropLocked(t)
		}
	})
}

// list has the segments of a playlist found.
func (s *Streams) list(p *playlist) {
	names := map[string]bool{}
	for _, r := range p.follow.renditions {
		for _, it := range r.items {
			names[it.name] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.playlists[p.key] == p { // it may have been left
		s.indexLocked(p, names)
	}
}

// newestFirst sorts files by the time of their last change.
func newestFirst(paths []string) []string {
	at := map[string]time.Time{}
	for _, path := range paths {
		if fi, err := os.Stat(path); err == nil {
			at[path] = fi.ModTime()
		}
	}
	slices.SortStableFunc(paths, func(a, b string) int { return cmp.Compare(at[b].UnixNano(), at[a].UnixNano()) })
	return paths
}
