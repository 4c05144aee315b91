package fetch

import "time"

// urgentPieces is how many pieces an urgent request brings at most, and how far
// ahead of a reader others may run on, so that a reader that seeks back and forth
// has no more than so many.
const urgentPieces = 8

// Placed reports whether the plan is at work: with a Window, it waits to be told
// where the reader is.
func (p *Plan) Placed() bool { return p.cfg.Window == 0 || p.reader >= 0 }

func (p *Plan) inWindow(i int) bool {
	if p.cfg.Window == 0 {
		return true
	}
	return p.reader >= 0 && i >= p.reader && int64(i-p.reader)*p.cfg.PieceSize < p.cfg.Window
}

// SetReader tells where a reader is; its pieces come first from now on.
func (p *Plan) SetReader(off int64) {
	p.reader = min(int(off/p.cfg.PieceSize), p.n-1)
	p.freed++ // the window has moved
	if p.have.Has(p.reader) {
		return
	}
	coming := false
	for _, r := range p.edge.reqs {
		if p.deserted(r) || r.why == WhyUrgent && r.next >= p.reader+urgentPieces {
			p.cut(r, r.next)
		} else if r.next <= p.reader {
			p.extend(r, 2)
			coming = coming || p.reader < r.claim
		}
	}
	for _, r := range p.edge.reqs {
		if !coming && r.why == WhyAlone && r.next > p.reader {
			p.cut(r, r.next) // it would only take from the urgent one
		}
	}
}

// deserted reports whether the reader has turned away from request r. It has not when
// r is at the piece before the reader's: that may be on its way to the disk, from
// where the reader has had it in memory already.
func (p *Plan) deserted(r *edgeReq) bool {
	return !p.inWindow(r.next) && r.next != p.reader-1
}

// urgent reports whether a request for the piece that a reader waits for is under
// way: then the edge is asked for nothing else.
func (p *Plan) urgent() bool {
	for _, r := range p.edge.reqs {
		if r.why == WhyUrgent && r.next <= p.reader && p.reader < r.claim {
			return true
		}
	}
	return false
}

// askUrgent fetches what a reader waits for, and a little ahead of it, from the
// edge, unless it is on its way already.
func (p *Plan) askUrgent(now time.Duration) {
	if p.reader < 0 || now < p.edge.retry {
		return
	}
	coming := func(i int) bool { return p.have.Has(i) || p.asked[i] > 0 && !p.lateFromPeer(now, i) }
	if p.company() == 0 && coming(p.reader) {
		return // the edge goes on in order by itself
	}
	first, count := -1, 0
	ahead := 1 + int(p.edge.rate.rate(now)*0.3/float64(p.cfg.PieceSize))
	for i := p.reader; i < min(p.n, p.reader+min(ahead, urgentPieces)); i++ {
		if coming(i) {
			if count > 0 {
				break
			}
			continue
		}
		if count == 0 {
			first = i
		}
		count++
	}
	if count == 0 {
		return
	}
	for i := first; i < first+count; i++ {
		p.withdraw(i)
	}
	p.request(now, first, count, WhyUrgent)
}

// lateFromPeer reports whether piece i is asked of a peer that has not begun to
// send it and is unlikely to do so at once.
func (p *Plan) lateFromPeer(now time.Duration, i int) bool {
	for _, r := range p.edge.reqs {
		if i >= r.next && i < r.claim {
			return false
		}
	}
	for _, q := range p.turn {
		for _, a := range q.asks {
			if a.piece == i {
				return a.got == 0 && now-a.at > 2*q.info.RTT+50*time.Millisecond
			}
		}
	}
	return false
}
