package fetch

import "time"

// reach is how many peers are asked at a time. A downlink that peers fill has nothing
// of more of them: all come slower, none is done soon, and each holds a turn at an
// uplink that somebody else could fill. Who has been asked for several pieces ahead goes
// on being asked: those are small, and the turns short.
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

// reachOut settles how many peers are asked at a time and returns how many are. The
// number that fills the downlink is enough; where that is not known more and more are
// asked. Every peer is welcome where the edge is everybody's bottleneck, a reader waits,
// or a download that the edge could bring alone is about to end.
func (p *Plan) reachOut(now time.Duration) (busy int) {
	for _, q := range p.turn {
		if len(q.asks) > 0 {
			busy++
		}
	}
	_, known := p.edge.perRequest(now)
	switch r := &p.reach; {
	case p.cfg.Class == Background, p.reader >= 0, known && p.contended(now), p.ending(now):
		r.most = mostReach
	case now < r.next:
	case p.quick.rate(now) >= reachShare*p.pacer.full && p.downlinkKnown(now):
		r.most, r.next = max(leastReach, min(r.most, busy)-1), now+reachEvery
	default:
		r.most, r.next = min(r.most+1, mostReach), now+reachEvery
	}
	return busy
}

// downlinkKnown reports whether the most that comes at a time is what the downlink
// carries, rather than what there is: the edge, which could bring a good part of it
// alone, brings what peers leave, or gives way to them.
func (p *Plan) downlinkKnown(now time.Duration) bool {
	return p.edge.full > max(slowRate, p.pacer.full/2) && (p.pacer.gives || p.edge.rate.rate(now) > 0)
}
