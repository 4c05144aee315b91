package fetch

import "time"

// dropStalled withdraws what was asked of peers that have gone silent.
func (p *Plan) dropStalled(now time.Duration) {
	if now < p.stallAt {
		return
	}
	p.stallAt = now + minSilence
	for _, q := range p.turn {
		if len(q.asks) == 0 {
			continue
		}
		since := now - max(q.last, q.asks[0].at)
		if since >= minSilence {
			limit := maxSilence / 2
			if r := q.rate.rate(now); r > 1 {
				limit = seconds(3 * float64(q.out) / r)
			}
			limit = min(max(limit, minSilence), maxSilence)
			if since >= limit {
				p.snub(now, q)
				continue
			}
			p.stallAt = min(p.stallAt, now+limit-since)
			continue
		}
		p.stallAt = min(p.stallAt, now+minSilence-since)
	}
}

// snub takes back what q was asked for and leaves it alone for a while, in the end
// for good.
func (p *Plan) snub(now time.Duration, q *peer) {
	for len(q.asks) > 0 {
		i := q.asks[0].piece
		p.wasted += q.asks[0].got
		q.release(p, i)
		p.do(CancelPeer{Peer: q.id, Piece: i})
	}
	q.snubs++
	q.rest = now + snubRest*time.Duration(q.snubs)
	if q.snubs >= maxSnubs {
		p.drop(q, DropStall)
	}
}
