package stream

import (
	"slices"
	"time"
)

// This file holds what is done about what will come late, or not at all.

// hedge has the edge bring what was asked of a peer that will not send it in time: at the
// last moment at which the edge still can. What has not begun is taken back then; of what
// has, the peer is not told as long as waste allows it, and whoever is first counts. What is
// due sooner comes first, which more at once would delay.
func (p *Plan) hedge(now time.Duration, zone []zoned) {
	for _, z := range zone {
		if !p.edgeReady(now, z.s) || p.thin(z.s) {
			continue
		}
		all, one := p.latest(z), z.due-p.guard()-p.edgeTakes(z.s.pieceLen(z.s.first))
		if now < min(all, one) {
			p.takeBack(now, z)
			continue
		}
		if p.hurries(now, z) {
			continue
		}
		p.askRuns(now, z, false, func(i int) bool {
			a := z.t.cells[i].ask
			if a == nil || p.inTime(now, z, a) && (now < one || a.begun > 0 && a.remaining(now) <= p.guard()) {
				return false
			}
			if a.begun == 0 || !p.spare(z.s.pieceLen(i)) {
				p.cancelPeer(z.t, i)
			}
			return true
		})
	}
}

// takeBack takes back what has not begun and would not be in time if it did now: half a
// piece that comes too late is lost to everybody.
func (p *Plan) takeBack(now time.Duration, z zoned) {
	for i := z.s.first; i < z.s.first+z.s.pieces; i++ {
		a := z.t.cells[i].ask
		if a != nil && a.begun == 0 && p.edge.asked(z.t, i) == nil && now+a.peer.soonest(a.n) > z.due-p.guard() {
			p.cancelPeer(z.t, i)
		}
	}
}

// inTime reports whether a piece will come in time of the peer that it was asked of, as
// far as that can be told.
func (p *Plan) inTime(now time.Duration, z zoned, a *asking) bool {
	heard := a.peer.heard
	if a.begun > 0 { // others of the peer may have their turn
		heard = a.since
	}
	return now+a.remaining(now) <= z.due-p.guard() && now-heard <= leastAnswer+4*a.peer.info.RTT
}

// steal has peers with nothing to do take over what would wait longest at others: what few
// had when it was asked for, everybody has asked of those few.
func (p *Plan) steal(now time.Duration) {
	waiting := p.waiting(now, nil)
	for _, q := range p.order {
		if len(waiting) == 0 {
			return
		}
		if len(q.queue) > 0 || !q.room(now, 0) {
			continue
		}
		var longest *asking
		var gain time.Duration
		for _, w := range waiting {
			if h := q.has.of(w.t.id); h == nil || !h.Has(w.piece) {
				continue
			}
			if g := w.eta - q.takes(w.n) - q.info.RTT; g > gain {
				longest, gain = w.asking, g
			}
		}
		if gain > 0 {
			p.cancelPeer(longest.t, longest.piece)
			p.ask(now, q, longest.t, longest.piece, longest.urgency)
			waiting = p.waiting(now, waiting[:0])
		}
	}
}

// waiting is what peers were asked for, have had the time to answer and have not begun, and
// when it would be here.
func (p *Plan) waiting(now time.Duration, list []overdue) []overdue {
	for _, o := range p.order {
		var queued int64
		for _, a := range o.queue {
			queued += a.n - a.begun
			if a.begun == 0 && now-a.since >= leastAnswer+2*o.info.RTT {
				list = append(list, overdue{a, o.takes(queued)})
			}
		}
	}
	return list
}

// overdue is a request that waits at a peer.
type overdue struct {
	*asking
	eta time.Duration
}

// remaining is how long the peer needs for it. How fast one comes that has begun shows by
// itself.
func (a *asking) remaining(now time.Duration) time.Duration {
	if a.begun > 0 {
		rate := max(a.peer.rate(), float64(a.begun)/max((now-a.came).Seconds(), leastBusy))
		return seconds(float64(a.n-a.begun) / rate)
	}
	var n int64
	for _, o := range a.peer.queue {
		n += o.n - o.begun
		if o == a {
			break
		}
	}
	return a.peer.takes(n)
}

// dropSilent takes back what was asked of sources that are silent.
func (p *Plan) dropSilent(now time.Duration) {
	for _, q := range p.order {
		if len(q.queue) == 0 || now-q.heard < max(leastSilence, 4*q.info.RTT, 2*q.takes(q.queue[0].n)) {
			continue
		}
		for _, a := range slices.Clone(q.queue) {
			p.cancelPeer(a.t, a.piece)
		}
		q.until = now + snubFor
		q.pace.bytes /= 4
		if q.snubs++; q.snubs >= maxSnubs {
			p.do(DropPeer{Peer: q.id, Reason: "stall"})
		}
	}
	for _, r := range slices.Clone(p.edge.order) {
		if now-r.heard > max(edgeSilence, 8*p.edge.rtt) {
			p.wasted += r.got
			p.do(CancelEdge{Req: r.id})
			p.edge.drop(r)
			p.failed(now, r, 0)
		}
	}
}
