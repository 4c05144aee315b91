package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
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

// find returns the segment of a name. One that its track should have any moment, or once
// it is there, is waited for, where the player has something to play meanwhile.
func (s *streaming) find(ctx context.Context, name string, h hints) (id stream.TrackID, seg int, ok bool) {
	id, seg, ok = s.d.Find(name)
	if st := s.d.Stats(); !ok && st.FromEdge+st.FromPeers > 0 {
		id, seg, ok = s.await(ctx, name, h)
	}
	if !ok {
		return 0, 0, false
	}
	s.mu.Lock()
	t := s.byID[id]
	ok = t.names()
	s.mu.Unlock()
	t.last.Store(time.Now().UnixNano())
	tell(t.used)
	return id, seg, ok
}

// tell tells whoever waits, or comes next.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await waits for pages, of a hinted part no longer than [pageWithin] from when the
// playlist lists it. Where a hinted one was waited for in vain none is for [lateFor], so
// that an edge that does not go on costs nobody more than one wait.
func (s *streaming) await(ctx context.Context, name string, h hints) (id stream.TrackID, seg int, ok bool) {
	hinted := h.most > pageWithin && time.Now().UnixNano() >= s.late.Load()
	if !hinted {
		h = hints{most: pageWithin}
	}
	until := time.NewTimer(h.most)
	defer until.Stop()
	for {
		growing, again := s.growing()
		if id, seg, ok = s.d.Find(name); ok {
			return id, seg, true
		}
		if tell(again); growing == nil {
			return 0, 0, false
		}
		select {
		case <-growing:
		case <-h.over:
			h.over = nil
			until.Reset(pageWithin)
		case <-until.C:
			if hinted {
				s.late.Store(time.Now().Add(lateFor).UnixNano())
			}
			return 0, 0, false
		case <-ctx.Done():
			return 0, 0, false
		}
	}
}

// growing is closed when pages of a track have come; nil where the one that was used last
// has ended. again is told to ask for its pages, where that was put off.
func (s *streaming) growing() (growing <-chan struct{}, again chan<- struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t *tracking
	for _, o := range s.byID {
		if t == nil || o.last.Load() > t.last.Load() {
			t = o
		}
	}
	if t == nil { // nobody hears it
		return nil, make(chan struct{}, 1)
	}
	if _, ended := t.Next(); ended {
		return nil, t.again
	}
	return s.grown, t.again
}

// arrival is a segment that a player has had by an ordinary GET.
type arrival struct {
	b    []byte
	at   time.Time
	took time.Duration // to come
}

// came has a segment that came by another way be shared, once it is in a track.
func (s *streaming) came(name string, a arrival) {
	if id, seg, ok := s.d.Find(name); ok {
		s.d.Adopt(id, seg, a.b, a.at, a.took)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits[name].b == nil && s.size+len(a.b) <= maxWaits {
		s.waits[name] = a
		s.size += len(a.b)
	}
}

// adopt takes over what has waited and is in a track by now.
func (s *streaming) adopt() {
	s.mu.Lock()
	waits := maps.Clone(s.waits)
	s.mu.Unlock()
	for name, a := range waits {
		if id, seg, ok := s.d.Find(name); ok {
			s.d.Adopt(id, seg, a.b, a.at, a.took)
			s.mu.Lock()
			delete(s.waits, name)
			s.size -= len(a.b)
			s.mu.Unlock()
		}
	}
}

// enter gets a grant, joins at control and opens the swarms of the tracks.
func (s *streaming) enter() {
	if s.doc.Grants == "" {
		return
	}
	var expires int64
	for pause := minRenew; ; pause = min(2*pause, maxSeedPause) {
		var err error
		if expires, err = s.renew(); err == nil {
			break
		}
		s.e.log.Info("no grant for the stream", "stream", s.id.String()[:16], "error", err)
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	s.e.ledger.Name(s.id, s.base.Host, s.url)
	var c *control
	if len(s.doc.Control) > 0 {
		c = s.e.control(s.doc.Control[0], s.p2p, s.guard)
	}
	s.mu.Lock()
	s.control = c
	tracks := slices.Clone(s.byID)
	s.mu.Unlock()
	for _, t := range tracks {
		t.join()
	}
	if c != nil {
		c.join(s, s.joining())
		s.e.start(func() { s.seek(s.ctx, c) })
	}
	renewing(s.ctx, expires, s.stale, s.renew)
}

// renew gets a grant for the stream and shows it.
func (s *streaming) renew() (expires int64, err error) {
	g, err := s.e.grantFor(s.ctx, s.web, s.doc, s.p2p, s.id, wire.GrantRequest{URL: s.url})
	if err != nil {
		return 0, err
	}
	first := s.grant.Swap(&g.Grant) == nil
	if first {
		return g.Expires, nil
	}
	for _, w := range s.swarms() {
		w.Renew()
	}
	if s.control != nil { // set before, by the same goroutine
		s.control.join(s, s.joining())
	}
	return g.Expires, nil
}

// joining implements participant. A member of a stream is never complete.
func (s *streaming) joining() wire.Join {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, total := 0, 1
	for _, t := range s.byID {
		have += s.store.Have(t.id).Count()
		total += t.NumPieces()
	}
	total = min(total, manifest.MaxPieces)
	return wire.Join{Object: s.id, Grant: *s.grant.Load(), Have: min(have, total-1), Total: total, Want: wantPeers}
}

// meet implements participant: the candidates are for all tracks.
func (s *streaming) meet(told wire.Peers) {
	s.mu.Lock()
	for _, c := range told.Peers {
		if len(s.peers) < maxStreamPeers {
			s.peers[c.Key] = c
		}
	}
	s.mu.Unlock()
	for _, w := range s.swarms() {
		w.Connect(told.Peers)
	}
}

// wantGrant implements participant.
func (s *streaming) wantGrant() {
	select {
	case s.stale <- struct{}{}:
	default:
	}
}

// seek tells control what became of candidates, and asks for more while there are few.
func (s *streaming) seek(ctx context.Context, c *control) {
	every(ctx, seekEvery, func() {
		linked := map[wire.Key]bool{}
		for _, w := range s.swarms() {
			if made, failed := w.Outcomes(); len(made)+len(failed) > 0 {
				c.s.Links(wire.Links{Object: s.id, Made: made, Failed: failed})
			}
			for _, k := range w.Keys() {
				linked[k] = true
			}
		}
		if len(linked) < fewPeers {
			except := slices.Collect(maps.Keys(linked))
			c.s.Find(wire.Find{Object: s.id, Want: wantPeers - len(except), Except: except, Have: s.joining().Have})
		}
	})
}

// report accounts for what was had of the stream.
func (s *streaming) report() {
	st := s.d.Stats()
	token := s.grant.Load()
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if c == nil || token == nil || st.FromEdge+st.FromPeers == 0 {
		return
	}
	var receipts []wire.PeerReceipt
	if all := s.swarms(); len(all) > 0 { // which have one account
		receipts = all[0].Receipts()
	}
	r := wire.Report{
		ID: rand.Text(), Object: s.id, Grant: *token, Session: s.p2p.node.Key(),
		Size: st.FromEdge + st.FromPeers, FromEdge: st.FromEdge, FromPeers: st.FromPeers, Wasted: st.Wasted,
		Millis: time.Since(s.start).Milliseconds(), Complete: true, Receipts: receipts[:min(len(receipts), wire.MaxReceipts)],
	}
	r.Signature = ed25519.Sign(s.p2p.key, r.SignedBytes())
	if err := s.e.ledger.Add(c.url, r); err != nil {
		s.e.log.Warn("report not kept", "stream", s.id.String()[:16], "error", err)
	}
	c.s.Report(r)
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
