package fetch

import (
	"math"
	"slices"
	"time"
)

// fair is the part that each of those who send to this client would have of a full
// downlink.
func (p *Plan) fair(now time.Duration) float64 {
	n := len(p.edge.reqs)
	for _, q := range p.turn {
		if now-q.last < sendsTime && len(q.asks) > 0 {
			n++
		}
	}
	return 1 / float64(max(n, 1))
}

// sendsTime is how long after its last byte a peer counts as one that sends.
const sendsTime = 500 * time.Millisecond

const (
	// gapRequests is how many requests run side by side for what older versions lack,
	// without peers: most are for few bytes, and what they take is round trips.
	// Not before gapTime: in a crowd that updates at once everybody is alone at first,
	// and eight of these are a third of what changed.
	gapRequests = 8
	gapTime     = time.Second
	// gapBytes is the most that one of several pieces is for.
	gapBytes = 1 << 20
)

// most is how many requests may run: more while there is time to make good, but not
// where many wait for the edge, one where that fills the downlink, is held back or
// takes its turn among many, and one more where one is about to end.
func (p *Plan) most(now time.Duration, alone bool) int {
	if alone && p.cfg.Need != nil && now >= gapTime {
		return gapRequests
	}
	n := p.cfg.MaxEdge
	switch {
	case p.contended(now):
		if !p.short(now) {
			n = 1
		}
	case p.short(now):
		n += 2
	case p.elastic(now) && p.fromP2P.rate(now) > p.edge.rate.rate(now), !math.IsInf(p.pacer.pace, 1):
		n = 1
	}
	if !alone && slices.ContainsFunc(p.edge.reqs, func(r *edgeReq) bool { return p.ends(now, r) }) {
		n++
	}
	return n
}

// ending reports whether a download that the edge could bring alone is about to end:
// what a peer that stepped in is late with then cannot be made good.
func (p *Plan) ending(now time.Duration) bool {
	return p.elastic(now) && float64(p.left) < p.pacer.full*endTime.Seconds()
}

// govern holds back the requests that are to give way to peers: all but those for
// what a reader waits for, or the swarm. None so much that its piece never comes.
func (p *Plan) govern() {
	least, n := float64(p.cfg.PieceSize)/longestPiece.Seconds(), 0
	for _, r := range p.edge.reqs {
		if r.yields() && !r.left {
			n++
		}
	}
	for _, r := range p.edge.reqs {
		rate := math.Inf(1)
		if r.yields() {
			rate = max(p.pacer.pace/float64(max(n, 1)), least)
		}
		if was := r.rate(); rate != was && math.Abs(rate-was) >= paceChange*min(rate, was) {
			r.pace, r.paced = rate, true
			p.do(PaceEdge{Req: r.id, Rate: rate})
		}
	}
}

const (
	// endTime is how long before the end nothing is held back any more.
	endTime = 1500 * time.Millisecond
	// longestPiece is how long one piece takes at least of a request that is held back.
	longestPiece = 20 * time.Second
	// paceChange is the part by which a pace must change to be worth telling.
	paceChange = 0.03
)

// running counts the requests that are not urgent. Where there are other servers,
// neither a probe nor one that is silent keeps them from being asked.
func (p *Plan) running(now time.Duration) int {
	n := 0
	for _, r := range p.edge.reqs {
		hangs := len(p.edge.servers) > 1 && now-max(r.last, r.began) > hangTime
		if r.why != WhyUrgent && !r.left && !r.probe && !hangs {
			n++
		}
	}
	return n
}

// ends reports whether r is about to end, so that another may begin: else there would
// be a gap of a round trip.
func (p *Plan) ends(now time.Duration, r *edgeReq) bool {
	if r.claim-r.next != 1 || r.claim < r.end {
		return false
	}
	return float64(p.pieceLen(r.next)-r.got) < min(p.edge.rate.rate(now), p.pace(now, r.srv))*min(max(4*r.srv.rtt, leastOverlap), mostOverlap).Seconds()
}

// Bounds of the time before the end of a request in which another begins.
const leastOverlap, mostOverlap = 100 * time.Millisecond, 700 * time.Millisecond
