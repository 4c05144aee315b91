package fetch

import (
	"slices"
	"time"
)

const (
	// wasteShare is the part of the object that duplicates may cost.
	wasteShare = 0.01
	// lastWait is how long is waited for what arrives last, at most and of the time
	// that the download has taken.
	lastWait, lastShare = 300 * time.Millisecond, 0.1
)

// endgame gives idle sources what would arrive last. It begins when everything
// missing is asked for. A request that its peer has not begun to answer is
// moved; one that is under way is duplicated, within a budget unless it would
// hold up the end for seconds.
func (p *Plan) endgame(now time.Duration) {
	for range 4 {
		q, i, eta := p.latest(now)
		if q == nil || eta < min(lastWait, time.Duration(lastShare*float64(now))) {
			return
		}
		a := q.askFor(i)
		begun := a.got > 0
		if !begun && (!a.due(now, q) || now-max(a.at, q.last) < p.answers.late()) || begun && (p.filled(now) || eta < 2*time.Second && float64(p.wasted-p.tardy-p.corrupt) > wasteShare*float64(p.cfg.Size)+2*float64(p.cfg.PieceSize)) {
			return
		}
		better := p.fasterPeer(now, q, i, eta)
		edge := p.edgeETA(now, i)
		switch {
		case better != nil && better.eta(now, p.pieceLen(i)) <= edge && p.asked[i] == 1:
			p.askOf(now, better, i)
		case edge < eta*7/10 && now >= p.edge.retry && p.running(now) < p.cfg.MaxEdge:
			p.duplicate(now, i)
		default:
			return
		}
		if !begun {
			q.release(p, i)
			p.do(CancelPeer{Peer: q.id, Piece: i})
		}
	}
}

// filled reports whether as much arrives as ever: what is asked for twice then only
// takes from the rest.
func (p *Plan) filled(now time.Duration) bool {
	return p.instant.rate(now) > 0.9*max(p.pacer.full, p.edge.full)
}

// latest returns the piece that will be there last of those asked of peers alone,
// if every missing piece is asked of somebody, with the peer that will bring it.
func (p *Plan) latest(now time.Duration) (late *peer, piece int, eta time.Duration) {
	if p.anyOpen() {
		return nil, 0, 0
	}
	for _, q := range p.turn {
		if len(q.asks) == 0 {
			continue
		}
		before, rate := int64(0), q.rate.rate(now)
		for _, a := range q.asks {
			before += p.pieceLen(a.piece) - a.got
			if e := q.waits(now, a, before, rate); e > eta && !p.soonerThan(now, q, a.piece, e) && !p.edge.brings(a.piece) {
				late, piece, eta = q, a.piece, e
			}
		}
	}
	return late, piece, eta
}

// soonerThan reports whether another peer than q brings a piece before eta.
func (p *Plan) soonerThan(now time.Duration, q *peer, piece int, eta time.Duration) bool {
	if p.asked[piece] < 2 {
		return false
	}
	for _, o := range p.turn {
		before, rate := int64(0), o.rate.rate(now)
		for _, a := range o.asks {
			before += p.pieceLen(a.piece) - a.got
			if o != q && a.piece == piece && o.waits(now, a, before, rate) <= eta {
				return true
			}
		}
	}
	return false
}

// brings reports whether a running request brings piece i.
func (e *edgeState) brings(i int) bool {
	for _, r := range e.reqs {
		if r.next <= i && i < r.claim {
			return true
		}
	}
	return false
}

// askFor is the request of q for a piece, which there must be.
func (q *peer) askFor(piece int) ask {
	return q.asks[slices.IndexFunc(q.asks, func(a ask) bool { return a.piece == piece })]
}

func (p *Plan) fasterPeer(now time.Duration, than *peer, piece int, eta time.Duration) *peer {
	var found *peer
	for _, q := range p.turn {
		if q == than || !q.usable(now) || !q.have.has(piece) || !p.room(now, q, p.pieceLen(piece)) {
			continue
		}
		if e := q.eta(now, p.pieceLen(piece)); e < eta*6/10 {
			found, eta = q, e*10/6
		}
	}
	return found
}

// edgeETA is when the edge would finish piece i, going by what it gives now, and in
// a crowd by what it gives to one request.
func (p *Plan) edgeETA(now time.Duration, i int) time.Duration {
	if len(p.edge.reqs) == 0 && p.edge.failed > 0 {
		return time.Hour
	}
	if p.swarming(now) && !p.elastic(now) {
		rate, known := p.edge.perRequest(now)
		if !known || rate < 1 {
			return time.Hour
		}
		return 50*time.Millisecond + seconds(float64(p.pieceLen(i))/rate)
	}
	r := max(p.edge.rate.rate(now), p.edge.full)
	if r < 1 {
		return time.Hour
	}
	n := p.pieceLen(i)
	for _, r := range p.edge.reqs {
		n += int64(r.claim-r.next)*p.cfg.PieceSize - r.got
	}
	return 50*time.Millisecond + seconds(float64(n)/(0.7*r))
}

// duplicate asks the edge for a piece that a peer is asked for as well.
func (p *Plan) duplicate(now time.Duration, i int) {
	p.ask(i)
	p.begin(now, p.place(now, p.pieceLen(i)), edgeReq{next: i, claim: i + 1, end: i + 1, why: WhyLast})
}
