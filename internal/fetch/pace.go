package fetch

import (
	"math"
	"time"
)

// pacer finds out how little the edge must send beside the peers. What the downlink
// can carry is not known: whether the edge makes good what peers do not bring, or
// takes the downlink from them, looks the same from here.
//
// Mostly the edge is not held back. A flow from it then has what the flows from
// peers leave, or where they could fill the downlink, a share like theirs: which of
// the two tells whether peers are held up. Where they are, the edge gives way for
// as long as they fill the room.
type pacer struct {
	gives bool          // the edge gives way to the peers
	since time.Duration // that is so, or peers are held up
	wait  time.Duration // before the edge gives way again
	next  time.Duration // of the next judgement
	trial time.Duration // of whether they step in, since then
	had   int64         // bytes that had come by then
	whole float64       // what came before, edge and peers, bytes per second
	full  float64       // what edge and peers bring together, bytes per second
	fair  float64       // share of each flow on a full downlink, a part of it, over fairTime
	pace  float64       // of the edge, bytes per second; +Inf: it is not held back
}

const (
	paceEvery = 100 * time.Millisecond
	// paceShare is the part of the total that the edge fills up to when it gives way.
	paceShare = 0.98
	// heldShare is how much more than a fair share the edge has at most where peers
	// are held up by it, or by each other.
	heldShare = 1.5
	leastHeld = 0.3
	// fairTime is over how long the number of flows is taken: for moments there is one
	// more, where an edge request ends and the next has begun.
	fairTime = 2 * time.Second
	// trialTime is how long peers have to step in.
	trialTime = 3 * time.Second
	// Bounds of the time between two times in which the edge gives way, the first of
	// which was in vain: it took no longer than vainTime.
	leastWait, mostWait = 3 * time.Second, 24 * time.Second
	vainTime            = 10 * time.Second
)

// rates are what a pacer judges by, in bytes per second.
type rates struct {
	total, p2p, edge float64
	fair             float64 // part that each flow has of a downlink that is full
	sum              int64   // all that has come, bytes
}

// step judges the pace. late says that there is time to make good.
func (y *pacer) step(now time.Duration, r rates, late bool) {
	if r.p2p == 0 { // nobody to give way to
		*y = pacer{pace: math.Inf(1), since: now, full: r.total, fair: r.fair, wait: leastWait, next: now + paceEvery}
		return
	}
	if now < y.next {
		return
	}
	gain := min(1, (now-y.next+paceEvery).Seconds()/4)
	y.fair += (r.fair - y.fair) * min(1, float64(now-y.next+paceEvery)/float64(fairTime))
	y.next = now + paceEvery
	switch {
	case r.total > 1.1*y.full:
		y.full = r.total
	case !y.gives || r.total > y.full:
		y.full += (r.total - y.full) * gain
	}
	if !y.gives {
		if late || r.edge > y.held() || r.total < 0.9*y.full {
			y.since = now
		}
		if now-y.since < y.wait {
			return
		}
		y.gives, y.since, y.trial, y.had, y.whole = true, now, now, r.sum, r.total
	}
	if now-y.trial >= trialTime {
		if came := float64(r.sum-y.had) / (now - y.trial).Seconds(); came < (1+paceShare)/2*y.whole && r.p2p < paceShare*y.full {
			y.hurry(now)
			return
		}
		y.trial, y.had = now, r.sum
	}
	if y.pace = max(0, paceShare*y.full-r.p2p); late || y.pace > y.held() {
		y.hurry(now)
	}
}

// held is the most that the edge has where it or other peers hold up a peer.
func (y *pacer) held() float64 { return max(heldShare*y.fair, leastHeld) * y.full }

// hurry has the edge not be held back.
func (y *pacer) hurry(now time.Duration) {
	if y.gives && now-y.since < vainTime {
		y.wait = min(2*y.wait, mostWait)
	} else if y.gives {
		y.wait = leastWait
	}
	y.gives, y.since, y.pace = false, now, math.Inf(1)
}
