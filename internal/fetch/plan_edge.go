package fetch

import (
	"math"
	"slices"
	"time"
)

const (
	// burstBytes and burstTime end the opening, in which the edge's rate is
	// measured and nothing is paced.
	burstBytes = 1 << 20
	burstTime  = 1500 * time.Millisecond
	// maxRun bounds one edge request while peers take part, in bytes.
	maxRun = 8 << 20
	// prefetch is how many pieces ahead of a reader peers are asked in order.
	prefetch = 32
	// guard is the least time that a client keeps in hand against the edge alone.
	guard = 300 * time.Millisecond
	// leastPace is the deficit, of the best total rate, below which the edge is
	// not asked; backupPace the one from which others' duties are taken over.
	leastPace, backupPace = 0.1, 0.25
	// The edge's rate is measured from measureFrom on, at most every measureEvery.
	measureFrom  = 700 * time.Millisecond
	measureEvery = 500 * time.Millisecond
)

// edgeReq is one running request: pieces from next up to claim are reserved for
// it, those up to end follow unless somebody else has them by then.
type edgeReq struct {
	id               int
	next, claim, end int
	got              int64 // bytes of piece next
	urgent           bool
}

type edgeState struct {
	reqs   []*edgeReq
	nextID int
	rate   *meter
	full   float64 // rate that the edge alone would give, bytes per second
	fullAt time.Duration
	// freeFrom is since when requests have run without pause and unpaced.
	freeFrom time.Duration
	failed   int
	retry    time.Duration // not asked before then
	ttfb     time.Duration
}

func newEdgeState() edgeState {
	return edgeState{nextID: 1, rate: newMeter(2*time.Second, 20)}
}

func (e *edgeState) open(r edgeReq) { e.reqs = append(e.reqs, &r) }

func (e *edgeState) find(id int) *edgeReq {
	for _, r := range e.reqs {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (e *edgeState) remove(r *edgeReq) {
	e.reqs = slices.DeleteFunc(e.reqs, func(x *edgeReq) bool { return x == r })
}

// EdgeBytes records n bytes of edge request req, not yet verified.
func (p *Plan) EdgeBytes(now time.Duration, req int, n int64) {
	p.edge.rate.add(now, n)
	p.fromAll.add(now, n)
	if r := p.edge.find(req); r != nil {
		r.got += n
	}
}

// EdgePiece records that an edge request has brought a whole, verified piece; it
// reports whether the piece was new.
func (p *Plan) EdgePiece(req, piece int) bool {
	p.edge.failed = 0
	if r := p.edge.find(req); r != nil && r.next == piece {
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

// EdgeFailures is the number of requests that failed since one last succeeded.
func (p *Plan) EdgeFailures() int { return p.edge.failed }

// measureEdge learns what the edge alone would give, at moments when it is not
// paced: what it gives now or, if most of what arrives is from it, everything
// that arrives, since the peers then only take its place on the downlink.
func (p *Plan) measureEdge(now time.Duration, free bool) {
	e := &p.edge
	if !free || len(e.reqs) == 0 {
		e.freeFrom = now
	}
	r, all := e.rate.rate(now), p.fromAll.rate(now)
	if r > all/2 {
		r = all
	}
	switch {
	case now < measureFrom:
	case r > e.full:
		e.full = r
	case now-e.freeFrom >= e.rate.window() && now-e.fullAt >= measureEvery:
		e.fullAt = now
		e.full += (r - e.full) / 4
	}
}

// behind reports whether, going on as now, the download would end later than the
// edge alone would have ended it. It is so until the edge's rate is known.
func (p *Plan) behind(now time.Duration) bool {
	if p.edge.full == 0 {
		return true
	}
	until := seconds((1+p.cfg.Slack)*float64(p.cfg.Size)/p.edge.full) + guard
	return float64(p.left) > p.edge.full*(until-now).Seconds()
}

func (p *Plan) burst(now time.Duration) bool {
	return now < burstTime && p.edge.rate.total < burstBytes
}

// askEdge keeps the edge busy with what it should send now.
func (p *Plan) askEdge(now time.Duration) {
	alone := p.usablePeers(now) == 0
	free := alone || p.burst(now) || p.behind(now)
	p.measureEdge(now, free)
	p.yield.step(now, rates{
		best: p.top.value(), total: p.fromAll.rate(now), p2p: p.fromP2P.rate(now), edge: p.edge.rate.rate(now),
	}, float64(p.cfg.PieceSize))
	p.reserve(now, alone)
	for now >= p.edge.retry && p.running() < p.cfg.MaxEdge {
		if first, count := p.owned(); count > 0 {
			p.request(first, count, false)
			continue
		}
		if alone {
			if first, count := p.inOrder(); count > 0 && p.running() == 0 {
				p.request(first, count, false)
			}
			return
		}
		if !free && (p.yield.pace < leastPace*p.top.value() || p.yield.tokens < float64(p.cfg.PieceSize)) {
			return
		}
		i := p.pickEdge(free)
		if i < 0 {
			return
		}
		count := p.runFrom(i, now)
		if !free {
			count = min(count, int(p.yield.tokens/float64(p.cfg.PieceSize)))
		}
		p.yield.tokens = max(0, p.yield.tokens-float64(count)*float64(p.cfg.PieceSize))
		p.request(i, count, false)
	}
}

func (p *Plan) running() int {
	n := 0
	for _, r := range p.edge.reqs {
		if !r.urgent {
			n++
		}
	}
	return n
}

func (p *Plan) request(first, count int, urgent bool) {
	id := p.edge.nextID
	p.edge.nextID++
	r := &edgeReq{id: id, next: first, claim: first, end: first + count, urgent: urgent}
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
// request that runs on in file order ends at what it has reserved: everybody's
// would bring the same pieces.
func (p *Plan) reserve(now time.Duration, alone bool) {
	for _, r := range p.edge.reqs {
		if r.claim >= r.end {
			continue
		}
		ahead := max(2, int(p.edge.rate.rate(now)*2/float64(p.cfg.PieceSize)))
		if alone {
			p.extend(r, ahead)
			continue
		}
		if r.claim == r.next { // nothing reserved yet: finish the piece in progress
			p.extend(r, 1)
		}
		if r.claim < r.end {
			r.end = r.claim
			p.do(TrimEdge{Req: r.id, End: r.end})
		}
	}
}

// owned returns a run of pieces that this client owns, that no neighbour has and
// nobody was asked for: those first in which it is the surest owner.
func (p *Plan) owned() (first, count int) {
	bestScore := float32(math.Inf(-1))
	e := p.elect
	for s, rank := range e.rank {
		if rank != rankOwner || e.own[s] <= bestScore {
			continue
		}
		if f, c := p.absentRun(s*e.stripe, min((s+1)*e.stripe, p.n)); c > 0 {
			first, count, bestScore = f, c, e.own[s]
		}
	}
	if len(p.peers)+len(p.expected) == 0 {
		return 0, 0
	}
	return first, count
}

func (p *Plan) absentRun(from, to int) (first, count int) {
	for i := from; i < to; i++ {
		if !p.open(i) || p.avail[i] > 0 {
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
	return first, count
}

// pickEdge chooses a piece for the edge beyond this client's own duty. While
// pieces are absent among the neighbours, the edge's capacity belongs to those,
// and to their owners: this client takes only what it is the next to own, from
// the end that the owner comes to last. Without such, or (free) when it must
// not wait, the rarest.
func (p *Plan) pickEdge(free bool) int {
	found, least, absent := -1, float32(math.Inf(1)), false
	for i := range p.n {
		if p.have.Has(i) || p.avail[i] > 0 {
			continue
		}
		absent = true
		if rank, _, owner := p.elect.of(i); p.open(i) && rank == rankBackup && owner < least {
			found, least = i, owner
		}
	}
	if found >= 0 && (free || p.yield.pace > backupPace*p.top.value()) {
		return found
	}
	if absent && !free && p.yield.pace <= backupPace*p.top.value() {
		return -1
	}
	return p.rarest(func(int) bool { return true })
}

// runFrom is how many pieces from i on make one request that lasts about half a
// second: all missing, unasked, and as absent among the neighbours as i.
func (p *Plan) runFrom(i int, now time.Duration) int {
	most := max(1, int(min(p.edge.rate.rate(now)/2, maxRun)/float64(p.cfg.PieceSize)))
	count := 1
	for j := i + 1; j < p.n && count < most; j++ {
		if !p.open(j) || (p.avail[j] == 0) != (p.avail[i] == 0) {
			break
		}
		count++
	}
	return count
}

// inOrder returns the first run of missing pieces nobody was asked for.
func (p *Plan) inOrder() (first, count int) {
	from := max(p.reader, 0)
	for k := range p.n {
		i := (from + k) % p.n
		if !p.open(i) {
			if count > 0 {
				break
			}
			continue
		}
		if count > 0 && i != first+count {
			break
		}
		if count == 0 {
			first = i
		}
		count++
	}
	return first, count
}

// askUrgent fetches what a reader waits for, and a little ahead of it, from the
// edge, unless it is on its way already.
func (p *Plan) askUrgent(now time.Duration) {
	if p.reader < 0 || now < p.edge.retry {
		return
	}
	first, count := -1, 0
	ahead := 1 + int(p.edge.rate.rate(now)*0.3/float64(p.cfg.PieceSize))
	for i := p.reader; i < min(p.n, p.reader+min(ahead, 8)); i++ {
		if p.have.Has(i) || p.asked[i] > 0 && !p.lateFromPeer(now, i) {
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
	p.request(first, count, true)
}

// lateFromPeer reports whether piece i is asked of a peer that has not begun to
// send it and is unlikely to do so at once.
func (p *Plan) lateFromPeer(now time.Duration, i int) bool {
	for _, r := range p.edge.reqs {
		if i >= r.next && i < r.claim {
			return false
		}
	}
	for _, q := range p.peers {
		for _, a := range q.asks {
			if a.piece == i {
				return a.got == 0 && now-a.at > 2*q.info.RTT+50*time.Millisecond
			}
		}
	}
	return false
}

// withdraw takes piece i back from every peer it was asked of.
func (p *Plan) withdraw(i int) {
	for _, id := range p.turn {
		if p.peers[id].release(p, i) {
			p.do(CancelPeer{Peer: id, Piece: i})
		}
	}
}
