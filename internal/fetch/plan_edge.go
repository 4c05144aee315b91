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
	// holdTime and holdShare (of the time that the whole would take) bound how long a
	// download that begins in a crowd, of at least so many, waits for what it gives.
	holdTime  = 1500 * time.Millisecond
	holdShare = 0.05
	crowd     = 3
	// proveTime is how long the first response shows how fast the edge is, whoever
	// turns up meanwhile.
	proveTime = 300 * time.Millisecond
	// proveBytes is what nobody else is asked for of the first response, for the same.
	proveBytes = 256 << 10
	// cutTime is how long the piece in progress may take when a request that goes on
	// in file order is ended.
	cutTime = 200 * time.Millisecond
	// pathTime is how much of a response, in time, is on its way when it is ended.
	pathTime = 200 * time.Millisecond
	// fullShare is the part of what the edge alone would give from which a download
	// has all that its downlink takes.
	fullShare = 0.97
	// backgroundPatience is how long a background download goes without a new piece
	// before it asks the edge beyond its duty: peers may have nothing, or give nothing.
	backgroundPatience = 10 * time.Second
	// lateShare is the part of the edge's own time from which a download counts as
	// late.
	lateShare = 0.05
	// guard is the least time that a client keeps in hand against the edge alone.
	guard = 300 * time.Millisecond
	// leastPace is the deficit, of the best total rate, below which the edge is
	// not asked; backupPace the one from which others' duties are taken over.
	leastPace, backupPace = 0.1, 0.25
	// leastKnown and mostKnown bound how long the pace of past requests says
	// something of the edge; one that runs says it after showsFrom.
	leastKnown, mostKnown = 3 * time.Second, time.Minute
	showsFrom             = 250 * time.Millisecond
	// The edge's rate is measured from measureFrom on, a server's every measureEvery.
	measureFrom  = 700 * time.Millisecond
	measureEvery = 500 * time.Millisecond
	// steadyTime is how long a greater rate must last to be believed.
	steadyTime = 4 * time.Second
)

// EdgeBytes records n bytes of edge request req, not yet verified.
func (p *Plan) EdgeBytes(now time.Duration, req int, n int64) {
	p.edge.add(now, n)
	p.fromAll.add(now, n)
	p.instant.add(now, n)
	r := p.edge.find(req)
	if r == nil {
		return
	}
	if r.bytes == 0 && r.id > 0 {
		r.srv.answered(now - r.began)
	}
	r.got += n
	r.bytes += n
	r.last = now
	r.srv.rate.add(now, n)
	if now-max(r.srv.judged, r.srv.busy) >= measureEvery && !p.edge.heldBack(r.srv) {
		r.srv.judge(now)
	}
}

// EdgePiece records that an edge request has brought a whole, verified piece; it
// reports whether the piece was new.
func (p *Plan) EdgePiece(req, piece int) bool {
	r := p.edge.find(req)
	if r != nil {
		r.srv.failed = 0
		p.edge.settle()
	}
	if r != nil && r.next == piece {
		p.edge.pieces[r.why]++
		if r.next < r.claim {
			p.unask(piece)
		} else {
			r.claim = piece + 1
		}
		r.next, r.got = piece+1, max(0, r.got-p.pieceLen(piece)) // some of the next may have come
	}
	return p.got(piece)
}

// EdgeEnds records the end of a request. When it failed, its edge is left alone
// for retry, or longer every time when that is 0; with jitter, since it may have
// failed because there were many.
func (p *Plan) EdgeEnds(now time.Duration, req int, ok bool, retry time.Duration) {
	r := p.edge.find(req)
	if r == nil {
		return
	}
	p.edge.learn(now, r)
	p.wasted += r.got
	for i := r.next; i < r.claim; i++ {
		p.unask(i)
	}
	p.edge.remove(r)
	if r.id == 0 && ok && p.company() > 0 {
		p.edge.full = max(p.edge.full, p.edge.shows(now)) // it is not asked like this again
	}
	s := r.srv
	if r.bytes > 0 && !r.left && !r.paced {
		s.judge(now)
	}
	switch {
	case r.left: // it was judged then
	case ok:
		s.strikes = 0
	default:
		s.failed++
		back := min(retry, longestRest)
		if retry <= 0 { // it does not say
			back = leastRest << min(s.failed, 5)
		}
		s.rest = now + back + time.Duration(p.cfg.Rand.Int64N(int64(back)/2+1))
	}
	p.edge.settle()
}

// EdgeFailures is the number of requests that failed since one last succeeded.
func (p *Plan) EdgeFailures() int { return p.edge.failed }

// askEdge keeps the edge busy with what it should send now.
func (p *Plan) askEdge(now time.Duration) {
	alone := p.company() == 0
	short := p.short(now)
	stuck := p.cfg.Class == Background && now-p.fresh.at >= backgroundPatience
	free := alone || p.cfg.Ablate.GiveWay || p.burst(now) && !p.contended(now) || stuck || short && p.edge.full == 0
	p.edge.all = p.instant.rate(now)
	p.measureEdge(now)
	p.pacer.step(now, rates{total: p.fromAll.rate(now), p2p: p.quick.rate(now), edge: p.edge.rate.rate(now), fair: p.fair(now), sum: p.fromAll.total}, p.behind(now) || p.ending(now))
	if free || short && !p.elastic(now) {
		p.pacer.hurry(now)
	}
	p.reserve(now, alone && !p.early(now))
	defer p.govern()
	for now >= p.edge.retry && p.running(now) < p.most(now, alone) && !p.urgent() {
		if first, count := p.owned(now); count > 0 {
			p.request(now, first, count, WhyDuty)
			continue
		}
		if alone {
			if !p.askAlone(now) {
				return
			}
			continue
		}
		if p.cfg.Class == Background && !free && !short || p.holding(now) {
			return // it takes what peers have, in its time
		}
		if p.pacer.pace < leastPace*p.pacer.full {
			return
		}
		i := p.pickEdge(now, free || short || p.elastic(now))
		if i < 0 {
			return
		}
		count := p.runFrom(i, now)
		p.request(now, i, count, p.why(now, i))
	}
}

// request asks the server that will be done first, or one that is to be probed,
// for up to count pieces from first on.
func (p *Plan) request(now time.Duration, first, count int, why Why) {
	s := p.place(now, int64(count)*p.cfg.PieceSize)
	if len(p.edge.servers) > 1 {
		count = min(count, p.pieces(turnTime*max(p.pace(now, s), probeBytes)))
	}
	if probed := p.probe(now); probed != nil && why != WhyUrgent {
		count = min(count, p.pieces(probeBytes))
		p.send(now, probed, first, count, why).probe = true
		return
	}
	p.send(now, s, first, count, why)
}

// send asks s for count pieces from first on, which nobody else is asked for.
func (p *Plan) send(now time.Duration, s *server, first, count int, why Why) *edgeReq {
	r := p.begin(now, s, edgeReq{next: first, claim: first, end: first + count, why: why})
	p.extend(r, p.ahead(now, r))
	return r
}

// begin starts a request to s.
func (p *Plan) begin(now time.Duration, s *server, r edgeReq) *edgeReq {
	if n, _ := p.edge.load(s, 0); n == 0 {
		s.busy, s.rate = now, newMeter(s.rate.window(), len(s.rate.slots))
	}
	r.id, r.srv, r.began = p.edge.nextID, s, now
	p.edge.nextID++
	p.edge.reqs = append(p.edge.reqs, &r)
	p.do(AskEdge{Edge: s.id, Req: r.id, First: r.next, Count: r.end - r.next, Fresh: s.silent})
	s.silent = false
	return &r
}

// pieces is how many pieces have about so many bytes, at least one.
func (p *Plan) pieces(bytes float64) int { return max(1, int(bytes/float64(p.cfg.PieceSize))) }

// askAlone asks for what comes next in the file. Where there are several servers
// two are asked at once, so that one that fails is not missed: the second works
// from the end towards the first. It reports whether it has asked.
func (p *Plan) askAlone(now time.Duration) bool {
	if p.cfg.Need != nil {
		return p.askGaps(now)
	}
	if p.running(now) == 0 {
		first, count := p.inOrder()
		if count > 0 {
			p.send(now, p.place(now, p.cfg.PieceSize), first, count, WhyAlone)
		}
		return count > 0
	}
	if len(p.edge.servers) == 1 {
		return false
	}
	end, count, all := p.lastRun()
	if all == 0 {
		return false
	}
	if s := p.probe(now); s != nil {
		n := min(count, p.pieces(probeBytes))
		p.send(now, s, end-n, n, WhyAlone).probe = true
		return true
	}
	s, share := p.second(now, all)
	if s == nil {
		return false
	}
	share = min(share, count)
	p.send(now, s, end-share, share, WhyAlone)
	return true
}

// askGaps asks for what older versions lack of the next pieces that are missing. It
// reserves all that it asks for: requests run side by side, and none runs into
// another.
func (p *Plan) askGaps(now time.Duration) bool {
	first, most := p.inOrder()
	if most == 0 {
		return false
	}
	count, bytes := 1, p.pieceLen(first)
	for count < most && bytes+p.pieceLen(first+count) <= gapBytes {
		bytes += p.pieceLen(first + count)
		count++
	}
	r := p.begin(now, p.place(now, bytes), edgeReq{next: first, claim: first, end: first + count, why: WhyAlone})
	p.extend(r, count)
	return true
}

// lastRun returns the end and the length of the last run of missing pieces nobody
// was asked for, and how many there are in all.
func (p *Plan) lastRun() (end, count, all int) {
	for i := p.n - 1; i >= 0; i-- {
		if !p.open(i) {
			continue
		}
		if all++; all == 1 {
			end = i + 1
		}
		if i == end-count-1 {
			count++
		}
	}
	return end, count, all
}

// second chooses a server that is idle to be asked beside those that are not, and
// how many of so many missing pieces it can bring meanwhile.
func (p *Plan) second(now time.Duration, pieces int) (s *server, share int) {
	var most, busy float64
	for _, o := range p.edge.servers {
		pace := p.pace(now, o)
		if n, _ := p.edge.load(o, 0); n > 0 {
			busy += pace
		} else if o.usable(now) && pace > most {
			s, most = o, pace
		}
	}
	if s == nil || most < slowShare*busy {
		return nil, 0
	}
	return s, max(1, int(float64(pieces)*most/(busy+most)))
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
		p.ask(r.claim)
		r.claim++
	}
}

// reserve moves the reservations of long requests along. With peers about, a
// request that runs on in file order ends with the piece in progress:
// everybody's would bring the same pieces. One that a reader has turned away
// from ends at once.
func (p *Plan) reserve(now time.Duration, alone bool) {
	for _, r := range p.edge.reqs {
		switch {
		case r.left:
		case !p.Placed(): // the stream waits, as the plan does
		case p.deserted(r): // the reader has gone elsewhere
			p.cut(r, r.next)
		case r.why == WhyBehind && r.end > r.next+1 && p.contended(now):
			p.cut(r, r.next+p.finish(now, r)) // others wait for what the edge gives it
		case r.why == WhyDuty && r.began < burstTime && now < 2*burstTime:
			p.concede(now, r)
		case r.why != WhyAlone:
		case alone || r.id == 0 && p.company() > 0 && (now < proveTime || p.soonOver(now, r)):
			p.extend(r, p.ahead(now, r))
		case r.end > r.next+1:
			p.edge.full = max(p.edge.full, p.edge.shows(now)) // it is not asked like this again
			p.cut(r, r.next+p.finish(now, r))
		}
	}
}

// concede ends a request for what this client took for its duty when it knew but few
// of those who began with it: others fetch it as theirs.
func (p *Plan) concede(now time.Duration, r *edgeReq) {
	end := r.next + p.finish(now, r)
	for end < r.end && p.elect.owns(end/p.elect.stripe) {
		end++
	}
	if end < r.end {
		p.cut(r, end)
	}
}

// finish is 1 when the piece in progress of r is worth waiting for, else 0: those in
// company are at the same one.
func (p *Plan) finish(now time.Duration, r *edgeReq) int {
	rest := seconds(float64(p.pieceLen(r.next)-r.got) / max(p.edge.rate.rate(now), 1))
	if r.got < p.cfg.PieceSize/2 && rest > cutTime && p.company() > 0 {
		return 0
	}
	return 1
}

// soonOver reports whether r brings its last bytes before those would have come that
// are on their way when it is ended.
func (p *Plan) soonOver(now time.Duration, r *edgeReq) bool {
	rest := float64(int64(r.end-r.next)*p.cfg.PieceSize - r.got)
	return !p.contended(now) && rest < p.edge.rate.rate(now)*pathTime.Seconds()
}

// ahead is how many pieces are reserved for r beyond those that it has brought: all
// of a short one, a few seconds of one that runs on.
func (p *Plan) ahead(now time.Duration, r *edgeReq) int {
	switch {
	case r.why != WhyAlone:
		return p.pieces(maxRun)
	case len(p.edge.servers) > 1:
		return max(2, p.pieces(p.pace(now, r.srv)))
	}
	return max(2, p.pieces(2*p.edge.rate.rate(now)))
}

// release gives back what r has reserved from piece end on.
func (p *Plan) release(r *edgeReq, end int) {
	for ; r.claim > end; r.claim-- {
		p.unask(r.claim - 1)
	}
}

// cut ends r before piece end and gives back what it has reserved from there on.
func (p *Plan) cut(r *edgeReq, end int) {
	p.release(r, end)
	r.end = end
	p.extend(r, end-r.next)
	p.do(TrimEdge{Req: r.id, End: end})
}

// withdraw takes piece i back from every peer it was asked of.
func (p *Plan) withdraw(i int) {
	for _, q := range p.turn {
		had := p.begun
		if q.release(p, i) {
			p.wasted += had - p.begun
			p.do(CancelPeer{Peer: q.id, Piece: i})
		}
	}
}
