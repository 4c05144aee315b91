package streams

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/track"
)

const (
	loadTime = 30 * time.Second // for a playlist
	takeTime = 2 * time.Minute  // for a segment
	// maxAsked bounds what the goroutine of a playlist may have to catch up with.
	maxAsked = 4096
	// settle is how long a playlist that is new waits for others to tell whether it
	// is one of theirs.
	settle = time.Second
)

// playlist is one that is followed. Its goroutine owns what is in the first block.
type playlist struct {
	s       *Streams
	key     string
	ctx     context.Context
	cancel  context.CancelFunc
	reader  *reader
	follow  *follow
	tracks  map[string]*published // by rendition
	before  []<-chan struct{}     // those that are read first
	results chan func(now time.Time)
	read    string // entity tag of the version that the tracks go by; empty: it does not tell

	// Guarded by s.mu.
	names     map[string]bool   // what it lists
	children  []string          // keys of its media playlists
	variables map[string]string // that those may import

	ready  chan struct{}             // closed when it was read once, or could not be
	wakeup chan struct{}             // of one place
	linked atomic.Pointer[linked]    // what answers name
	last   atomic.Pointer[time.Time] // when it was asked for
	mu     sync.Mutex
	inbox  inbox
}

// linked are the tracks that go by a version of the playlist.
type linked struct {
	tag    string // of the version; empty: it does not tell
	tracks []track.ID
}

// inbox is what others have told since the goroutine looked.
type inbox struct {
	self   bool
	tag    string
	keys   map[string]string // of segments, with their entity tags
	waited map[string]bool   // names of tracks
}

func newPlaylist(s *Streams, key string, r *reader) *playlist {
	ctx, cancel := context.WithCancel(s.ctx)
	p := &playlist{
		s: s, key: key, ctx: ctx, cancel: cancel, reader: r, follow: newFollow(), tracks: map[string]*published{},
		results: make(chan func(time.Time)), ready: make(chan struct{}), wakeup: make(chan struct{}, 1),
	}
	now := time.Now()
	p.last.Store(&now)
	return p
}

// asked notes that the playlist, or with a key what it lists, was served.
func (p *playlist) asked(key, etag string) {
	p.tell(func(in *inbox) {
		if key == "" {
			in.self, in.tag = true, etag
			return
		}
		if in.keys == nil {
			in.keys = map[string]string{}
		}
		if len(in.keys) < maxAsked {
			in.keys[key] = etag
		}
	})
}

// waited notes that somebody waits for more of a track.
func (p *playlist) waited(name string) {
	p.tell(func(in *inbox) {
		if in.waited == nil {
			in.waited = map[string]bool{}
		}
		in.waited[name] = true
	})
}

func (p *playlist) tell(note func(*inbox)) {
	now := time.Now()
	p.last.Store(&now)
	p.mu.Lock()
	note(&p.inbox)
	p.mu.Unlock()
	select {
	case p.wakeup <- struct{}{}:
	default:
	}
}

func (p *playlist) lastAsked() time.Time { return *p.last.Load() }

func (p *playlist) isReady() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// links are the tracks that an answer with the version of that entity tag may name. Of
// one that was not read yet nobody knows whether it goes on with them or the origin has
// begun anew, and who was told so would be given the segments of before by their names.
func (p *playlist) links(tag string) []track.ID {
	if l := p.linked.Load(); l != nil && (l.tag == tag || l.tag == "" || tag == "") {
		return l.tracks
	}
	return nil
}

// run owns the playlist until it is left.
func (p *playlist) run() {
	defer p.cancel()
	var work sync.WaitGroup
	defer work.Wait()
	for p.ctx.Err() == nil {
		p.hear(time.Now())
		now := time.Now()
		step := p.follow.next(now)
		if step.load {
			work.Go(func() { p.load(step.key) })
		}
		for _, w := range step.take {
			work.Go(func() { p.take(w) })
		}
		p.link()
		if step.relist {
			p.relist(now)
			continue
		}
		var timer <-chan time.Time
		if !step.wake.IsZero() {
			timer = time.After(step.wake.Sub(now))
		}
		select {
		case <-p.wakeup:
		case <-timer:
		case done := <-p.results:
			done(time.Now())
		case <-p.ctx.Done():
		}
	}
}

// hear passes on what others have told.
func (p *playlist) hear(now time.Time) {
	p.mu.Lock()
	in := p.inbox
	p.inbox = inbox{}
	p.mu.Unlock()
	if in.self {
		p.follow.ask(now, in.tag)
	}
	for key, tag := range in.keys {
		p.follow.askFor(now, key, tag)
	}
	for name := range in.waited {
		p.follow.asked = now
		for id, t := range p.tracks {
			if next, _ := t.Next(); t.Header.Name == name {
				p.follow.keep(now, id, next.Segment > 0)
			}
		}
	}
}

// report has the owner do what follows from work that is done.
func (p *playlist) report(done func(now time.Time)) {
	select {
	case p.results <- done:
	case <-p.ctx.Done():
	}
}

// load loads the playlist, by another key than its own if there is one.
func (p *playlist) load(key string) {
	ctx, cancel := context.WithTimeout(p.ctx, loadTime)
	defer cancel()
	err := p.s.loads.Wait(ctx)
	var b []byte
	var tag string
	if err == nil {
		b, tag, err = p.s.cfg.Load(ctx, cmp.Or(key, p.key), media.MaxPlaylist)
	}
	if key != "" {
		tag = ""
	}
	p.report(func(now time.Time) { p.loaded(now, b, tag, err) })
}

// loaded reads what was loaded.
func (p *playlist) loaded(now time.Time, b []byte, tag string, err error) {
	var l *listing
	var children []string
	if err == nil {
		if bytes.Contains(b, []byte("IMPORT=")) {
			p.reader.variables = p.s.variables(p.key)
		}
		l, children, err = p.reader.read(b, now)
	}
	if err != nil {
		level := slog.LevelInfo
		if p.follow.failures > 0 { // as before
			level = slog.LevelDebug
		}
		p.s.cfg.Logger.Log(p.ctx, level, "playlist is not followed", "url", p.key, "error", err)
		p.follow.failed(now)
		p.settled()
		return
	}
	if l == nil || l.change != media.Stale {
		p.read = tag
	}
	if l == nil {
		p.follow.took(now, tag, &listing{})
		p.s.adopt(p, children, p.reader.variables)
		p.settled()
		return
	}
	first := !p.isReady()
	p.settled()
	if first {
		p.awaitOthers()
	}
	p.listed(p.follow.took(now, tag, l))
}

// relist lists what of a live playlist is there by now.
func (p *playlist) relist(now time.Time) {
	l, err := p.reader.listDASH(media.Continues, now)
	if err != nil {
		p.s.cfg.Logger.Info("playlist is not followed", "url", p.key, "error", err)
		return
	}
	p.listed(p.follow.list(now, l))
}

// listed sees to it that the renditions of a listing have tracks, and those that
// have not gone on have not.
func (p *playlist) listed(ended []*rendition) {
	for _, r := range ended {
		p.end(r.id, "the playlist says otherwise")
	}
	p.begin()
	p.s.list(p)
}

func (p *playlist) settled() {
	if !p.isReady() {
		close(p.ready)
	}
}

// awaitOthers gives multivariant playlists that were asked for before this one the
// time to say that it is theirs.
func (p *playlist) awaitOthers() {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for _, ready := range p.before {
		select {
		case <-ready:
		case <-timer.C:
			return
		case <-p.ctx.Done():
			return
		}
	}
	p.before = nil
}

// begin sees to it that every rendition has a track, if it has anything for one.
func (p *playlist) begin() {
	now := time.Now()
	for _, r := range p.follow.renditions {
		if p.tracks[r.id] != nil || len(r.items) == 0 || r.shunned(now) {
			continue
		}
		name := p.key
		if p.reader.kind == isDASH {
			name += "#" + url.PathEscape(r.id)
		}
		t := p.s.track(p, name)
		if t == nil {
			continue
		}
		p.tracks[r.id] = t
		r.resume(t)
	}
	p.link()
}

// link publishes which tracks answers are to name: not those of which something is in
// doubt.
func (p *playlist) link() {
	now := linked{tag: p.read}
	for _, r := range p.follow.renditions {
		if t := p.tracks[r.id]; t != nil && !r.inDoubt() {
			now.tracks = append(now.tracks, t.ID)
		}
	}
	if l := p.linked.Load(); l == nil || l.tag != now.tag || !slices.Equal(l.tracks, now.tracks) {
		p.linked.Store(&now)
	}
}

// take gets a resource.
func (p *playlist) take(w want) {
	var o Object
	var err error
	select {
	case p.s.taking <- struct{}{}:
		ctx, cancel := context.WithTimeout(p.ctx, takeTime)
		o, err = p.s.cfg.Take(ctx, w.name)
		cancel()
		<-p.s.taking
	case <-p.ctx.Done():
		return
	}
	p.report(func(now time.Time) { p.took(now, w, o, err) })
}

// took publishes a resource that was taken.
func (p *playlist) took(now time.Time, w want, o Object, err error) {
	var s *track.Segment
	if err == nil {
		s = &track.Segment{Name: w.name, Manifest: o.Manifest}
		err = s.Validate()
	}
	r, it, v := p.follow.got(now, w, o, err)
	if err != nil && it != nil {
		p.s.cfg.Logger.Info("segment is not in the track", "url", w.name, "tries", it.tries, "error", err)
	}
	switch v {
	case ends:
		r.void(now)
		p.reader.hls, p.follow.changed = nil, true // numbers may mean other segments now
		p.end(r.id, "segment "+w.name+" has other bytes than before")
	case publish:
		s.Start, s.Duration = max(it.start, 0), it.duration
		s.Init, s.Discontinuity, s.Part = it.init, it.discontinuity, it.part
		p.publish(now, r, it, s)
	case nothing:
	}
	if r != nil && p.follow.over(r) {
		p.finish(r)
	}
}

// publish appends a segment to the track of its rendition, or to a new one where
// that is full.
func (p *playlist) publish(now time.Time, r *rendition, it *item, s *track.Segment) {
	if s.Validate() != nil { // it would begin after the end of time
		it.tries = maxTries
		return
	}
	most := maxSegments
	if p.follow.live {
		most = maxLiveSegments
	}
	for range 2 {
		t := p.tracks[r.id]
		if t == nil {
			return
		}
		err := p.s.add(p, t, s, most)
		if err == nil {
			it.published(s.Manifest.ID())
			p.s.cfg.Logger.Debug("segment published", "url", s.Name, "track", t.ID, "bytes", s.Manifest.Size)
			return
		}
		p.end(r.id, err.Error())
		if errors.Is(err, errFull) {
			r.goOn()
		} else {
			r.end(now)
		}
		p.begin()
	}
}

// finish says that nothing follows.
func (p *playlist) finish(r *rendition) {
	t := p.tracks[r.id]
	if t == nil {
		return
	}
	if _, ended := t.Next(); ended {
		return
	}
	if err := t.add(nil, true, 0); err != nil {
		p.s.cfg.Logger.Warn("end of track is not kept", "url", p.key, "error", err)
	}
}

// end ends the track of a rendition: what follows is in another.
func (p *playlist) end(id, why string) {
	t := p.tracks[id]
	if t == nil {
		return
	}
	delete(p.tracks, id)
	p.link()
	p.s.cfg.Logger.Info("track ends", "url", t.Header.Name, "track", t.ID, "cause", why)
	if err := t.add(nil, true, 0); err != nil {
		p.s.cfg.Logger.Warn("end of track is not kept", "url", p.key, "error", err)
	}
	p.s.retire(t)
}
