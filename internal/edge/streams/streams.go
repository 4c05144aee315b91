// Package streams has an edge follow the playlists of HLS and DASH that pass
// through it, and publish the tracks of their renditions (package track).
//
// A playlist is followed once somebody asked for it: it is loaded and read, its
// segments are taken from the edge's own cache, which fetches them once for all,
// and appended to the track of their rendition. Live playlists are loaded at the
// pace that their format says while somebody asks, and every new segment is taken
// at once; of others what players will soon ask for. Playlists go to players as
// they are; keys, and what is not for everybody, are never in a track.
//
// What is done when is decided by follow (follow.go, rendition.go), a state machine
// without clock or I/O; every playlist has one goroutine that owns one and does it
// (playlist.go). Tracks (published.go, tracks.go) are read by everybody and kept in
// files (file.go), so that they outlive the edge.
package streams

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/media/hls"
	"github.com/tandem-cdn/tandem/internal/track"
)

const (
	// maxPlaylists bounds what is followed; beyond it the one that was not asked for
	// the longest goes, if that is longer than spared.
	maxPlaylists = 256
	spared       = time.Minute
	// maxQueries bounds the playlists of one path that differ in their queries,
	// which anybody can make up.
	maxQueries = 8
	// maxKept bounds the tracks, and maxTotal their segments together.
	maxKept  = 512
	maxTotal = 256 << 10
	// maxWaiting bounds the requests that wait for a page.
	maxWaiting = 20_000
	// maxTaking is how many segments are taken at a time, in all playlists together.
	maxTaking = 32
	// maxLoads is how many playlists are loaded in a second.
	maxLoads = 100
	// retired is how long a track that has ended is there for those who follow it.
	retired = 2 * time.Minute
)

// Errors of [Streams.Pages].
var (
	// ErrGone says that there is no such track, or not any more, or that it is not
	// what the asker takes it for.
	ErrGone = errors.New("no such track")
	// ErrBusy says that too many wait.
	ErrBusy = errors.New("too many wait for tracks")
)

// Object is a segment as it is at present.
type Object struct {
	ETag     string
	Manifest *manifest.Manifest
}

// Config is what Streams needs. Load and Take may be called from any goroutine.
type Config struct {
	// Load returns the present version of a playlist, of at most that many bytes,
	// with its entity tag. What is not for everybody is an error.
	Load func(ctx context.Context, key string, most int64) (b []byte, etag string, err error)
	// Take returns the present version of a segment. What is not for everybody is an
	// error.
	Take func(ctx context.Context, key string) (Object, error)
	// Key signs.
	Key ed25519.PrivateKey
	// Public is the scheme and host that URLs in playlists name this edge by, if they
	// are absolute.
	Public *url.URL
	// Dir is where tracks are kept between runs. Empty: nowhere.
	Dir    string
	Logger *slog.Logger
}

// Streams follows playlists. It is safe for concurrent use.
type Streams struct {
	cfg     Config
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	work    sync.WaitGroup
	taking  chan struct{}
	loads   *rate.Limiter
	waiting chan struct{}
	quiet   chan struct{} // closed when nobody is to wait any more

	mu        sync.RWMutex
	playlists map[string]*playlist   // by key
	queries   map[string]int         // playlists by path
	index     map[string][]*playlist // by the keys of what they list
	tracks    map[track.ID]*published
	current   map[string]*published     // tracks that may go on, by name
	streams   map[string]track.StreamID // of playlists whose tracks are kept, and of their children
	total     int                       // segments of all tracks
}

// New opens what an earlier run kept.
func New(cfg Config) (*Streams, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Streams{
		cfg: cfg, ctx: ctx, cancel: cancel,
		taking: make(chan struct{}, maxTaking), waiting: make(chan struct{}, maxWaiting), quiet: make(chan struct{}),
		loads:     rate.NewLimiter(maxLoads, maxLoads),
		playlists: map[string]*playlist{}, queries: map[string]int{}, index: map[string][]*playlist{},
		tracks: map[track.ID]*published{}, current: map[string]*published{}, streams: map[string]track.StreamID{},
	}
	if cfg.Dir == "" {
		return s, nil
	}
	return s, s.open()
}

// open reads the tracks in the directory, the newest first.
func (s *Streams) open() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*"+suffix))
	if err != nil {
		return err
	}
	for _, path := range newestFirst(paths) {
		t, f, err := openFile(path)
		if err != nil {
			s.cfg.Logger.Warn("track is begun anew", "error", err)
			os.Remove(path)
			continue
		}
		next, _ := t.Next()
		if len(s.tracks) == maxKept || s.total+next.Segment > maxTotal || s.current[t.Header.Name] != nil {
			f.remove()
			continue
		}
		playlist, _, _ := strings.Cut(t.Header.Name, "#")
		p := newPublished(t, playlist, s.cfg.Key, f)
		s.tracks[t.ID], s.current[t.Header.Name], s.streams[playlist] = p, p, t.Header.Stream
		s.total += next.Segment
	}
	return nil
}

// Close ends the work. No call may come after it.
func (s *Streams) Close() error {
	s.cancel()
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.tracks {
		if p.file != nil {
			errs = append(errs, p.file.close())
		}
	}
	return errors.Join(errs...)
}

// Served notes that an object was served, and returns the tracks that the answer is
// to name if it is a playlist: those that agree with just this version of it, as far as
// that was read. It does not wait for anything.
func (s *Streams) Served(key, etag, mediaType string) []track.ID {
	s.mu.RLock()
	for _, p := range s.index[key] {
		p.asked(key, etag)
	}
	s.mu.RUnlock()
	k := kindOf(key, mediaType)
	if k == none {
		return nil
	}
	plain, other := hls.Plain(key)
	if other {
		etag = "" // of another state
	}
	p := s.follow(plain, k)
	if p == nil {
		return nil
	}
	p.asked("", etag)
	return p.links(etag)
}

// follow returns the playlist with that key, which it begins to follow if there
// is room.
func (s *Streams) follow(key string, k kind) *playlist {
	s.mu.RLock()
	p := s.playlists[key]
	s.mu.RUnlock()
	if p != nil {
		return p
	}
	if !track.ValidName(key) || strings.Contains(key, "#") {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.playlists[key]; p != nil {
		return p
	}
	path, _, _ := strings.Cut(key, "?")
	if s.ctx.Err() != nil || s.queries[path] == maxQueries || len(s.playlists) == maxPlaylists && !s.evictLocked(nil) {
		return nil
	}
	r, err := newReader(key, k, s.cfg.Public)
	if err != nil {
		return nil
	}
	p = newPlaylist(s, key, r)
	for _, o := range s.playlists {
		if !o.isReady() {
			p.before = append(p.before, o.ready)
		}
	}
	s.playlists[key] = p
	s.queries[path]++
	s.work.Go(p.run)
	return p
}

// evictLocked makes room: it leaves the playlist that was not asked for the longest,
// but not one that somebody uses.
func (s *Streams) evictLocked(but *playlist) bool {
	var oldest *playlist
	for _, p := range s.playlists {
		if p != but && (oldest == nil || p.lastAsked().Before(oldest.lastAsked())) {
			oldest = p
		}
	}
	if oldest == nil || time.Since(oldest.lastAsked()) < spared {
		return false
	}
	oldest.cancel()
	path, _, _ := strings.Cut(oldest.key, "?")
	if s.queries[path]--; s.queries[path] == 0 {
		delete(s.queries, path)
	}
	delete(s.playlists, oldest.key)
	s.indexLocked(oldest, nil)
	delete(s.streams, oldest.key)
	for _, c := range oldest.children {
		if s.playlists[c] == nil {
			delete(s.streams, c)
		}
	}
	for _, t := range s.tracks {
		if t.playlist == oldest.key {
			s.dropLocked(t)
		}
	}
	return true
}

// indexLocked has what a playlist lists found by its keys, in the place of what it
// listed before.
func (s *Streams) indexLocked(p *playlist, names map[string]bool) {
	for name := range p.names {
		if names[name] {
			continue
		}
		var others []*playlist
		for _, o := range s.index[name] {
			if o != p {
				others = append(others, o)
			}
		}
		if s.index[name] = others; len(others) == 0 {
			delete(s.index, name)
		}
	}
	for name := range names {
		if !p.names[name] {
			s.index[name] = append(s.index[name], p)
		}
	}
	p.names = names
}

// dropLocked forgets a track.
func (s *Streams) dropLocked(t *published) {
	if s.tracks[t.ID] != t {
		return
	}
	delete(s.tracks, t.ID)
	if s.current[t.Header.Name] == t {
		delete(s.current, t.Header.Name)
	}
	next, _ := t.Next()
	s.total -= next.Segment
	t.drop()
}

// Stream returns the stream of the playlist with that key.
func (s *Streams) Stream(key string) (track.StreamID, bool) {
	key, _ = hls.Plain(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	id, ok := s.streams[key]
	return id, ok
}

// Header returns the signed header of a track.
func (s *Streams) Header(id track.ID) ([]byte, bool) {
	s.mu.RLock()
	t := s.tracks[id]
	s.mu.RUnlock()
	if t == nil {
		return nil, false
	}
	return t.Header.Sign(s.cfg.Key), true
}

// Pages returns signed pages from a segment on. While there is no such segment it
// waits; when ctx ends first, it returns nothing.
func (s *Streams) Pages(ctx context.Context, id track.ID, from int) ([]byte, error) {
	s.mu.RLock()
	t := s.tracks[id]
	s.mu.RUnlock()
	if t == nil {
		return nil, ErrGone
	}
	k := isHLS
	if strings.Contains(t.Header.Name, "#") { // see playlist.begin
		k = isDASH
	}
	if p := s.follow(t.playlist, k); p != nil {
		p.waited(t.Header.Name)
	}
	for {
		changed, err := t.state(from)
		if err != nil {
			return nil, err
		}
		if changed == nil {
			return t.pages(from), nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		if more, err := s.await(ctx, changed); !more {
			return nil, err
		}
	}
}

// Release ends the waiting of those who wait for pages, and lets nobody wait any
// more: the edge is about to end. It may be called once.
func (s *Streams) Release() { close(s.quiet) }

// await waits for a change, or the end of ctx, together with all who wait.
func (s *Streams) await(ctx context.Context, changed <-chan struct{}) (bool, error) {
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return false, ErrBusy
	}
	select {
	case <-changed:
		return true, nil
	case <-ctx.Done():
	case <-s.quiet:
	}
	return false, nil
}
