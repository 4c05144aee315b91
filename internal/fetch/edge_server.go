package fetch

import (
	"slices"
	"time"
)

// EdgeID names an edge within one Plan; 0 is the one that the download began
// with.
type EdgeID int

// EdgeInfo describes a further edge: a mirror (RFC 6249), or another address of
// the same name.
type EdgeInfo struct {
	RTT time.Duration // 0 is not known
}

const (
	// maxServers bounds the edges of a download.
	maxServers = 8
	// probeFrom is when servers nobody has measured begin to be tried, with
	// probeBytes each, as long as the download will last for probeLeft: a probe that
	// goes badly is made good long before the end.
	probeFrom  = 300 * time.Millisecond
	probeLeft  = 3 * time.Second
	probeBytes = 256 << 10
	// staleAfter is how long a measured speed counts as known.
	staleAfter = 30 * time.Second
	// turnTime is what a server is asked for at once where there are others, in
	// seconds of its pace.
	turnTime = 2.0
)

// server is one edge among several. What is asked of the edge is decided without
// regard to servers; which one is asked is decided here, by who would be done
// first.
type server struct {
	id   EdgeID
	rtt  time.Duration // from a request to its first byte, smoothed; 0 is not known
	rate *meter        // since requests run without pause
	// speed is the rate when it was last busy, in bytes per second, as of judged; 0
	// is not known.
	speed   float64
	judged  time.Duration
	busy    time.Duration // since when requests run, if any do
	failed  int           // requests in a row that ended badly
	strikes int           // times in a row that it was left
	rest    time.Duration // not asked before then
	silent  bool          // its connections seem dead
	gone    bool          // never to be asked again
}

func newServer(id EdgeID, info EdgeInfo) *server {
	return &server{id: id, rtt: info.RTT, rate: newMeter(time.Second, 10)}
}

// AddEdge admits an edge that has the same object. Its bytes are verified like
// all others; more than eight edges are ignored.
func (p *Plan) AddEdge(_ time.Duration, id EdgeID, info EdgeInfo) {
	if len(p.edge.servers) < maxServers && p.edge.server(id) == nil {
		p.edge.servers = append(p.edge.servers, newServer(id, info))
		p.edge.settle()
	}
}

// DropEdge makes the plan never ask an edge again: it has another object, or
// none. It reports whether any edge is left.
func (p *Plan) DropEdge(id EdgeID) bool {
	if s := p.edge.server(id); s != nil {
		s.gone = true
		p.edge.settle()
	}
	return slices.ContainsFunc(p.edge.servers, func(s *server) bool { return !s.gone })
}

// EdgeRTT is the time from a request to its first byte, and the rate in bytes
// per second, that an edge was last seen to have; 0 is not known.
func (p *Plan) EdgeRTT(id EdgeID) (rtt time.Duration, rate float64) {
	if s := p.edge.server(id); s != nil {
		return s.rtt, s.speed
	}
	return 0, 0
}

func (e *edgeState) server(id EdgeID) *server {
	for _, s := range e.servers {
		if s.id == id {
			return s
		}
	}
	return nil
}

// settle brings what is known of the servers together: the edge as a whole can be
// asked when one of them can.
func (e *edgeState) settle() {
	e.failed, e.retry = -1, never
	for _, s := range e.servers {
		if s.gone {
			continue
		}
		if e.failed < 0 || s.failed < e.failed {
			e.failed = s.failed
		}
		e.retry = min(e.retry, s.rest)
	}
	e.failed = max(e.failed, 0)
}

// never is later than any download lasts.
const never = time.Duration(1<<63 - 1)

// load is what runs at s: the number of requests, and the bytes claimed for them.
func (e *edgeState) load(s *server, piece int64) (requests int, bytes int64) {
	for _, r := range e.reqs {
		if r.srv == s && !r.left {
			requests++
			bytes += int64(r.claim-r.next)*piece - r.got
		}
	}
	return requests, max(bytes, 0)
}

// pace is what s gives or gave, in bytes per second; 0 is not known. What it gave
// before says more than the first moment of a new answer.
func (p *Plan) pace(now time.Duration, s *server) float64 {
	n, _ := p.edge.load(s, 0)
	if n == 0 || !s.rate.any || p.edge.heldBack(s) || s.speed > 0 && now-s.busy < measureEvery {
		return s.speed
	}
	return s.rate.rate(now)
}

// heldBack reports whether a request to s gives way to peers, so that it does not
// show what s gives.
func (e *edgeState) heldBack(s *server) bool {
	return slices.ContainsFunc(e.reqs, func(r *edgeReq) bool { return r.srv == s && r.paced })
}

// usable reports whether s can be asked now.
func (s *server) usable(now time.Duration) bool { return !s.gone && now >= s.rest }

// place returns the server that would be the first to have brought n more bytes,
// or nil when none can be asked. Those of unknown speed come last.
func (p *Plan) place(now time.Duration, n int64) *server {
	var found *server
	least := never
	for _, s := range p.edge.servers {
		if !s.usable(now) {
			continue
		}
		requests, queued := p.edge.load(s, p.cfg.PieceSize)
		eta := never - 2
		if pace := p.pace(now, s); pace > 0 {
			eta = s.rtt + seconds(float64(queued+n)/pace)
		} else if requests > 0 {
			eta = never - 1
		}
		if eta < least {
			found, least = s, eta
		}
	}
	return found
}

// probe returns a server whose speed is to be found out now, one at a time and
// never near the end.
func (p *Plan) probe(now time.Duration) *server {
	if len(p.edge.servers) == 1 || now < probeFrom || float64(p.left) < p.fromAll.rate(now)*probeLeft.Seconds() {
		return nil
	}
	if slices.ContainsFunc(p.edge.reqs, func(r *edgeReq) bool { return r.probe && !r.left }) {
		return nil
	}
	for _, s := range p.edge.servers {
		known := s.speed > 0 && now-s.judged < staleAfter
		if n, _ := p.edge.load(s, 0); n == 0 && !known && s.usable(now) {
			return s
		}
	}
	return nil
}

// answered takes in how long s took to begin its answer.
func (s *server) answered(took time.Duration) {
	if s.rtt == 0 {
		s.rtt = took
		return
	}
	s.rtt += (took - s.rtt) / 4
}

// judge takes in how fast s is while it is busy.
func (s *server) judge(now time.Duration) {
	r := s.rate.rate(now)
	if s.speed > 0 {
		r = (s.speed + r) / 2
	}
	s.speed, s.judged = r, now
}

// best is the greatest known pace of a usable server other than s.
func (p *Plan) best(now time.Duration, s *server) float64 {
	most := 0.0
	for _, o := range p.edge.servers {
		if o != s && o.usable(now) && (now-o.judged < staleAfter || o.rate.any) {
			most = max(most, p.pace(now, o))
		}
	}
	return most
}
