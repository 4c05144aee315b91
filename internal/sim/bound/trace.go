package bound

import (
	"math"
	"slices"
)

// PeerBytes is the most that peers can give to the downloads of a trace if none
// may take longer than from the edge alone and its slack. At every moment the peers' rate in
// an object is at most what its downloads take and at most what those who are in
// it, or have it, give; nobody serves itself; and without a copy anywhere the
// edge sends the first. A host that is in several objects counts fully in each,
// so where uplinks are shared between objects the bound is not tight.
//
// For wants that begin at once it is n·size less [EdgeBytes], for Poisson
// arrivals with ample uplinks it goes to [Sparse].
func PeerBytes(sizes []float64, wants []Want, copies []Copy) float64 {
	changes := make(map[int][]change, len(sizes))
	add := func(object int, c change) { changes[object] = append(changes[object], c) }
	total := make([]float64, len(sizes))
	for _, w := range wants {
		total[w.Object] += sizes[w.Object]
		end := w.At + w.Duration + w.Slack
		// What the edge alone would give it: it may be the edge that is slow.
		rate := over(sizes[w.Object], w.Duration)
		add(w.Object, change{at: w.At, down: rate, up: w.Up, wants: 1})
		add(w.Object, change{at: end, down: -rate, wants: -1})
		if w.Up <= 0 || w.Stays <= 0 {
			add(w.Object, change{at: end, up: -w.Up})
			continue
		}
		add(w.Object, change{at: end, holds: 1})
		add(w.Object, change{at: end + w.Stays, up: -w.Up, holds: -1})
	}
	held := there(len(sizes), wants, copies)
	for _, c := range copies {
		add(c.Object, change{at: c.From, up: c.Up, holds: 1})
		add(c.Object, change{at: c.To, up: -c.Up, holds: -1})
	}
	var sum float64
	for object := range sizes {
		limit := total[object]
		if !held[object] {
			limit = max(0, limit-sizes[object])
		}
		sum += min(limit, given(changes[object]))
	}
	return sum
}

// change is what one moment changes in an object.
type change struct {
	at, down, up float64
	wants, holds int
}

// given integrates what peers can give in one object.
func given(changes []change) float64 {
	slices.SortStableFunc(changes, func(a, b change) int { return cmpFloat(a.at, b.at) })
	var sum, now, down, up float64
	wants, holds := 0, 0
	for _, c := range changes {
		if c.at > now {
			takers := down
			if holds == 0 && wants > 0 {
				// One of them, the first, has nobody to take from.
				takers = down * float64(wants-1) / float64(wants)
			}
			if span := c.at - now; !math.IsInf(span, 1) {
				sum += span * max(0, min(takers, up))
			}
			now = c.at
		}
		down, up = down+c.down, up+c.up
		wants, holds = wants+c.wants, holds+c.holds
	}
	return sum
}
