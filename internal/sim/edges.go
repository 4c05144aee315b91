package sim

import (
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// waitingReq is a request that an edge with a limit has yet to admit. run is the
// life of the member; until is the quantum in which it is refused, 0 while it is
// on its way.
type waitingReq struct{ member, req, run, until int32 }

// What an edge that is full does: as many requests as it admits wait for waitTime,
// the others are refused with 503 and retryAfter, and at once who asks for the first
// bytes and can begin without them.
const (
	waitTime   = time.Second
	retryAfter = time.Second
)

// submit sends a request on its way to an edge.
func (w *world) submit(s *shard, m *member, id int32, f edgeFlow) {
	f.admitted = w.edges[f.edge].Admits == 0
	m.edge = append(m.edge, f)
	if !f.admitted {
		s.waiting = append(s.waiting, waitingReq{member: id, req: f.req, run: m.runs})
	}
}

// endEdge takes request i off m; its connection is kept if the answer was read
// to its end.
func (w *world) endEdge(s *shard, m *member, i int) {
	f := m.edge[i]
	m.edge = append(m.edge[:i], m.edge[i+1:]...)
	if f.admitted && w.edges[f.edge].Admits > 0 {
		s.left[f.edge]++
	}
	if f.piece >= f.stop {
		f.last = w.q
		m.idle = append(m.idle, f.conn)
	}
}

// admit has the edges let in the requests that have arrived, those that wait
// first, as far as they have room. It also sets the rates of the edges.
func (w *world) admit() {
	for i := range w.edges {
		w.edges[i].rate = w.rateOf(&w.edges[i])
		w.edges[i].waiting = 0
	}
	for i := range w.shards {
		s := &w.shards[i]
		for k := range s.left {
			w.edges[k].running -= s.left[k]
			s.left[k] = 0
		}
	}
	for _, early := range []bool{true, false} {
		for i := range w.shards {
			s := &w.shards[i]
			keep := s.waiting[:0]
			for _, r := range s.waiting {
				if r.until > 0 != early || w.waits(s, &r) {
					keep = append(keep, r)
				}
			}
			s.waiting = keep
		}
	}
}

// waits admits or refuses a request, or reports that it goes on waiting.
func (w *world) waits(s *shard, r *waitingReq) bool {
	m := &w.members[r.member]
	if m.runs != r.run {
		return false
	}
	i := slices.IndexFunc(m.edge, func(f edgeFlow) bool { return f.req == r.req })
	if i < 0 {
		return false
	}
	f := &m.edge[i]
	e, first := &w.edges[f.edge], r.req == 0 && !w.cfg.Alone
	switch {
	case f.ready > w.q:
		return true
	case e.running < e.Admits:
		e.running++
		f.admitted = true
		return false
	case r.until == 0 && e.waiting < e.Admits && !first:
		r.until = w.q + w.quanta(waitTime)
		e.waiting++
		return true
	case r.until > w.q:
		e.waiting++
		return true
	}
	f.stop = f.piece // a refusal is read to its end
	w.endEdge(s, m, i)
	w.edgeEnds(m, r.req, first, retryAfter)
	return false
}

// rateOf is what an edge gives now.
func (w *world) rateOf(e *edgeServer) float64 {
	for _, f := range e.Faults {
		if w.now >= f.From && w.now < f.To {
			return f.Rate * w.cfg.Efficiency
		}
	}
	if e.Rate == 0 {
		return math.Inf(1)
	}
	return e.Rate * w.cfg.Efficiency
}

// takeCDN collects the answers of edges that flow in this quantum.
func (w *world) takeCDN(s *shard) {
	for _, id := range s.active {
		m := &w.members[id]
		for i := range m.edge {
			f := &m.edge[i]
			if !f.admitted || f.ready > w.q {
				continue
			}
			e := &w.edges[f.edge]
			limit := min(w.down[m.host], e.rate)
			c := cdnFlow{member: id, index: int32(i), edge: f.edge, dst: m.host, cap: min(rampCap(f.win, f.rtt, limit, w.sec), float64(f.pace))}
			s.fromCDN = append(s.fromCDN, c)
			s.in[s.index] = append(s.in[s.index], inflow{dst: m.host, src: -1 - f.edge, cap: c.cap})
		}
	}
}

// sendCDN lets the answers of edges go on by one quantum, the last first since
// those that end leave the lists.
func (w *world) sendCDN(s *shard) {
	for i := len(s.fromCDN) - 1; i >= 0; i-- {
		c := &s.fromCDN[i]
		m := &w.members[c.member]
		f := &m.edge[c.index]
		all := min(c.cap, w.edges[c.edge].level, w.downLevel[c.dst]) * w.sec
		if left := w.stream(s, m, c.member, f, all); f.piece >= f.end {
			req := f.req
			s.cdnSpare[c.edge] += left
			w.downSpare[m.host] += left
			w.endEdge(s, m, int(c.index))
			w.edgeEnds(m, req, true, 0)
		}
	}
}

// stream gives m up to all bytes of an answer and returns what is left.
func (w *world) stream(s *shard, m *member, id int32, f *edgeFlow, all float64) float64 {
	o := &w.objects[m.object]
	left := all
	for f.piece < f.end && left > 0 {
		size := float64(o.pieceLen(f.piece))
		n := min(left, size-f.got)
		f.got += n
		left -= n
		whole := size-f.got < 0.5
		got := int32(f.got)
		if whole {
			got = int32(size)
		}
		if d := int64(got - f.told); d > 0 {
			f.told = got
			m.received += d
			s.tally.sentCDN(f.edge, m.object, d)
			if v, ok := m.plan.(*viewer); ok && int(f.piece)/o.perSeg != v.first {
				s.tally.segments[o.firstSeg+int(f.piece)/o.perSeg] += d
			}
			w.edgeBytes(m, f, d)
		}
		if !whole {
			break
		}
		if w.edgePiece(m, f) {
			w.outcomes[id].FromEdge += o.pieceLen(f.piece)
			w.store(s, m, id, f.piece, arrival{part: 1 - left/all, hop: 1})
		}
		f.piece++
		f.got, f.told = 0, 0
	}
	f.win += float32(all - left)
	return left
}

// arrival is how a piece has come.
type arrival struct {
	corrupt bool    // it is not right, although it verified: which is counted and carried on
	part    float64 // of the quantum that had gone by
	hop     uint8   // over how many hops
}

// store puts a verified piece into what m has.
func (w *world) store(s *shard, m *member, id, piece int32, a arrival) {
	if !m.have.Set(int(piece)) {
		return
	}
	if a.corrupt {
		if m.bad.Len() == 0 {
			m.bad = manifest.NewBitfield(w.objects[m.object].n)
		}
		m.bad.Set(int(piece))
		s.tally.polluted += w.objects[m.object].pieceLen(piece)
	}
	m.count++
	if w.logs[id] == nil {
		w.logs[id] = make([]entry, 0, w.objects[m.object].n)
	}
	w.logs[id] = append(w.logs[id], newEntry(piece, w.q+1))
	w.logLen[id]++
	at := w.now + time.Duration(a.part*float64(w.dt))
	m.doneAt = max(m.doneAt, at)
	if v, ok := m.plan.(*viewer); ok {
		w.hops[id][piece] = min(a.hop, maxHops)
		s.tally.hops.arrived(v, w.hops[id][piece], piece, at)
		return
	}
	if m.count == w.objects[m.object].n {
		s.finished = append(s.finished, id)
	}
}
