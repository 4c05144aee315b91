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
	part            bool
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

// shunned says whether too many tracks of the rendition have ended lately.
func (r *rendition) shunned(now time.Time) bool {
	n := len(r.ends)
	return n >= maxEnds && now.Sub(r.ends[n-maxEnds]) < endsIn
}

// inDoubt says whether what is in the track may not be what there is any more.
func (r *rendition) inDoubt() bool {
	return slices.ContainsFunc(r.items[min(r.low, len(r.items)):], func(it *item) bool { return it.doubted })
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

// void begins another track, for which only what the playlist lists from now on is taken:
// much of what it has listed may still be there, of the origin's run before.
func (r *rendition) void(now time.Time) {
	r.end(now)
	r.items, r.named, r.at, r.placed = nil, map[string]*item{}, 0, false
}

// goOn begins another track where the one before was full: what is in that is not
// taken again, but for initializations, without which nobody can begin.
func (r *rendition) goOn() {
	r.low = 0
	for _, it := range r.items {
		if it.init && it.done {
			it.done, it.wanted = false, true
		}
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
				r.add(known, &p.Resource, l, item{start: start, duration: p.Duration, need: init, part: true})
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

// published notes that an item is in the track.
func (it *item) published(id manifest.ObjectID) { it.done, it.object = true, id }

// resume takes over what a kept track has: what is listed and known is done. The
// last of it is looked at again, for the origin may have begun anew meanwhile.
func (r *rendition) resume(t *published) {
	var last *item
	shifted := false
	for _, it := range r.items {
		s, _, ok := t.Find(it.name)
		if !ok || it.done {
			continue
		}
		if !shifted && !it.init {
			move := s.Start - it.start
			for _, o := range r.items {
				o.start += move
			}
			r.shift += move
			shifted = true
		}
		it.published(s.Manifest.ID())
		last = it
	}
	if last != nil {
		last.doubted, r.low = true, 0
	}
}
