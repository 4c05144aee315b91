package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/swarm"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// Pieces of a stream are kept in memory up to streamMemory and up to streamQuota in
	// all, in bytes.
	streamMemory = 64 << 20
	streamQuota  = 1 << 30
	// maxTracks bounds the tracks of a stream that an engine takes part in: each has a
	// channel on every link.
	maxTracks = 32
	// maxStreamPeers bounds the candidates that are remembered for further tracks.
	maxStreamPeers = 256
)

// streaming is this engine's part in one stream: the store, the plan and the swarms of its
// tracks, and the membership at control. All that open one of its playlists share it.
type streaming struct {
	e      *Engine
	id     track.StreamID
	base   *url.URL // scheme and host of all that is in its tracks
	url    string   // of a playlist, for grants
	web    *http.Client
	guard  bool // its servers are guarded
	p2p    *p2p
	doc    *wire.WellKnown
	d      *stream.Stream
	store  *stream.Store
	start  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	ran    chan struct{} // closed when d has ended

	control *control
	grant   atomic.Pointer[string]
	stale   chan struct{} // the grant was refused
	gone    atomic.Bool   // the edge does not know the stream any more
	given   playlists

	mu     sync.Mutex
	users  int // under the engine's mutex
	tracks map[track.ID]*tracking
	byID   []*tracking        // by stream.TrackID
	waits  map[string]arrival // segments that came before they were known to be in a track
	size   int                // of waits, bytes
	peers  map[wire.Key]wire.Candidate
	live   bool
	grown  chan struct{} // closed and replaced when pages of a track have come
	left   bool

	late atomic.Int64 // until then hinted parts are not waited for longer than others, Unix nanoseconds
}

// tracking is one track of a streaming.
type tracking struct {
	*stream.Track
	s     *streaming
	id    stream.TrackID
	at    *url.URL // of its header
	swarm *swarm.Swarm
	used  chan struct{} // told when a segment is asked for
	last  atomic.Int64  // when one was, Unix nanoseconds
	again chan struct{} // told when a segment is missed, so that pages are asked for
	known chan struct{} // closed when all pages that there were have come

	// Under s.mu: whether the playlist that came last was an older one, the first that was
	// lately, and whether the track has ended and nothing is known to go on with it.
	old, doubted bool
	since        time.Time
}

// streamKey names a stream of a host.
type streamKey struct {
	base    string
	id      track.StreamID
	guarded bool
}

func baseOf(u *url.URL) *url.URL { return &url.URL{Scheme: u.Scheme, Host: u.Host} }

// follow takes part in the stream of the tracks whose headers are at links, and has their
// pages followed.
func (e *Engine) follow(ctx context.Context, of *Stream, links []*url.URL) (*streaming, error) {
	link := links[0]
	doc, err := e.hosts.get(ctx, of.web, link)
	if err != nil {
		return nil, err
	}
	h, err := trackHeader(ctx, of.web, link, doc)
	if errors.Is(err, manifest.ErrSignature) { // the keys may be others than those remembered
		e.hosts.forget(link)
		if doc, err = e.hosts.get(ctx, of.web, link); err == nil {
			h, err = trackHeader(ctx, of.web, link, doc)
		}
	}
	if err != nil {
		return nil, err
	}
	s, err := e.streamingOf(h.Stream, of, doc)
	if err != nil {
		return nil, err
	}
	var began []*tracking
	for _, link := range links {
		h, err := trackHeader(ctx, of.web, link, doc)
		if err != nil || h.Stream != s.id {
			e.log.Info("track left out", "track", link.Redacted(), "error", err)
			continue
		}
		if t, err := s.add(h, link); err == nil {
			began = append(began, t)
		}
	}
	for _, t := range began { // so that what is opened next is found
		select {
		case <-t.known:
		case <-ctx.Done():
		}
	}
	return s, nil
}

// trackHeader gets the header of a track, signed by one of the host's keys.
func trackHeader(ctx context.Context, web *http.Client, link *url.URL, doc *wire.WellKnown) (*track.Header, error) {
	b, err := small(ctx, web, link, track.MaxHeader)
	if err != nil {
		return nil, err
	}
	h, err := track.ParseHeader(b, doc.Keys.Public())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", link.Redacted(), err)
	}
	if id := h.ID().String(); link.Path[len(link.Path)-len(id):] != id {
		return nil, fmt.Errorf("%s: %w: header of another track", link.Redacted(), ErrVerify)
	}
	return h, nil
}

// streamingOf returns the engine's part in a stream, begun at the first use, with one user
// more.
func (e *Engine) streamingOf(id track.StreamID, of *Stream, doc *wire.WellKnown) (*streaming, error) {
	p, err := e.swarming()
	if err != nil {
		return nil, err
	}
	key := streamKey{baseOf(of.at).String(), id, of.guarded}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.streams[key]; s != nil {
		s.users++
		return s, nil
	}
	if e.ctx.Err() != nil {
		return nil, ErrInterrupted
	}
	dir, err := os.MkdirTemp(e.data, "stream-")
	if err != nil {
		return nil, fmt.Errorf("pieces of a stream: %w: %w", ErrDisk, err)
	}
	s := &streaming{
		e: e, id: id, base: baseOf(of.at), url: of.at.String(), web: of.web, guard: of.guarded, p2p: p, doc: doc, start: time.Now(), users: 1,
		store: stream.NewStore(dir, streamMemory, streamQuota), ran: make(chan struct{}), stale: make(chan struct{}, 1),
		live: live(of.playlist), tracks: map[track.ID]*tracking{}, waits: map[string]arrival{}, peers: map[wire.Key]wire.Candidate{},
		grown: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(e.ctx)
	s.d = stream.New(stream.Options{
		Config: stream.Config{Seed: seedOf(p.node.Key()), Uploads: e.cfg.Upload, Live: s.live},
		Edge:   streamEdge{s}, Store: s.store, SeedOf: seedOf, Logger: e.log,
		Announce: s.announce, Withdraw: s.withdraw, Credit: s.credit,
	})
	e.streams[key] = s
	e.group.Go(func() error { s.run(); return nil })
	e.group.Go(func() error { s.enter(); return nil })
	e.group.Go(func() error { s.steer(s.ctx); return nil })
	return s, nil
}

// run drives the stream until it is left.
func (s *streaming) run() {
	defer close(s.ran)
	ctx, end := s.e.down.during(s.ctx, fetch.Normal)
	defer end()
	s.d.Run(ctx)
	if err := s.store.Close(); err != nil {
		s.e.log.Warn("not cleaned up", "stream", s.id.String()[:16], "error", err)
	}
}

// release takes one user away, and leaves the stream with the last.
func (s *streaming) release() {
	s.e.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		delete(s.e.streams, streamKey{s.base.String(), s.id, s.guard})
	}
	s.e.mu.Unlock()
	if !last {
		return
	}
	s.mu.Lock()
	s.left = true
	c := s.control
	s.mu.Unlock()
	s.report()
	s.cancel()
	if c != nil {
		c.leave(s.id)
	}
	for _, w := range s.swarms() {
		w.Leave()
	}
	<-s.ran
}

// swarms are those of the tracks.
func (s *streaming) swarms() (out []*swarm.Swarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.byID {
		if t.swarm != nil {
			out = append(out, t.swarm)
		}
	}
	return out
}

// add takes part in a track, unless it does.
func (s *streaming) add(h *track.Header, link *url.URL) (*tracking, error) {
	t, fresh, err := s.track(h, link)
	if fresh {
		s.e.start(func() { t.follow(s.ctx) })
	}
	return t, err
}

// track returns the track of a header, and whether it is new.
func (s *streaming) track(h *track.Header, link *url.URL) (t *tracking, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tracks[h.ID()]; t != nil {
		return t, false, nil
	}
	if len(s.tracks) >= maxTracks || s.left {
		return nil, false, fmt.Errorf("stream %s: more than %d tracks, or left", s.id.String()[:16], maxTracks)
	}
	t = &tracking{
		Track: stream.NewTrack(*h), s: s, at: link,
		used: make(chan struct{}, 1), again: make(chan struct{}, 1), known: make(chan struct{}),
	}
	t.last.Store(time.Now().UnixNano())
	id := t.ID
	t.id = s.d.Add(t.Track, binary.BigEndian.Uint64(id[:8]))
	s.tracks[id] = t
	s.byID = append(s.byID, t)
	return t, true, nil
}

func (s *streaming) progress() StreamProgress {
	st := s.d.Stats()
	p := StreamProgress{ID: s.id, FromEdge: st.FromEdge, FromPeers: st.FromPeers, Wasted: st.Wasted, Peers: st.Peers}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.byID {
		if p.Tracks++; t.swarm != nil {
			p.Uploaded += t.swarm.Uploaded()
		}
	}
	return p
}

// swarmOf is the swarm of a track; nil before there is one.
func (s *streaming) swarmOf(id stream.TrackID) *swarm.Swarm {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id].swarm
}

func (s *streaming) announce(id stream.TrackID, piece int) {
	if w := s.swarmOf(id); w != nil {
		w.Announce(piece)
	}
}

func (s *streaming) withdraw(id stream.TrackID) {
	if w := s.swarmOf(id); w != nil {
		w.Withdraw()
	}
}

func (s *streaming) credit(id stream.TrackID, p stream.Peer, n int) {
	if p, ok := p.(*swarm.Peer); ok {
		s.swarmOf(id).Credit(p, n)
	}
}
