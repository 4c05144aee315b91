package stream

import (
	"slices"
	"time"
)

// edge is the server as a Plan sees it.
type edge struct {
	reqs   map[int]*edgeReq
	order  []*edgeReq // by number
	next   int
	pace   pace
	alone  pace          // while nothing was asked of peers
	seen   time.Duration // when that was measured last
	rtt    time.Duration // until the first byte; 0: not known
	until  time.Duration // it is not to be asked before
	pauses int
}

// edgeReq is a request to the edge: for the pieces from next up to end.
type edgeReq struct {
	id        int
	t         *ptrack
	s         *segment
	next, end int
	got       int64 // bytes of piece next
	duty      bool  // for the swarm
	due       time.Duration
	asked     time.Duration
	heard     time.Duration // of it, last; before the first byte: asked
	answered  bool
}

func newEdge() edge { return edge{reqs: map[int]*edgeReq{}} }

// queue is what is on its way, in bytes.
func (e *edge) queue() (n int64) {
	for _, r := range e.order {
		for i := r.next; i < r.end; i++ {
			n += r.s.pieceLen(i)
		}
		n -= r.got
	}
	return n
}

// urgent is when the last is due of what is on its way for players; false for nothing.
func (e *edge) urgent() (until time.Duration, any bool) {
	for _, r := range e.order {
		if !r.duty {
			until, any = max(until, r.due), true
		}
	}
	return until, any
}

// hurries reports whether something else comes that is due clearly before.
func (p *Plan) hurries(now time.Duration, z zoned) bool {
	return slices.ContainsFunc(p.edge.order, func(r *edgeReq) bool {
		return r.s != z.s && r.due+p.guard() < z.due && !r.silent(now, p.edge.rtt)
	})
}

// edgeTakes is how long n bytes more would take.
func (p *Plan) edgeTakes(n int64) time.Duration {
	rate := p.edge.pace.rate()
	if rate == 0 {
		rate = guess
	}
	return p.edge.rtt + seconds(float64(p.edge.queue()+n)/(edgeShare*rate))
}

// guard is what is kept between the estimate of an arrival and a deadline.
func (p *Plan) guard() time.Duration { return max(leastGuard, 2*p.edge.rtt) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// silent reports whether nothing is heard of a request for longer than is usual.
func (r *edgeReq) silent(now, rtt time.Duration) bool {
	return now-r.heard > max(leastSilence, 4*rtt)
}

// latest is the last moment at which the edge can be asked for what is missing of a
// segment and have it here in time.
func (p *Plan) latest(z zoned) time.Duration { return z.due - p.guard() - p.edgeTakes(z.s.open) }

// askUrgent asks the edge for what players wait for and peers will not bring in time.
func (p *Plan) askUrgent(now time.Duration, zone []zoned) {
	for _, z := range zone {
		if !p.edgeReady(now, z.s) || p.thin(z.s) {
			continue
		}
		latest := p.latest(z)
		p.askRuns(now, z, false, func(i int) bool { return p.isUrgent(now, z, i, latest) })
	}
}

// isUrgent reports whether a piece that nobody is asked for is to come from the edge now.
func (p *Plan) isUrgent(now time.Duration, z zoned, piece int, latest time.Duration) bool {
	c := &z.t.cells[piece]
	switch {
	case c.ask != nil: // hedge judges it
		return false
	case z.atOnce:
		return true
	case now >= latest && c.holders > 0:
		return true
	case c.holders > 0:
		return false
	}
	rank, alone := p.rank(z, piece)
	if rank == 0 {
		return z.s.readers > 0 || now >= latest
	}
	early := time.Duration(max(0, lastRank-rank)) * min(handoff, z.room/handoffPart)
	return !alone && now >= latest-early
}

// askDuty asks the edge for what this client owns, while it has nothing more urgent to
// bring.
func (p *Plan) askDuty(now time.Duration, zone []zoned) {
	if _, urgent := p.edge.urgent(); urgent || !p.cfg.Uploads {
		return
	}
	for _, z := range zone {
		if len(p.edge.order) >= maxDuty {
			return
		}
		if !p.edgeReady(now, z.s) || p.thin(z.s) {
			continue
		}
		p.askRuns(now, z, true, func(i int) bool {
			if c := &z.t.cells[i]; c.holders > 0 || c.ask != nil {
				return false
			}
			rank, alone := p.rank(z, i)
			return rank == 0 && !alone
		})
	}
}

// edgeReady reports whether the edge may be asked for pieces of a segment.
func (p *Plan) edgeReady(now time.Duration, s *segment) bool {
	return now >= p.edge.until && now >= s.edge && len(p.edge.order) < maxUrgent
}

// askRuns asks the edge for each run of the pieces of a segment that f picks of those
// that are missing and not asked of it.
func (p *Plan) askRuns(now time.Duration, z zoned, duty bool, f func(piece int) bool) {
	most := maxUrgent
	if duty {
		most = maxDuty
	}
	end := z.s.first + z.s.pieces
	for i := z.s.first; i < end && len(p.edge.order) < most; i++ {
		first := i
		for i < end && (!duty || i == first || (i-z.s.first)%stripe != 0) {
			if z.t.cells[i].have || p.edge.asked(z.t, i) != nil || !f(i) {
				break
			}
			i++
		}
		if i > first {
			p.askEdge(now, z, first, i, duty)
			i--
		}
	}
}

func (p *Plan) askEdge(now time.Duration, z zoned, first, end int, duty bool) {
	p.edge.next++
	r := &edgeReq{id: p.edge.next, t: z.t, s: z.s, next: first, end: end, duty: duty, due: z.due, asked: now, heard: now}
	p.busy(now)
	if len(p.edge.order) == 0 {
		p.edge.pace.begin(now)
		p.edge.alone.begin(now)
	}
	p.edge.reqs[r.id] = r
	p.edge.order = append(p.edge.order, r)
	p.do(AskEdge{Req: r.id, Track: z.t.id, Segment: z.s.no, First: first, Count: end - first})
}

// endIdle ends requests of which nothing is needed any more: players have gone elsewhere,
// or all has come from peers. What a player comes to yet is needed although less is to be
// fetched ahead by now.
func (p *Plan) endIdle(now time.Duration) {
	for _, r := range append([]*edgeReq(nil), p.edge.order...) {
		needed := false
		for i := r.next; i < r.end; i++ {
			needed = needed || !r.t.cells[i].have
		}
		from, to := p.ahead(now, r.t)
		if needed && (r.s.entered >= 0 || r.s.readers > 0 || to > 0 && r.s.Start >= from) {
			continue
		}
		p.wasted += r.got
		p.do(CancelEdge{Req: r.id})
		p.edge.drop(r)
	}
}

// drop forgets a request: what was still to come of it is asked of nobody.
func (e *edge) drop(r *edgeReq) {
	delete(e.reqs, r.id)
	for i, o := range e.order {
		if o == r {
			e.order = append(e.order[:i], e.order[i+1:]...)
			break
		}
	}
}

// asked is the request that a piece is still to come of; nil: there is none.
func (e *edge) asked(t *ptrack, piece int) *edgeReq {
	for _, r := range e.order {
		if r.t == t && r.next <= piece && piece < r.end {
			return r
		}
	}
	return nil
}

// EdgeBytes records n bytes in answer to a request.
func (p *Plan) EdgeBytes(now time.Duration, req int, n int64) {
	r := p.edge.reqs[req]
	p.edge.pace.add(now, n)
	if p.asked == 0 && (r == nil || r.answered) { // the way to the edge is not its rate
		p.edge.alone.add(now, n)
		p.edge.seen = now
	} else {
		p.edge.alone.begin(now)
	}
	p.all.add(now, n)
	if r == nil {
		p.wasted += n
		return
	}
	if !r.answered {
		r.answered = true
		took := now - r.asked
		if p.edge.rtt == 0 {
			p.edge.rtt = took
		}
		p.edge.rtt += (took - p.edge.rtt) / 8
	}
	r.heard = now
	r.got += n
}

// EdgePiece records a piece of a track that a request has brought. It reports whether it
// is new.
func (p *Plan) EdgePiece(req int, of TrackID, piece int) bool {
	r := p.edge.reqs[req]
	if r == nil {
		return p.got(p.tracks[of], piece)
	}
	r.next, r.got = piece+1, 0
	r.s.fails, p.edge.pauses = 0, 0
	return p.got(r.t, piece)
}

// Outcome is how a request to the edge ended.
type Outcome struct {
	OK    bool          // all came
	Gone  bool          // asking again will not help: the segment is gone, or another one
	Retry time.Duration // the time to wait that the server names
}

// EdgeEnds records that a request has ended.
func (p *Plan) EdgeEnds(now time.Duration, req int, o Outcome) {
	r := p.edge.reqs[req]
	if r == nil {
		return
	}
	p.edge.drop(r)
	p.wasted += r.got
	if o.OK {
		return
	}
	if r.s.gone = o.Gone; o.Gone {
		r.s.edge = now + mostPause
		return
	}
	p.failed(now, r, o.Retry)
}

// failed has the edge left alone for a moment.
func (p *Plan) failed(now time.Duration, r *edgeReq, retry time.Duration) {
	r.s.fails++
	most := mostPause
	if r.s.readers > 0 {
		most = readerPause
	}
	p.edge.until = now + max(retry, min(leastPause<<min(p.edge.pauses, 8), most))
	p.edge.pauses++
}

// Hopeless reports whether a segment cannot be had of anybody: neither of the edge nor, in
// whole, of peers.
func (p *Plan) Hopeless(of TrackID, seg int) bool {
	t := p.tracks[of]
	s := t.segs[seg]
	if !s.gone && s.fails < maxFails {
		return false
	}
	for i := s.first; i < s.first+s.pieces; i++ {
		if c := &t.cells[i]; !c.have && c.holders == 0 && p.edge.asked(t, i) == nil {
			return true
		}
	}
	return false
}
