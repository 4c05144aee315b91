package dash

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// List gives the segments of a representation, by its place in Representations,
// that are there at now, by the clock of the publisher. URLs are those of the
// service location or base URL that is named, or of the first where there is none such.
//
// What a timeline or list names is listed, whatever the clock says; what follows
// from a duration, or from a run without end, is listed as far as it is
// available and within the time shift buffer, the newest 10,000 segments at most.
func (m *MPD) List(representation int, now time.Time, place string) (Listing, error) {
	if representation < 0 || representation >= len(m.Representations) {
		return Listing{}, fmt.Errorf("MPD: no representation %d", representation)
	}
	r := &m.Representations[representation]
	l := lister{m: m, r: r, a: &r.address, p: m.Periods[r.Period], b: r.base(place), urlsLeft: media.MaxURLs}
	if l.p.Early {
		return Listing{}, nil
	}
	l.begins = m.AvailabilityStart.Add(l.p.Start)
	if err := l.list(now); err != nil {
		return Listing{}, fmt.Errorf("MPD: %w", &media.Error{Line: r.line, Tag: "Representation", Err: err})
	}
	return l.out, nil
}

func (r *Representation) base(place string) Base {
	for _, b := range r.Bases {
		if place != "" && (b.ServiceLocation == place || b.URL == place) {
			return b
		}
	}
	return r.Bases[0]
}

type lister struct {
	m        *MPD
	r        *Representation
	a        *addressing
	p        Period
	b        Base
	base     *url.URL
	begins   time.Time // of the period, by the clock
	init     *media.Resource
	urlsLeft int
	out      Listing
}

func (l *lister) list(now time.Time) error {
	var err error
	if l.base, err = url.Parse(l.b.URL); err != nil {
		return errors.New("the base URL is none")
	}
	if err := l.initialize(); err != nil {
		return err
	}
	switch {
	case l.a.kind == "" || l.a.kind == "SegmentBase":
		return l.single()
	case l.a.hasTimeline:
		return l.timeline(now)
	case l.a.kind == "SegmentList":
		return l.plainList()
	case l.a.duration == 0:
		return errors.New("neither @duration nor SegmentTimeline")
	default:
		return l.steady(now)
	}
}

func (l *lister) initialize() error {
	ref := ""
	switch {
	case len(l.a.initialization) > 0:
		ref = l.a.initialization.expand(l.r, 0, 0)
	case l.a.hasInit:
		ref = l.a.initURL
	default:
		return nil
	}
	u, err := l.resolve(ref)
	if err != nil {
		return fmt.Errorf("initialization: %w", err)
	}
	l.init = &media.Resource{URL: u, Range: l.a.initRange}
	return nil
}

func (l *lister) resolve(ref string) (string, error) {
	u := l.b.URL
	if ref != "" {
		abs, err := media.Resolve(l.base, ref)
		if err != nil {
			return "", err
		}
		u = media.Location(abs)
	}
	if l.urlsLeft -= len(u); l.urlsLeft < 0 {
		return "", fmt.Errorf("more than %d bytes of URLs", media.MaxURLs)
	}
	return u, nil
}

// single is a representation that is one resource.
func (l *lister) single() error {
	s := media.Segment{
		Resource: media.Resource{URL: l.b.URL, Encryption: l.r.Encryption},
		Number:   l.a.startNumber, Start: l.p.Start, Duration: l.p.Duration, Discontinuity: uint64(l.r.Period), Init: l.init,
	}
	if l.m.Dynamic {
		s.ProgramTime = l.begins
	}
	if l.a.indexRange != (media.Range{}) {
		l.out.Index = &media.Resource{URL: l.b.URL, Range: l.a.indexRange}
	}
	l.out.Segments = []media.Segment{s}
	return nil
}

// plainList is a SegmentList without timeline.
func (l *lister) plainList() error {
	if l.a.duration == 0 && len(l.a.list) > 1 {
		return errors.New("several SegmentURL, and neither @duration nor SegmentTimeline")
	}
	for k := range l.a.list {
		d := l.a.duration
		if err := l.add(uint64(k), uint64(k)*d, d); err != nil {
			return err
		}
		if d == 0 {
			l.out.Segments[0].Duration = l.p.Duration
		}
	}
	return nil
}

// steady is a SegmentTemplate with segments of one duration.
func (l *lister) steady(now time.Time) error {
	d, scale := l.a.duration, l.a.timescale
	total, bounded := uint64(maxTicks)/d, false
	if l.p.Duration > 0 {
		total, bounded = min(total, (toTicks(l.p.Duration, scale)+d-1)/d), true
	}
	if l.a.endNumber > 0 {
		n := uint64(0)
		if l.a.endNumber >= l.a.startNumber {
			n = l.a.endNumber - l.a.startNumber + 1
		}
		total, bounded = min(total, n), true
	}
	from, to := uint64(0), total
	if l.m.Dynamic {
		from, to = l.window(now, d, total, bounded)
	} else if !bounded {
		return errors.New("neither the duration of the period nor @endNumber is known")
	}
	if to > from && to-from > media.MaxSegments {
		return fmt.Errorf("%d segments, the limit is %d", to-from, media.MaxSegments)
	}
	for k := from; k < to; k++ {
		if err := l.add(k, k*d, d); err != nil {
			return err
		}
	}
	if n := len(l.out.Segments); n > 0 && l.p.Duration > 0 { // the last one ends with the period
		s := &l.out.Segments[n-1]
		s.Duration = min(s.Duration, max(0, l.p.Start+l.p.Duration-s.Start))
	}
	return nil
}

// window is which segments of d ticks are available (5.3.9.5.3), and sets when
// the next one will be.
func (l *lister) window(now time.Time, d, total uint64, bounded bool) (from, to uint64) {
	scale := l.a.timescale
	ahead := min(l.a.offset+l.b.offset, always)
	if each, err := toTime(int64(d), scale); err == nil && !bounded {
		ahead = min(ahead, each) // of a period without end not everything is there
	}
	elapsed := max(-maxPresentation, min(now.Sub(l.begins), maxPresentation))
	to = min(total, toTicks(elapsed+ahead, scale)/d)
	if buffer := l.m.TimeShiftBufferDepth; buffer > 0 {
		if gone := toTicks(elapsed-buffer, scale) / d; gone > 0 {
			from = gone - 1
		}
	}
	if to > maxWindow {
		from = max(from, to-maxWindow)
	}
	from = min(from, to)
	if to < total {
		if end, err := toTime(int64(min((to+1)*d, maxTicks)), scale); err == nil {
			l.out.Next = l.begins.Add(end - ahead)
		}
	}
	return from, to
}

// timeline lists what a SegmentTimeline says.
func (l *lister) timeline(now time.Time) error {
	k, room := uint64(0), uint64(media.MaxSegments)
	for _, r := range l.a.timeline {
		from, n := uint64(0), r.count
		if n == 0 {
			var err error
			if from, n, err = l.open(r, now); err != nil {
				return err
			}
		}
		if n-from > room {
			return fmt.Errorf("more than %d segments", media.MaxSegments)
		}
		room -= n - from
		for i := from; i < n; i++ {
			if l.a.endNumber > 0 && l.a.startNumber+k+i > l.a.endNumber {
				return nil
			}
			if l.a.kind == "SegmentList" && k+i >= uint64(len(l.a.list)) {
				return nil
			}
			if err := l.addAt(k+i, r.t+i*r.d, r.d); err != nil {
				return err
			}
		}
		k += n
	}
	return nil
}

// open is how much there is of a run that repeats until the period ends: the
// segments from one to before another.
func (l *lister) open(r run, now time.Time) (from, to uint64, err error) {
	total, bounded := (maxTicks-r.t)/r.d, false
	if l.p.Duration > 0 {
		end := min(toTicks(l.p.Duration, l.a.timescale)+l.a.origin, maxTicks)
		n := uint64(0)
		if end > r.t {
			n = (end - r.t + r.d - 1) / r.d
		}
		total, bounded = min(total, n), true
	}
	if !l.m.Dynamic {
		if !bounded {
			return 0, 0, errors.New("the timeline repeats without end, and the duration of the period is not known")
		}
		return 0, total, nil
	}
	// As if the period began with the run.
	shift, err := toTime(int64(r.t)-int64(l.a.origin), l.a.timescale)
	if err != nil {
		return 0, 0, err
	}
	whole := l.begins
	l.begins = whole.Add(shift)
	from, to = l.window(now, r.d, total, bounded)
	l.begins = whole
	return from, to, nil
}

// add lists the segment of a place, whose ticks count from the period's start.
func (l *lister) add(k, ticks, d uint64) error {
	if ticks > maxTicks-l.a.origin {
		return errTooLong
	}
	return l.addAt(k, ticks+l.a.origin, d)
}

// addAt lists a segment, by ticks of its own timeline.
func (l *lister) addAt(k, t, d uint64) error {
	start, err := toTime(int64(t)-int64(l.a.origin), l.a.timescale)
	if err != nil {
		return err
	}
	length, err := toTime(int64(d), l.a.timescale)
	if err != nil {
		return err
	}
	if length > media.MaxDuration {
		return fmt.Errorf("a segment of %v, the limit is %v", length, media.MaxDuration)
	}
	s := media.Segment{
		Resource: media.Resource{Encryption: l.r.Encryption},
		Number:   l.a.startNumber + k, Start: l.p.Start + start, Duration: length, Discontinuity: uint64(l.r.Period), Init: l.init,
	}
	if l.m.Dynamic {
		s.ProgramTime = l.begins.Add(start)
	}
	ref := ""
	if l.a.kind == "SegmentList" {
		ref, s.Range = l.a.list[k].media, l.a.list[k].rng
	} else {
		if !l.a.media.perSegment() {
			return errors.New("@media has neither $Number$ nor $Time$")
		}
		ref = l.a.media.expand(l.r, s.Number, t)
	}
	if s.URL, err = l.resolve(ref); err != nil {
		return err
	}
	l.out.Segments = append(l.out.Segments, s)
	return nil
}
