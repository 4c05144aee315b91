package fetch

import (
	"time"
)

const (
	// burstBytes and burstTime end the opening, in which the edge's rate is
	// measured and nothing is paced.
	burstBytes = 1 << 20
	burstTime  = 1500 * time.Millisecond
	// settleTime is how long the first response goes on before its rate counts, and
	// swarmTime how long a download must be at that rate to wait for a swarm.
	settleTime = 150 * time.Millisecond
	swarmTime  = 5 * time.Second
	// maxRun bounds one edge request while peers take part, in bytes.
	maxRun = 8 << 20
	// prefetch is how many pieces ahead of a reader peers are asked in order.
	prefetch = 32
	// guard is the least time that a client keeps in hand against the edge alone.
	guard = 300 * time.Millisecond
	// leastPace is the deficit, of the best total rate, below which the edge is
	// not asked; backupPace the one from which others' duties are taken over.
	leastPace, backupPace = 0.1, 0.25
	// crowdedFor is how long the pace of past requests says something of the edge.
	crowdedFor = 3 * time.Second
	// The edge's rate is measured from measureFrom on, at most every measureEvery.
	measureFrom  = 700 * time.Millisecond
	measureEvery = 500 * time.Millisecond
	// edgeSilence is how long a request may be silent over a piece that a peer holds.
	edgeSilence = 4 * time.Second
)

// EdgeBytes records n bytes of edge request req, not yet verified.
func (p *Plan) EdgeBytes(now time.Duration, req int, n int64) {
	p.edge.rate.add(now, n)
	p.fromAll.add(now, n)
	if r := p.edge.find(req); r != nil {
		r.got += n
		r.bytes += n
		r.last = now
	}
}

// EdgePiece records that an edge request has brought a whole, verified piece; it
// reports whether the piece was new.
func (p *Plan) EdgePiece(req, piece int) bool {
	p.edge.failed = 0
	if r := p.edge.find(req); r != nil && r.next == piece {
		p.edge.pieces[r.why]++
		if r.next < r.claim {
			p.asked[piece]--
		} else {
			r.claim = piece + 1
		}
		r.next, r.got = piece+1, 0
	}
	return p.got(piece)
}

// EdgeEnds records the end of a request. When it failed, the edge is left alone
// until now+retry.
func (p *Plan) EdgeEnds(now time.Duration, req int, ok bool, retry time.Duration) {
	r := p.edge.find(req)
	if r == nil {
		return
	}
	p.edge.learn(now, r)
	p.wasted += r.got
	for i := r.next; i < r.claim; i++ {
		p.asked[i]--
	}
	p.edge.remove(r)
	if !ok {
		p.edge.failed++
		back := 250 * time.Millisecond << min(p.edge.failed, 6)
		p.edge.retry = now + max(retry, back)
	}
}

// dropSilent ends edge requests that have gone silent where a peer can help.
func (p *Plan) dropSilent(now time.Duration) {
	for _, r := range p.edge.reqs {
		if r.next >= r.claim || p.avail[r.next] == 0 || now-max(r.last, r.began) < edgeSilence {
			continue
		}
		for i := r.next; i < r.claim; i++ {
			p.asked[i]--
		}
		r.claim, r.end = r.next, r.next
		p.do(TrimEdge{Req: r.id, End: r.end}) // EdgeEnds follows
		p.edge.failed++
		p.edge.retry = now + edgeSilence
	}
}

// EdgeFailures is the number of requests that failed since one last succeeded.
func (p *Plan) EdgeFailures() int { return p.edge.failed }

// askEdge keeps the edge busy with what it should send now.
func (p *Plan) askEdge(now time.Duration) {
	alone := p.usablePeers(now) == 0
	free := alone || p.burst(now) || p.behind(now)
	p.measureEdge(now, free)
	if !p.yield.begun {
		p.top = best{period: p.top.period, start: now} // what counts is what peers and edge reach together
		p.top.see(now, p.fromAll.rate(now))
	}
	p.yield.step(now, rates{
		best: p.top.value(), total: p.fromAll.rate(now), p2p: p.fromP2P.rate(now), edge: p.edge.rate.rate(now),
	}, float64(p.cfg.PieceSize))
	p.reserve(now, alone && !p.early(now))
	for now >= p.edge.retry && p.running() < p.cfg.MaxEdge && !p.urgent() {
		if first, count := p.owned(now); count > 0 {
			p.request(now, first, count, WhyDuty)
			continue
		}
		if alone {
			if first, count := p.inOrder(); count > 0 && p.running() == 0 {
				p.request(now, first, count, WhyAlone)
			}
			return
		}
		if !free && (p.yield.pace < leastPace*p.top.value() || p.yield.tokens < float64(p.cfg.PieceSize)) {
			return
		}
		i := p.pickEdge(now, free)
		if i < 0 {
			return
		}
		count := p.runFrom(i, now)
		if !free {
			count = min(count, int(p.yield.tokens/float64(p.cfg.PieceSize)))
		}
		p.yield.tokens = max(0, p.yield.tokens-float64(count)*float64(p.cfg.PieceSize))
		p.request(now, i, count, p.why(now, i))
	}
}

func (p *Plan) running() int {
	n := 0
	for _, r := range p.edge.reqs {
		if r.why != WhyUrgent {
			n++
		}
	}
	return n
}

func (p *Plan) request(now time.Duration, first, count int, why Why) {
	id := p.edge.nextID
	p.edge.nextID++
	r := &edgeReq{id: id, began: now, next: first, claim: first, end: first + count, why: why}
	p.edge.reqs = append(p.edge.reqs, r)
	p.extend(r, max(1, int(maxRun/p.cfg.PieceSize)))
	p.do(AskEdge{Req: id, First: first, Count: count})
}

// extend reserves up to ahead pieces for r, and ends r where it would bring what
// is there or asked of somebody else.
func (p *Plan) extend(r *edgeReq, ahead int) {
	for r.claim < r.end && r.claim < r.next+ahead {
		if !p.open(r.claim) {
			r.end = r.claim
			p.do(TrimEdge{Req: r.id, End: r.end})
			return
		}
		p.asked[r.claim]++
		r.claim++
	}
}

// reserve moves the reservations of long requests along. With peers about, a
// request that runs on in file order ends with the piece in progress:
// everybody's would bring the same pieces. One that a reader has turned away
// from ends at once.
func (p *Plan) reserve(now time.Duration, alone bool) {
	ahead := max(2, int(p.edge.rate.rate(now)*2/float64(p.cfg.PieceSize)))
	for _, r := range p.edge.reqs {
		switch {
		case !p.Placed(): // the stream waits, as the plan does
		case p.deserted(r): // the reader has gone elsewhere
			p.cut(r, r.next)
		case r.why != WhyAlone:
		case alone:
			p.extend(r, ahead)
		case r.end > r.next+1:
			p.cut(r, r.next+1)
		}
	}
}

// cut ends r before piece end and gives back what it has reserved from there on.
func (p *Plan) cut(r *edgeReq, end int) {
	for ; r.claim > end; r.claim-- {
		p.asked[r.claim-1]--
	}
	r.end = end
	p.extend(r, end-r.next)
	p.do(TrimEdge{Req: r.id, End: end})
}

// withdraw takes piece i back from every peer it was asked of.
func (p *Plan) withdraw(i int) {
	for _, id := range p.turn {
		if p.peers[id].release(p, i) {
			p.do(CancelPeer{Peer: id, Piece: i})
		}
	}
}
