package fetch

import "time"

// reach is how many peers are asked at a time. A downlink that peers fill has nothing
// of more of them: all come slower, none is done soon, and each holds a turn at an
// uplink that somebody else could fill.
type reach struct {
	most int
	next time.Duration // it changes
}

const (
	// mostReach is as good as no bound, leastReach the number of peers that may always
	// be asked.
	mostReach, leastReach = 1 << 10, 10
	reachEvery            = 200 * time.Millisecond
	// reachShare is the part of all that came at best from which peers fill the downlink.
	reachShare = 0.97
)

// adjust takes in how many peers are asked and whether they fill the downlink.
func (r *reach) adjust(now time.Duration, busy int, fill, free bool) {
	if free {
		r.most = mostReach
		return
	}
	if now < r.next {
		return
	}
	r.next = now + reachEvery
	if fill {
		r.most = max(leastReach, min(r.most, busy)-1)
	} else {
		r.most = min(r.most+1, mostReach)
	}
}

// busyPeers is how many peers something is asked of.
func (p *Plan) busyPeers() int {
	n := 0
	for _, q := range p.turn {
		if len(q.asks) > 0 {
			n++
		}
	}
	return n
}
