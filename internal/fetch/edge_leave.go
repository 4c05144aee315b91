package fetch

import "time"

const (
	// silence is how long a request may bring nothing where somebody else can, and
	// edgeSilence where nobody can: then it may yet answer, and is given more time
	// every time.
	silence     = 1500 * time.Millisecond
	edgeSilence = 4 * time.Second
	// hangTime is the silence from which a request does not count as one that runs.
	hangTime = 500 * time.Millisecond
	// slowShare is the part of the best other edge's pace below which an edge is
	// left, once it has had slowAfter to show what it can.
	slowShare = 0.25
	slowAfter = time.Second
	// leastRest is how long an edge is not asked after it failed, for the first time.
	leastRest = 250 * time.Millisecond
	// leftRest and soleRest are how long an edge is not asked after it was left, for
	// the first time, with others and without; longestRest bounds every rest.
	leftRest    = 5 * time.Second
	soleRest    = 500 * time.Millisecond
	longestRest = 2 * time.Minute
	// finishTime is how long the piece in progress may take to be worth waiting for.
	finishTime = time.Second
	// relieveFrom is how long a request must have to go to be shared with an edge
	// that has nothing to do.
	relieveFrom = 500 * time.Millisecond
)

// leaveEdges leaves requests that have fallen silent or slow while somebody else
// can take over.
func (p *Plan) leaveEdges(now time.Duration) {
	for _, r := range p.edge.reqs {
		switch {
		case r.next >= r.claim:
		case r.left && now < r.leftAt+finishTime: // its last piece is worth waiting for
		case r.left:
			p.release(r, r.next)
		case now-max(r.last, r.began) >= p.patience(now, r):
			r.srv.silent = true
			p.leave(now, r, true)
		case p.slow(now, r):
			p.leave(now, r, float64(p.pieceLen(r.next)-r.got) > p.pace(now, r.srv)*finishTime.Seconds())
		}
	}
}

// patience is how long r may be silent.
func (p *Plan) patience(now time.Duration, r *edgeReq) time.Duration {
	helped := p.avail[r.next] > 0
	for _, s := range p.edge.servers {
		helped = helped || s != r.srv && s.usable(now)
	}
	if helped {
		return min(max(silence, 4*r.srv.rtt), edgeSilence)
	}
	return edgeSilence << min(r.srv.strikes, 2)
}

// slow reports whether r is at a server that is far slower than another.
func (p *Plan) slow(now time.Duration, r *edgeReq) bool {
	if len(p.edge.servers) == 1 || r.paced || now-r.srv.busy < slowAfter {
		return false
	}
	pace := p.pace(now, r.srv)
	todo := float64(int64(r.claim-r.next)*p.cfg.PieceSize - r.got)
	return pace < slowShare*p.best(now, r.srv) && todo > pace*finishTime.Seconds()
}

// leave takes back what r has not brought and lets its server rest. The piece in
// progress may still come, on the old connection; hedge has it asked of somebody
// else too, and whoever is first ends the other.
func (p *Plan) leave(now time.Duration, r *edgeReq, hedge bool) {
	for _, old := range p.edge.reqs {
		if old.left && old.srv == r.srv {
			p.do(TrimEdge{Req: old.id, End: old.next}) // EdgeEnds follows
		}
	}
	keep := r.next + 1
	if hedge {
		keep = r.next
	}
	p.release(r, keep)
	r.left, r.leftAt, r.end = true, now, r.next+1
	p.do(TrimEdge{Req: r.id, End: r.end})
	s, rest := r.srv, soleRest
	if len(p.edge.servers) > 1 {
		rest = leftRest
	}
	s.rest = now + min(rest<<min(s.strikes, 6), longestRest)
	s.strikes++
	s.speed = 0
	p.edge.settle()
}

// outdone ends the requests that were left with piece i, which has come from
// somebody else.
func (p *Plan) outdone(i int) {
	for _, r := range p.edge.reqs {
		if r.left && r.next == i {
			p.do(TrimEdge{Req: r.id, End: i})
		}
	}
}

// relieve has a server that has nothing to do take over, when everything missing
// is asked for, a part of what another would bring last, such that both end
// together.
func (p *Plan) relieve(now time.Duration) {
	if len(p.edge.servers) == 1 || p.running(now) >= p.cfg.MaxEdge {
		return
	}
	late, eta := p.lastRequest(now)
	if late == nil || eta < relieveFrom {
		return
	}
	helper := p.place(now, p.cfg.PieceSize)
	if helper == nil || helper == late.srv {
		return
	}
	mine, theirs := p.pace(now, helper), p.pace(now, late.srv)
	if n, _ := p.edge.load(helper, 0); n > 0 || mine == 0 {
		return
	}
	if p.anyOpen() {
		return
	}
	keep := max(1, int(float64(late.claim-late.next)*theirs/(mine+theirs)))
	if first, end := late.next+keep, late.claim; first < end {
		p.cut(late, first)
		p.send(now, helper, first, end-first, WhyLast)
	}
}

// lastRequest is the request to an edge that would be done last, and when.
func (p *Plan) lastRequest(now time.Duration) (late *edgeReq, eta time.Duration) {
	for _, r := range p.edge.reqs {
		if r.left || r.claim <= r.next+1 {
			continue
		}
		_, bytes := p.edge.load(r.srv, p.cfg.PieceSize)
		if t := seconds(float64(bytes) / max(p.pace(now, r.srv), 1)); t > eta {
			late, eta = r, t
		}
	}
	return late, eta
}
