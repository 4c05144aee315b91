package stream

import (
	"cmp"
	"slices"
	"time"
)

// Join asks for a segment to be made of its parts, in their order, which are all here.
type Join struct {
	Track   TrackID
	Segment int
	Parts   []int
}

func (Join) action() {}

// nearby is how many segments of a track a part and its whole are apart at the most.
const nearby = 128

// covers reports whether a part lies within the time of a segment.
func (s *segment) covers(part *segment) bool {
	middle := part.Start + part.Duration/2
	return part.Part && !s.Part && !s.Init && middle >= s.Start && middle < s.Start+s.Duration
}

// relate finds what of a track belongs to a new segment, the last: its parts, or the
// segment that it is a part of. They are published in any order.
func (p *Plan) relate(t *ptrack) {
	s := t.segs[len(t.segs)-1]
	for _, o := range t.segs[max(0, len(t.segs)-nearby):] {
		switch {
		case o.whole == nil && s.covers(o):
			s.take(o)
		case s.whole == nil && o.covers(s):
			o.take(s)
			p.join(t, o)
		}
	}
	p.join(t, s)
}

func (s *segment) take(part *segment) {
	part.whole = s
	i, _ := slices.BinarySearchFunc(s.parts, part.Start, func(o *segment, start time.Duration) int { return cmp.Compare(o.Start, start) })
	s.parts = slices.Insert(s.parts, i, part)
}

// join has a segment be made of its parts as soon as these are here. Parts that are not
// the whole, by their sizes, are not its parts, or not all; one of which something has come
// already is left to those who read it.
func (p *Plan) join(t *ptrack, s *segment) {
	if s == nil || s.joined || s.left < s.Manifest.Size || len(s.parts) == 0 {
		return
	}
	var size int64
	for _, part := range s.parts {
		if part.left > 0 {
			return
		}
		size += part.Manifest.Size
	}
	if size != s.Manifest.Size {
		return
	}
	s.joined = true
	a := Join{Track: t.id, Segment: s.no}
	for _, part := range s.parts {
		a.Parts = append(a.Parts, part.no)
	}
	p.do(a)
}
