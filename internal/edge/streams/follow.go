package streams

import (
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/hls"
	"github.com/tandem-cdn/tandem/internal/track"
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

// listing is what one load of a playlist says.
type listing struct {
	change     media.Change  // from the load before
	live       bool          // it will change by itself
	target     time.Duration // target duration, or what corresponds to it
	pace       time.Duration // least time until the next load
	single     bool          // the playlist has one rendition, so that who asks for it asks for that
	base       string        // scheme and host that names are on
	keys       []hls.Key     // what they name is never taken
	first      time.Duration // where the first segment lies, if nothing else tells
	absolute   bool          // times are those of the presentation, not of the playlist
	next       time.Time     // when there will be more without another load; zero: never
	block      string        // key at which the origin answers once there is more; empty: it does not
	renditions []listed
}

// listed is a rendition as a load has it.
type listed struct {
	ID       string // unique in the playlist
	Segments []media.Segment
}

// item is a resource of a rendition: a segment, a part of one, an initialization.
type item struct {
	name            string
	start, duration time.Duration
	init            bool
	discontinuity   bool
	need            *item // its initialization

	wanted, urgent bool
	flying         bool
	done           bool              // it is in the track
	doubted        bool              // it is, and its bytes may have changed
	object         manifest.ObjectID // that it is there
	etag           string            // that it had
	seen           string            // entity tag that was served while it was flying
	tries          int
	again          time.Time // not before
}

// rendition is what is known of a rendition and its track.
type rendition struct {
	id      string
	epoch   int // counts its tracks
	items   []*item
	low     int // the items before this one are done
	at      int // the one that was asked for last
	named   map[string]*item
	shift   time.Duration // from the time of the playlist to that of the track
	placed  bool          // shift is known
	asked   time.Time
	flights int
	ends    []time.Time
}

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

// shunned says whether too many tracks of the rendition have ended lately.
func (r *rendition) shunned(now time.Time) bool {
	n := len(r.ends)
	return n >= maxEnds && now.Sub(r.ends[n-maxEnds]) < endsIn
}

// next adds what is to be taken: the urgent first, then from where somebody asked
// last. What nobody asked for yet is taken one by one where it is there already, so
// that it does not take the line to the origin from those who wait for something.
func (r *rendition) next(now time.Time, live bool, s *step) {
	for r.low < len(r.items) && r.items[r.low].done && !r.items[r.low].doubted {
		r.low++
	}
	ahead := 1
	if live {
		ahead = maxFlights
	}
	at := max(r.at, r.low)
	r.pick(now, r.items[r.low:], true, maxFlights, s)
	r.pick(now, r.items[at:], false, ahead, s)
	r.pick(now, r.items[r.low:at], false, ahead, s)
}

// pick adds what is to be taken of some items, as long as no more are flying.
func (r *rendition) pick(now time.Time, items []*item, urgent bool, most int, s *step) {
	for _, it := range items {
		if r.flights >= most {
			return
		}
		if it.flying || it.urgent != urgent || !it.doubted && (it.done || !it.wanted) {
			continue
		}
		if it.again.After(now) {
			s.at(it.again)
			continue
		}
		if it.need != nil && !it.need.done && !it.need.flying && it.need.tries < maxTries {
			r.fly(it.need, s)
		}
		r.fly(it, s)
	}
}

func (r *rendition) fly(it *item, s *step) {
	it.flying = true
	r.flights++
	s.take = append(s.take, want{r.id, r.epoch, it.name})
}

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

// wantFrom wants an item and those behind it.
func (r *rendition) wantFrom(i int) {
	end := r.items[i].start + ahead
	for _, it := range r.items[i:] {
		if it.start > end {
			return
		}
		it.want()
	}
}

func (it *item) want() {
	it.wanted = it.tries < maxTries
	if it.need != nil {
		it.need.wanted = true
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

// list notes what a load says, or what it says by now.
func (f *follow) list(now time.Time, l *listing) (ended []*rendition) {
	f.live, f.single, f.target, f.pace = l.live, l.single, l.target, max(l.pace, minPace)
	if f.relist = l.next; !f.relist.IsZero() && f.relist.Before(now.Add(minPace)) {
		f.relist = now.Add(minPace)
	}
	if l.change == media.Stale {
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
			r.end(now)
			r.named, r.placed = map[string]*item{}, false
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

// end begins another track, for which nothing has been taken.
func (r *rendition) end(now time.Time) {
	r.epoch++
	r.flights, r.low = 0, 0
	r.ends = append(r.ends, now)
	if len(r.ends) > maxEnds {
		r.ends = r.ends[1:]
	}
	for _, it := range r.items {
		it.flying, it.done, it.doubted, it.again = false, false, false, time.Time{}
	}
}

// list puts the items of a listing in the place of those of the one before.
func (r *rendition) list(m *listed, l *listing) {
	r.place(m, l)
	known := r.named
	var last *item
	if r.at < len(r.items) {
		last = r.items[r.at]
	}
	defer func() { r.at = max(0, slices.Index(r.items, last)) }()
	r.items, r.low, r.named = nil, 0, make(map[string]*item, len(m.Segments))
	var before *media.Segment
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.Gap || s.Ad {
			before = s
			continue
		}
		var init *item
		if s.Init != nil {
			init = r.add(known, s.Init, l, item{init: true, start: s.Start})
		}
		start := s.Start
		for _, p := range s.Parts {
			if !p.Gap {
				r.add(known, &p.Resource, l, item{start: start, duration: p.Duration, need: init})
			}
			start += p.Duration
		}
		r.add(known, &s.Resource, l, item{
			start: s.Start, duration: s.Duration, need: init,
			discontinuity: before != nil && before.Discontinuity != s.Discontinuity,
		})
		before = s
	}
}

// place finds out where the playlist's time lies in that of the track, which goes
// on when the beginning of a live playlist moves on.
func (r *rendition) place(m *listed, l *listing) {
	if l.absolute {
		return
	}
	for i := range m.Segments {
		if it := r.named[nameOf(&m.Segments[i].Resource, l.base)]; it != nil {
			r.shift, r.placed = it.start-m.Segments[i].Start, true
			return
		}
	}
	if n := len(r.items); r.placed && n > 0 { // what came between is not known
		r.shift = r.items[n-1].start + r.items[n-1].duration + l.target
		return
	}
	if !r.placed {
		r.shift, r.placed = l.first, true
	}
}

// add lists a resource, the item it was before where it was listed before. What
// has no name, because it lies on another host or is a part of a file, is left out.
func (r *rendition) add(known map[string]*item, res *media.Resource, l *listing, as item) *item {
	as.name = nameOf(res, l.base)
	if as.name == "" || l.isKey(res) {
		return nil
	}
	if it := r.named[as.name]; it != nil { // listed twice
		return it
	}
	it := known[as.name]
	if it == nil {
		it = &as
		it.start += r.shift
	} else {
		it.need = as.need
	}
	r.named[it.name] = it
	r.items = append(r.items, it)
	return it
}

// isKey says whether a resource is one of the playlist's keys: no playlist names one
// as a segment by mistake.
func (l *listing) isKey(res *media.Resource) bool {
	return slices.ContainsFunc(l.keys, func(k hls.Key) bool { return k.URI == res.URL })
}

// nameOf is the path and query of a resource on the host of base, and empty where
// it has no name in a track.
func nameOf(res *media.Resource, base string) string {
	name, ok := strings.CutPrefix(res.URL, base)
	if !ok || res.Range != (media.Range{}) || !track.ValidName(name) {
		return ""
	}
	return name
}

// verdict is what comes of a resource that was taken.
type verdict int

const (
	nothing verdict = iota
	publish         // it is a segment of the track
	ends            // its bytes contradict the track
)

// got notes what became of a resource that was to be taken. What is published is
// to be given to [follow.published].
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

// published notes that an item is in the track.
func (it *item) published(id manifest.ObjectID) { it.done, it.object = true, id }

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
