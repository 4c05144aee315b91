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
)

// edgeReq is one running request: pieces from next up to claim are reserved for
// it, those up to end follow unless somebody else has them by then.
type edgeReq struct {
	id               int
	began            time.Duration
	bytes            int64
	next, claim, end int
	got              int64 // bytes of piece next
	why              Why
}

// Why says what a request to the edge was for.
type Why uint8

// Reasons to ask the edge.
const (
	WhyAlone  Why = iota // nobody else could be asked
	WhyDuty              // this client owns the pieces
	WhyBehind            // the edge alone would have been faster so far
	WhyBackup            // the owner is slow
	WhyYield             // peers do not fill the downlink
	WhyUrgent            // a reader waits
	WhyLast              // it would have come last
	whys
)

var whyNames = [whys]string{"alone", "duty", "behind", "backup", "yield", "urgent", "last"}

// String is one word.
func (w Why) String() string { return whyNames[w] }

// EdgePieces counts the pieces the edge has brought, by what they were asked for.
func (p *Plan) EdgePieces() map[Why]int {
	out := map[Why]int{}
	for w, n := range p.edge.pieces {
		if n > 0 {
			out[Why(w)] = n
		}
	}
	return out
}

type edgeState struct {
	reqs   []*edgeReq
	nextID int
	pieces [whys]int // brought, by why they were asked for
	rate   *meter
	full   float64 // rate that the edge alone would give, bytes per second
	fullAt time.Duration
	// freeFrom is since when requests have run without pause and unpaced.
	freeFrom time.Duration
	// perReq is the rate of the last requests, each by itself, as of perReqAt.
	perReq   float64
	perReqAt time.Duration
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
		r.bytes += n
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

// learn takes in how fast a request went.
func (e *edgeState) learn(now time.Duration, r *edgeReq) {
	took := now - r.began
	if r.bytes == 0 || took <= 0 {
		return
	}
	rate := float64(r.bytes) / took.Seconds()
	if e.perReqAt == 0 || now-e.perReqAt > crowdedFor {
		e.perReq = rate
	}
	e.perReq += (rate - e.perReq) / 4
	e.perReqAt = now
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

// early reports whether others may be about to turn up: the download has just
// begun and will take long enough for a swarm. Clients that do not know of each
// other yet then do not all begin at the beginning.
func (p *Plan) early(now time.Duration) bool {
	if !p.cfg.Uploads || now < settleTime || now > burstTime {
		return false
	}
	return float64(p.cfg.Size) > p.fromAll.rate(now)*swarmTime.Seconds()
}

func (p *Plan) burst(now time.Duration) bool {
	return now < burstTime && p.edge.rate.total < burstBytes
}

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
	for now >= p.edge.retry && p.running() < p.cfg.MaxEdge {
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
// everybody's would bring the same pieces.
func (p *Plan) reserve(now time.Duration, alone bool) {
	ahead := max(2, int(p.edge.rate.rate(now)*2/float64(p.cfg.PieceSize)))
	for _, r := range p.edge.reqs {
		switch {
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

// owned returns a run of pieces that this client owns, that no neighbour has and
// nobody was asked for: those first in which it is the surest owner.
func (p *Plan) owned(now time.Duration) (first, count int) {
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
	if len(p.peers)+len(p.expected) == 0 && !p.early(now) {
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
// pieces are absent among the neighbours, the edge's capacity belongs to those
// and to their owners: without need this client waits; with need it takes what
// the owners come to last, first where it is the next to own. When nothing is
// absent it takes the rarest.
func (p *Plan) pickEdge(now time.Duration, free bool) int {
	found, foundRank, least, absent := -1, uint8(rankOther), float32(math.Inf(1)), false
	for i := range p.n {
		if p.have.Has(i) || p.avail[i] > 0 {
			continue
		}
		absent = true
		rank, _, owner := p.elect.of(i)
		if p.open(i) && (found < 0 || rank < foundRank || rank == foundRank && owner < least) {
			found, foundRank, least = i, rank, owner
		}
	}
	need := free || p.yield.pace > backupPace*p.top.value() && !p.crowded(now)
	switch {
	case !absent:
		return p.rarest(func(int) bool { return true })
	case !need:
		return -1
	case found < 0 && free:
		return p.rarest(func(int) bool { return true })
	}
	return found
}

// crowded reports whether the edge is what everybody waits for: requests to it
// have lately progressed far slower than this client takes in bytes. To ask it
// for more then only takes from those who fetch what nobody has.
func (p *Plan) crowded(now time.Duration) bool {
	e := &p.edge
	return e.perReqAt > 0 && now-e.perReqAt < crowdedFor && e.perReq*float64(p.cfg.MaxEdge) < p.top.value()/2
}

// why names the reason for asking for piece i beyond duty.
func (p *Plan) why(now time.Duration, i int) Why {
	switch rank, _, _ := p.elect.of(i); {
	case p.burst(now) || p.behind(now):
		return WhyBehind
	case p.avail[i] == 0 && rank == rankBackup:
		return WhyBackup
	default:
		return WhyYield
	}
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
