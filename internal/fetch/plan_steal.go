package fetch

import "time"

const (
	// stealEvery is how often requests are moved to peers that have nothing to do.
	stealEvery = 50 * time.Millisecond
	// stealAge is how long a request waits at its peer, beside two round trips,
	// before it may be moved; stealShare the part of the time it would have to go on
	// waiting in which the other must have answered it.
	stealAge   = 50 * time.Millisecond
	stealShare = 0.35
	// lateBytes is the part of what has come that may have come for nothing, because
	// it was asked of somebody else meanwhile.
	lateBytes = 0.01
	// silentRest is how long a peer is left alone that has lost a request and never
	// sent anything.
	silentRest = 2 * time.Second
)

// steal moves requests whose answers are overdue to peers that would answer them much
// sooner and have nothing else to do. A piece that few hold is asked of them by
// everybody at once; by the time that they come to the last, others hold it too.
func (p *Plan) steal(now time.Duration) {
	if now < p.stealAt || p.cfg.Ablate.Patient {
		return
	}
	p.stealAt = now + stealEvery
	var buf [64]wait
	waits := p.waiting(now, buf[:0])
	for _, r := range p.turn {
		if len(waits) == 0 {
			return
		}
		if len(r.asks) > 0 || r.count == 0 || !r.usable(now) {
			continue
		}
		from, piece, eta := slowest(waits, r)
		if from == nil || float64(r.eta(now, p.cfg.PieceSize)) > stealShare*float64(eta) {
			continue
		}
		if from.rate.total == 0 {
			from.rest = max(from.rest, now+silentRest) // it is not asked again at once
		}
		from.release(p, piece)
		p.do(CancelPeer{Peer: from.id, Piece: piece})
		p.askOf(now, r, piece)
		waits = p.waiting(now, waits[:0])
	}
}

// wait is a request that may be moved, and how long it has to go.
type wait struct {
	from  *peer
	piece int
	eta   time.Duration
}

// waiting appends the requests that are overdue to out.
func (p *Plan) waiting(now time.Duration, out []wait) []wait {
	for _, q := range p.turn {
		if len(q.asks) == 0 {
			continue
		}
		before, rate := int64(0), q.rate.rate(now)
		for _, a := range q.asks {
			begins := seconds(float64(before) / max(rate, 1))
			before += p.pieceLen(a.piece) - a.got
			if a.got == 0 && p.asked[a.piece] <= 1 && p.overdue(now, q, a, begins) {
				out = append(out, wait{q, a.piece, q.waits(now, a, before, rate)})
			}
		}
	}
	return out
}

// overdue reports whether the answer to a request is late for a peer that has not come
// to it, or would be when those before it have come. What is taken back sooner is on
// its way more often than not.
func (p *Plan) overdue(now time.Duration, q *peer, a ask, before time.Duration) bool {
	return a.due(now, q) && max(before, now-max(a.at, q.last)) > p.answers.limit(p.careful())
}

// careful reports whether more came than should in answer to requests that were taken
// back: the word of it queues behind what is uploaded.
func (p *Plan) careful() bool {
	return float64(p.tardy) > lateBytes*float64(p.cfg.Size-p.left)+2*float64(p.cfg.PieceSize)
}

// due reports whether a has been at q for so long that an answer might have come.
func (a ask) due(now time.Duration, q *peer) bool { return now-a.at >= stealAge+2*q.info.RTT }

// slowest returns the request that would be answered last, of those for pieces
// that r holds.
func slowest(waits []wait, r *peer) (from *peer, piece int, eta time.Duration) {
	for _, x := range waits {
		if x.eta > eta && r.have.has(x.piece) {
			from, piece, eta = x.from, x.piece, x.eta
		}
	}
	return from, piece, eta
}

// share has peers that find nothing more to ask for take over the end of edge
// requests, as far as they come to it sooner than the edge does.
func (p *Plan) share(now time.Duration) {
	for _, r := range p.edge.reqs {
		if r.left || r.why == WhyUrgent || now-r.began < stealAge+2*r.srv.rtt {
			continue
		}
		rate := max(p.edge.rate.rate(now)/float64(len(p.edge.reqs)), 1)
		end := r.claim
		for _, q := range p.turn {
			for q.nothing == p.freed && r.claim > r.next+1 && q.have.has(r.claim-1) && q.usable(now) && p.room(now, q, p.cfg.PieceSize) {
				i := r.claim - 1
				rest := seconds(float64(int64(i+1-r.next)*p.cfg.PieceSize-r.got) / rate)
				if float64(q.eta(now, p.pieceLen(i))) > stealShare*float64(rest) {
					break
				}
				freed := p.freed
				p.release(r, i)
				if p.open(i) {
					p.askOf(now, q, i)
					p.freed = freed // nothing is: others need not look again
				}
			}
		}
		if r.claim < end {
			r.end = r.claim
			p.do(TrimEdge{Req: r.id, End: r.end})
		}
	}
}

// unload has a peer that has nothing to do take over what an edge request is far
// from bringing, where many wait for the edge.
func (p *Plan) unload(now time.Duration) {
	p.share(now)
	if !p.swarming(now) || p.elastic(now) {
		return
	}
	for _, r := range p.edge.reqs {
		age := now - r.began
		if r.left || r.why == WhyUrgent || r.next >= r.claim || p.avail[r.next] == 0 || age < unloadAge || r.got > p.pieceLen(r.next)/2 {
			continue
		}
		rest := seconds(float64(p.pieceLen(r.next)-r.got) * age.Seconds() / float64(max(r.bytes, 1)))
		for _, q := range p.turn {
			if len(q.asks) == 0 && q.have.has(r.next) && q.usable(now) && q.eta(now, p.pieceLen(r.next)) < rest/2 {
				i := r.next
				p.cut(r, i)
				if p.open(i) {
					p.askOf(now, q, i)
				}
				break
			}
		}
	}
}

// unloadAge is how long an edge request runs before it may be taken over.
const unloadAge = time.Second

// waits is how long request a has to go when so many bytes come with and before it
// at rate.
func (q *peer) waits(now time.Duration, a ask, before int64, rate float64) time.Duration {
	if rate < 1 {
		return max(unknownETA, now-a.at) + q.info.RTT
	}
	return q.info.RTT + seconds(float64(before)/rate)
}
