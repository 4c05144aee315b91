package streams

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

const (
	// ahead is how far behind a segment that somebody asked for, in the media's
	// time, segments are taken before anybody asks for them.
	ahead = 120 * time.Second
	// window is how near the end of a live playlist a segment has to be, at least,
	// to be taken unasked; six target durations, if that is more. Players begin
	// three from the end.
	window = 30 * time.Second
	// lately is how long a live playlist is followed after somebody asked for it,
	// or for a segment of it; ten target durations, if that is more.
	lately = 30 * time.Second
	// minPace is the least time between two loads of a playlist.
	minPace = 250 * time.Millisecond
	// maxPause bounds the time between two loads of which the first failed.
	maxPause = 30 * time.Second
	// maxFlights is how many segments of a rendition are taken at a time.
	maxFlights = 3
	// maxTries is how often a segment that cannot be had is asked for; then only
	// somebody who asks for it has it tried again, after a while.
	maxTries = 5
	triedFor = 30 * time.Second
	// maxEnds is how many tracks of a rendition may end in endsIn before it is
	// left alone for as long: a playlist that contradicts itself all the time is
	// made for each viewer, perhaps.
	maxEnds = 3
	endsIn  = 10 * time.Minute
	// maxRenditions bounds those of a playlist.
	maxRenditions = 64
)

// follow decides what is done about a playlist: when it is loaded, which of its
// segments are taken, and when a track ends. It does nothing itself, and time is
// an argument.
type follow struct {
	renditions []*rendition
	by         map[string]*rendition // by ID
	live       bool
	single     bool
	target     time.Duration
	pace       time.Duration

	relist   time.Time // when the playlist is to be listed again; zero: not
	block    string    // key of the next load, if not that of the playlist
	loading  bool
	loaded   time.Time // the last time; zero for never
	failures int       // to load, in a row
	tag      string    // entity tag of what was loaded
	changed  bool      // somebody was served another
	asked    time.Time
}

func newFollow() *follow { return &follow{by: map[string]*rendition{}} }

// want is a resource to take.
type want struct {
	rendition string
	epoch     int
	name      string
}

// step is what is to be done now.
type step struct {
	load   bool
	key    string // of the load, if not that of the playlist
	relist bool   // list what was loaded last once more
	take   []want
	wake   time.Time // when to ask again if nothing happens before; zero: never
}

// at asks to be asked again at a time.
func (s *step) at(t time.Time) {
	if s.wake.IsZero() || t.Before(s.wake) {
		s.wake = t
	}
}

// next returns what to do. What it returns is taken to be under way.
func (f *follow) next(now time.Time) step {
	var s step
	if at, ok := f.due(now); ok {
		if at.After(now) {
			s.at(at)
		} else {
			s.load, s.key, f.loading = true, f.block, true
		}
	}
	if !f.relist.IsZero() && f.live && f.active(now) {
		if f.relist.After(now) {
			s.at(f.relist)
		} else {
			s.relist, f.relist = true, time.Time{}
		}
	}
	for _, r := range f.renditions {
		if r.shunned(now) {
			continue
		}
		r.next(now, f.live, &s)
	}
	return s
}

// due is when the playlist is to be loaded next, if it is.
func (f *follow) due(now time.Time) (time.Time, bool) {
	switch {
	case f.loading:
		return time.Time{}, false
	case f.failures > 0 && f.active(now):
		return f.loaded.Add(min(f.pace<<min(f.failures, 10), maxPause)), true
	case f.changed: // the edge has it already
		return f.loaded.Add(minPace), true
	case f.loaded.IsZero() || f.live && f.active(now):
		return f.loaded.Add(f.pace), true
	}
	return time.Time{}, false
}

// lately is how long the playlist is followed after somebody asked.
func (f *follow) lately() time.Duration { return max(lately, 10*f.target) }

func (f *follow) active(now time.Time) bool { return now.Sub(f.asked) < f.lately() }

// ask notes that somebody asked for the playlist. tag is the entity tag of what
// was answered, empty if it does not tell.
func (f *follow) ask(now time.Time, tag string) {
	f.asked = now
	if tag != "" && f.tag != "" && tag != f.tag {
		f.changed = true
	}
	if f.single {
		for _, r := range f.renditions {
			f.begin(now, r)
		}
	}
}

// begin has a rendition followed from where players begin.
func (f *follow) begin(now time.Time, r *rendition) {
	if r.asked = now; !f.live && len(r.items) > 0 {
		r.wantFrom(0)
	}
	f.wantLive(now, r)
}

// askFor notes that somebody asked for a segment, and was given the version with
// that entity tag.
func (f *follow) askFor(now time.Time, name, tag string) {
	for _, r := range f.renditions {
		it := r.named[name]
		if it == nil {
			continue
		}
		f.asked, r.asked = now, now
		switch {
		case it.flying:
			it.seen = tag
		case it.done && tag != it.etag:
			it.doubted, r.low = true, 0
		}
		if !it.done {
			it.urgent = true
			if it.tries >= maxTries && now.Sub(it.again) > triedFor {
				it.tries = 0
			}
		}
		for i := range r.items {
			if r.items[i] == it {
				r.wantFrom(i)
				r.at = i
				break
			}
		}
		f.wantLive(now, r)
	}
}

// keep notes that somebody waits for what comes to a rendition's track, which has
// begun: it is followed on, or again after a restart. Waiting alone does not begin
// one, for who knows an MPD may wait for all that it lists.
func (f *follow) keep(now time.Time, id string, begun bool) {
	f.asked = now
	r := f.by[id]
	if r != nil && (f.single || now.Sub(r.asked) < f.lately() || begun && r.asked.IsZero()) {
		r.asked = now
		f.wantLive(now, r)
	}
}

// wantLive wants what lies at the end of a live playlist.
func (f *follow) wantLive(now time.Time, r *rendition) {
	n := len(r.items)
	if !f.live || n == 0 || now.Sub(r.asked) >= f.lately() {
		return
	}
	last := r.items[n-1]
	begin := last.start + last.duration - max(window, 6*f.target)
	for i := n - 1; i >= 0 && r.items[i].start >= begin; i-- {
		r.items[i].want()
	}
}

// failed notes that the playlist could not be loaded, or not be read.
func (f *follow) failed(now time.Time) {
	f.loading, f.changed, f.block = false, false, ""
	f.loaded = now
	f.failures++
	f.pace = max(f.pace, minPace)
}

// took notes what a load says, and returns the renditions whose tracks end. tag is
// empty for a load by another key, which says nothing of what players get.
func (f *follow) took(now time.Time, tag string, l *listing) (ended []*rendition) {
	f.loading, f.changed, f.failures = false, false, 0
	asked := f.block
	f.loaded, f.tag = now, tag
	ended = f.list(now, l)
	if f.block = l.block; f.block != "" && f.block != asked {
		f.pace = minPace // the origin waits
	}
	return ended
}

// doubt has the last segment of an old copy of the playlist looked at: what looks
// like one may be an origin that began anew with the same names.
func (f *follow) doubt(l *listing) {
	for i := range l.renditions {
		m := &l.renditions[i]
		r := f.by[m.ID]
		if r == nil || len(m.Segments) == 0 {
			continue
		}
		it := r.named[nameOf(&m.Segments[len(m.Segments)-1].Resource, l.base)]
		if it != nil && it.done && !it.flying {
			it.doubted, r.low = true, 0
		}
	}
}

// list notes what a load says, or what it says by now.
func (f *follow) list(now time.Time, l *listing) (ended []*rendition) {
	f.live, f.single, f.target, f.pace = l.live, l.single, l.target, max(l.pace, minPace)
	if f.relist = l.next; !f.relist.IsZero() && f.relist.Before(now.Add(minPace)) {
		f.relist = now.Add(minPace)
	}
	if l.change == media.Stale {
		f.doubt(l)
		return nil
	}
	old := f.by
	f.by, f.renditions = map[string]*rendition{}, nil
	for i := range l.renditions {
		if len(f.renditions) == maxRenditions {
			break
		}
		m := &l.renditions[i]
		r := old[m.ID]
		if r == nil {
			r = &rendition{id: m.ID, named: map[string]*item{}}
		}
		delete(old, m.ID)
		if l.change == media.Restarted || l.change == media.Contradicts {
			ended = append(ended, r)
			r.void(now)
		}
		r.list(m, l)
		f.by[r.id], f.renditions = r, append(f.renditions, r)
		if f.single && f.active(now) {
			f.begin(now, r)
		}
		f.wantLive(now, r)
	}
	for _, r := range old { // those that are not listed any more
		ended = append(ended, r)
	}
	return ended
}

// verdict is what comes of a resource that was taken.
type verdict int

const (
	nothing verdict = iota
	publish         // it is a segment of the track
	ends            // its bytes contradict the track
)

// got notes what became of a resource that was to be taken. What is published is
// then noted with item.published.
func (f *follow) got(now time.Time, w want, o Object, err error) (*rendition, *item, verdict) {
	r := f.by[w.rendition]
	if r == nil || r.epoch != w.epoch {
		return nil, nil, nothing
	}
	r.flights--
	it := r.named[w.name]
	if it == nil { // not listed any more
		return r, nil, nothing
	}
	it.flying = false
	if err != nil {
		it.tries++
		it.again = now.Add(time.Second << min(it.tries-1, 5))
		if it.tries >= maxTries {
			it.wanted, it.urgent, it.doubted = false, false, false
		}
		return r, it, nothing
	}
	it.tries, it.again, it.urgent, it.etag = 0, time.Time{}, false, o.ETag
	if it.doubted, it.seen = it.seen != "" && it.seen != o.ETag, ""; it.doubted {
		r.low = 0
	}
	if !it.done {
		return r, it, publish
	}
	if o.Manifest.ID() != it.object {
		return r, it, ends
	}
	return r, it, nothing
}

// over says whether nothing can come to the rendition's track any more.
func (f *follow) over(r *rendition) bool {
	if f.live || len(r.items) == 0 {
		return false
	}
	for _, it := range r.items[r.low:] {
		if !it.done && it.tries < maxTries {
			return false
		}
	}
	return true
}
