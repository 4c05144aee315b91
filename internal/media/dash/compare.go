package dash

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Compare says what became of an MPD between two loads, the first of which is
// prev; both are looked at as of now. Periods are known by @id, or by their start
// where they have none, representations by @id, and segments by number or, where
// their URLs have times, by time. The answers are those of HLS: where all that
// both list is other than it was the origin began anew, where some of it is they
// contradict each other.
func Compare(prev, next *MPD, now time.Time) (media.Change, error) {
	switch {
	case next.Dynamic && !prev.AvailabilityStart.Equal(next.AvailabilityStart): // also after one that had ended
		return media.Restarted, nil
	case !prev.Dynamic && next.Dynamic:
		return contradicts(1, "MPD", errors.New("dynamic, and before it was static"))
	case next.PublishTime.Before(prev.PublishTime) && !next.PublishTime.IsZero():
		return media.Stale, nil
	}
	c := comparison{prev: prev, next: next, now: now}
	c.periods()
	for i := range next.Representations {
		if err := c.representation(i); err != nil {
			return media.Contradicts, err
		}
	}
	switch {
	case c.same > 0 && c.other > 0:
		return contradicts(c.line, "Representation", c.why)
	case c.other > 0, c.same == 0 && c.behind, c.replaced():
		return media.Restarted, nil
	case c.behind && !c.ahead:
		return media.Stale, nil
	}
	return media.Continues, nil
}

func contradicts(line int, tag string, err error) (media.Change, error) {
	return media.Contradicts, fmt.Errorf("MPD contradicts itself as it was: %w", &media.Error{Line: line, Tag: tag, Err: err})
}

// replaced is whether nothing is as it was, in time that was there before.
func (c *comparison) replaced() bool {
	return c.back && !c.common && len(c.prev.Representations) > 0 && len(c.next.Representations) > 0
}

type comparison struct {
	prev, next    *MPD
	now           time.Time
	was           map[representationKey]int // places in prev
	same, other   int                       // segments
	ahead, behind bool                      // some representation is
	common        bool                      // there is a representation in both
	back          bool                      // the last period begins no later than it did
	line          int                       // of the first that is other
	why           error
}

type representationKey struct {
	period string
	start  time.Duration // where the period has no ID
	id     string
}

func (m *MPD) key(r *Representation) representationKey {
	p := m.Periods[r.Period]
	k := representationKey{period: p.ID, id: r.ID}
	if p.ID == "" {
		k.start = p.Start
	}
	return k
}

// periods notes how those of both lie. That one of the same @id begins elsewhere says
// nothing yet: ffmpeg moves the start of its only one with the window of a SegmentList.
func (c *comparison) periods() {
	if a, b := c.prev.Periods, c.next.Periods; len(a) > 0 && len(b) > 0 {
		c.back = b[len(b)-1].Start <= a[len(a)-1].Start
		c.ahead = !c.back
	}
	c.was = map[representationKey]int{}
	for i := range c.prev.Representations {
		c.was[c.prev.key(&c.prev.Representations[i])] = i
	}
}

func (c *comparison) representation(i int) error {
	n := &c.next.Representations[i]
	j, ok := c.was[c.next.key(n)]
	if !ok {
		return nil
	}
	c.common = true
	p := &c.prev.Representations[j]
	place := cmp.Or(p.Bases[0].ServiceLocation, p.Bases[0].URL)
	was, err := c.prev.List(j, c.now, place)
	if err != nil {
		return err
	}
	is, err := c.next.List(i, c.now, place)
	if err != nil {
		return err
	}
	if len(was.Segments) == 0 || len(is.Segments) == 0 {
		return nil
	}
	a, b := was.Segments[len(was.Segments)-1], is.Segments[len(is.Segments)-1]
	c.ahead = c.ahead || b.Start > a.Start
	c.behind = c.behind || b.Start < a.Start
	c.segments(n, was.Segments, is.Segments)
	return nil
}

func (c *comparison) segments(r *Representation, was, is []media.Segment) {
	timed := r.address.hasTimeline && !r.address.media.has("Number") && r.address.kind == "SegmentTemplate"
	key := func(s media.Segment) uint64 {
		if timed {
			return uint64(s.Start)
		}
		return s.Number
	}
	old := make(map[uint64]media.Segment, len(was))
	for _, s := range was {
		old[key(s)] = s
	}
	end := was[len(was)-1].Start
	for _, s := range is {
		o, ok := old[key(s)]
		var err error
		switch {
		case !ok && timed && s.Start > was[0].Start && s.Start < end:
			err = errors.New("the timeline has a segment where there was none")
		case !ok:
			continue
		default:
			err = differ(o, s, r.address.hasTimeline)
		}
		if err == nil {
			c.same++
			continue
		}
		if c.other++; c.why == nil {
			c.line, c.why = r.line, fmt.Errorf("segment %d at %v: %w", s.Number, s.Start, err)
		}
	}
}

// differ says in what a segment of two loads is not the same, nil if it is. That
// the last of a period is cut when the end is known makes it no other.
func differ(a, b media.Segment, timeline bool) error {
	switch {
	case a.URL != b.URL:
		return errors.New("another URL than before")
	case a.Range != b.Range:
		return errors.New("another byte range than before")
	case a.Start != b.Start:
		return fmt.Errorf("before it began at %v", a.Start)
	case timeline && a.Duration != b.Duration:
		return fmt.Errorf("lasts %v, and before it was %v", b.Duration, a.Duration)
	case a.Encryption != b.Encryption:
		return errors.New("encrypted in another way than before")
	case (a.Init == nil) != (b.Init == nil) || a.Init != nil && *a.Init != *b.Init:
		return errors.New("another initialization segment than before")
	}
	return nil
}
