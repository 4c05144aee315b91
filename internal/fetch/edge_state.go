package fetch

import (
	"math"
	"slices"
	"time"
)

// edgeReq is one running request: pieces from next up to claim are reserved for
// it, those up to end follow unless somebody else has them by then.
type edgeReq struct {
	id               int
	srv              *server
	began            time.Duration
	last             time.Duration // last byte
	bytes            int64
	next, claim, end int
	got              int64 // bytes of piece next
	why              Why
	pace             float64 // bytes per second at which it is read, if paced
	paced            bool    // it was held back
	probe            bool    // to find out how fast srv is
	left             bool    // since leftAt: only the piece in progress may still come
	leftAt           time.Duration
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

// edgeState is the edge as a whole, which is several servers at times.
type edgeState struct {
	servers []*server
	reqs    []*edgeReq
	nextID  int
	pieces  [whys]int // brought, by why they were asked for
	rate    *meter
	// sooner is the bytes up to steadyFrom, which do not show the rate.
	sooner     int64
	steadyFrom time.Duration
	full       float64 // rate that the edge alone would give, bytes per second
	seenAt     time.Duration
	// freeFrom is since when requests have run without pause and unpaced.
	freeFrom time.Duration
	// perReq is the rate of the last requests, each by itself, which counts until
	// perReqTo, and while as much comes in all as perReqAll says that then came.
	perReq, perReqAll float64
	perReqTo          time.Duration
	all               float64       // what comes in all now, bytes per second
	failed            int           // of the server with the fewest failures
	retry             time.Duration // none is asked before then
}

func newEdgeState() edgeState {
	return edgeState{nextID: 1, rate: newMeter(2*time.Second, 20), servers: []*server{newServer(0, EdgeInfo{})}}
}

// add takes in n bytes.
func (e *edgeState) add(now time.Duration, n int64) {
	if e.rate.total == 0 {
		e.steadyFrom = now + bufferTime
	}
	e.rate.add(now, n)
	if now <= e.steadyFrom {
		e.sooner = e.rate.total
	}
}

func (e *edgeState) open(r edgeReq) {
	r.srv = e.servers[0]
	e.reqs = append(e.reqs, &r)
}

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

// yields reports whether r is to give way to peers.
func (r *edgeReq) yields() bool {
	return r.why == WhyBehind || r.why == WhyBackup || r.why == WhyYield
}

// rate is what r may bring, in bytes per second; +Inf: all that it can.
func (r *edgeReq) rate() float64 {
	if r.paced {
		return r.pace
	}
	return math.Inf(1)
}

// shows is the rate since the beginning, in bytes per second, without what came at
// once: that was waiting, or let through by a link that had been idle. In the first
// moments, when nothing else has come, it counts.
func (e *edgeState) shows(now time.Duration) float64 {
	since := now - e.steadyFrom
	if since < bufferTime/2 {
		return e.rate.rate(now)
	}
	return float64(e.rate.total-e.sooner) / since.Seconds()
}

// bufferTime is how long bytes come at first that were waiting.
const bufferTime = 100 * time.Millisecond

// roomShare is the part of what came in all from which the downlink has no more room
// than a request had that shared it.
const roomShare = 0.8

// learn takes in how fast a request went. The longer it took, the longer that is
// worth knowing: else many that wait would find out again and again.
func (e *edgeState) learn(now time.Duration, r *edgeReq) {
	took := now - r.began
	if r.bytes == 0 || took <= 0 || r.left || r.paced {
		return
	}
	rate := float64(r.bytes) / took.Seconds()
	if now > e.perReqTo {
		e.perReq = rate
	}
	e.perReq += (rate - e.perReq) / 4
	e.perReqAll = e.all
	e.perReqTo = now + min(max(leastKnown, 4*took), mostKnown)
}

// perRequest is the rate of a request by itself, in bytes per second, as those
// that run and those that have ended lately show; ok is false when none does.
func (e *edgeState) perRequest(now time.Duration) (rate float64, ok bool) {
	rate, ok = e.perReq, now <= e.perReqTo && e.all >= roomShare*e.perReqAll
	for _, r := range e.reqs {
		if age := now - r.began; age >= showsFrom && !r.left && !r.paced {
			live := float64(r.bytes) / age.Seconds()
			if !ok || live < rate {
				rate, ok = live, true
			}
		}
	}
	return rate, ok
}

// measureEdge learns what the edge alone would give, at moments when it is not
// paced: what it gives now or, if most of what arrives is from it, everything
// that arrives, since the peers then only take its place on the downlink.
func (p *Plan) measureEdge(now time.Duration) {
	e := &p.edge
	if !math.IsInf(p.pacer.pace, 1) || len(e.reqs) == 0 {
		e.freeFrom = now
	}
	r, all := e.rate.rate(now), p.fromAll.rate(now)
	if r > all/2 {
		r = all
	}
	gain := min(1, float64(now-e.seenAt)/float64(steadyTime)) // what a short while shows is not the mean
	e.seenAt = now
	switch {
	case now < measureFrom:
	case r > 1.1*e.full:
		e.full = r
	case r > e.full, r == all && now-e.freeFrom >= e.rate.window():
		e.full += (r - e.full) * gain
	}
}

// behind reports whether, going on as now, the download would end later than the
// edge alone would have ended it, or than it must. It is so until the edge's rate
// is known, except while it is worth waiting for a swarm.
func (p *Plan) behind(now time.Duration) bool {
	if p.cfg.Class == Background {
		return p.cfg.FinishBy > 0 && p.late(now, p.cfg.FinishBy*9/10) && (p.edge.full > 0 || now > p.cfg.FinishBy/2)
	}
	if p.edge.full == 0 {
		return !p.holding(now)
	}
	return p.late(now, seconds((1+p.cfg.Class.slack())*float64(p.cfg.Size)/p.edge.full)+guard)
}

// short reports whether the download is behind and the edge could mend it: where as
// much arrives as the edge alone would give, more of it only takes from the peers.
func (p *Plan) short(now time.Duration) bool {
	return p.behind(now) && (p.edge.full == 0 || p.fromAll.rate(now) < fullShare*p.edge.full)
}

// late reports whether the edge must begin at once to be done at until.
func (p *Plan) late(now, until time.Duration) bool {
	return float64(p.left-p.partial()) > p.edge.full*(until-now).Seconds()
}

// partial is the bytes of pieces that are on their way.
func (p *Plan) partial() int64 {
	n := p.begun
	for _, r := range p.edge.reqs {
		n += r.got
	}
	return n
}

// Late reports whether a download that ends now has taken longer than the edge
// alone would have, by all that was seen of it, and than its class allows.
func (p *Plan) Late(now time.Duration) bool {
	if p.cfg.Class == Background || p.edge.full == 0 {
		return p.cfg.FinishBy > 0 && now > p.cfg.FinishBy
	}
	return now > seconds((1+lateShare+p.cfg.Class.slack())*float64(p.cfg.Size)/p.edge.full)+2*guard
}

// early reports whether others may be about to turn up: the download has just
// begun and will take long enough for a swarm, and no reader waits. Clients that
// do not know of each other yet then do not all begin at the beginning.
func (p *Plan) early(now time.Duration) bool {
	if !p.cfg.Uploads || p.cfg.Window > 0 || now < settleTime || now > burstTime {
		return false
	}
	return float64(p.cfg.Size) > p.fromAll.rate(now)*swarmTime.Seconds()
}

// burst reports whether the download has just begun and nothing is paced.
func (p *Plan) burst(now time.Duration) bool {
	return p.cfg.Class != Background && now < burstTime && p.edge.rate.total < burstBytes && !p.holding(now)
}

// holding reports whether the download has just begun in a crowd and gives the
// swarm a moment: what all of a crowd ask of the edge at once comes late to each,
// and that moment is short against the time that the whole takes.
func (p *Plan) holding(now time.Duration) bool {
	if !p.cfg.Uploads || p.cfg.Window > 0 || p.reader >= 0 || now >= holdTime || p.company() < crowd {
		return false
	}
	rate := max(p.top.value(), p.fromAll.rate(now), 1) // holding makes it fall
	return now < seconds(holdShare*float64(p.cfg.Size)/rate)
}
