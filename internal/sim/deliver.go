package sim

import (
	"math"
	"time"
)

// waitingReq is a request that an edge with a limit has yet to admit. run is the
// life of the member.
type waitingReq struct{ member, req, run int32 }

// retryAfter is what an edge that is full tells in its 503 responses.
const retryAfter = time.Second

// admit has the edges let in the requests that have arrived, as far as they have
// room, and refuse the others. It also sets the rates of the edges.
func (w *world) admit() {
	for i := range w.edges {
		w.edges[i].rate = w.rateOf(&w.edges[i])
	}
	for i := range w.shards {
		s := &w.shards[i]
		for k := range s.left {
			w.edges[k].running -= s.left[k]
			s.left[k] = 0
		}
	}
	for i := range w.shards {
		s := &w.shards[i]
		keep := s.waiting[:0]
		for _, r := range s.waiting {
			if w.waits(s, r) {
				keep = append(keep, r)
			}
		}
		s.waiting = keep
	}
}

// waits admits or refuses a request, or reports that it has not arrived yet.
func (w *world) waits(s *shard, r waitingReq) bool {
	m := &w.members[r.member]
	if m.runs != r.run {
		return false
	}
	for i := range m.edge {
		f := &m.edge[i]
		switch {
		case f.req != r.req:
			continue
		case f.ready > w.q:
			return true
		}
		e := &w.edges[f.edge]
		if e.running < e.Admits {
			e.running++
			f.admitted = true
			return false
		}
		f.stop = f.piece // a refusal is read to its end
		w.endEdge(s, m, i)
		if m.plan == nil {
			return false // the plan asks when it is made
		}
		w.edgeEnds(m, w.now, r.req, false, retryAfter)
		return false
	}
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
			limit := min(w.hosts[m.host].down, e.rate)
			c := cdnFlow{member: id, index: int32(i), edge: f.edge, dst: m.host, cap: rampCap(f.win, f.rtt, limit, w.sec)}
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
			w.hosts[m.host].downLost += left
			w.endEdge(s, m, int(c.index))
			w.edgeEnds(m, w.now+w.dt, req, true, 0)
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
			w.edgeBytes(m, w.now+w.dt, f, d)
		}
		if !whole {
			break
		}
		if w.edgePiece(m, f) {
			w.outcomes[id].FromEdge += o.pieceLen(f.piece)
			w.store(s, m, id, f.piece, false, 1-left/all)
		}
		f.piece++
		f.got, f.told = 0, 0
	}
	f.win += float32(all - left)
	return left
}

// store puts a verified piece into what m has; corrupt says that it is not right
// all the same, which is counted and carried on.
func (w *world) store(s *shard, m *member, id, piece int32, corrupt bool, part float64) {
	if !m.have.Set(int(piece)) {
		return
	}
	if corrupt {
		m.bad.Set(int(piece))
		s.tally.polluted += w.objects[m.object].pieceLen(piece)
	}
	m.count++
	m.log = append(m.log, entry{piece: piece, at: w.q + 1})
	w.logLen[id] = int32(len(m.log))
	m.doneAt = max(m.doneAt, w.now+time.Duration(part*float64(w.dt)))
	if m.count == w.objects[m.object].n {
		s.finished = append(s.finished, id)
	}
}

// receive gives the members of a shard what was sent to them.
func (w *world) receive(s *shard) {
	for i := range w.shards {
		box := w.shards[i].data[s.index]
		for k := range box {
			w.hearNews(s, &box[k])
		}
	}
	for i := range s.end - s.first {
		h := &w.hosts[s.first+i]
		if h.downLost > 0 && s.inStart[i+1]-s.inStart[i] > 1 {
			h.downLost = min(h.downLost, h.down*w.sec)
		} else {
			h.downLost = 0
		}
	}
}

func (w *world) hearNews(s *shard, n *news) {
	m := &w.members[n.member]
	if n.flags&newsMissing != 0 {
		if l := m.links[n.slot]; l.peer >= 0 && m.plan != nil {
			w.rejected(m, n.slot, n.piece, true, 0)
		}
		return
	}
	m.received += int64(n.n)
	w.hosts[m.host].downLost += float64(n.lost)
	if m.plan == nil || n.flags&newsWaste != 0 {
		return
	}
	w.gotBytes(m, w.now+w.dt, n.slot, n.piece, int64(n.n))
	if n.flags&newsDone == 0 {
		return
	}
	s.tally.transfers++
	corrupt := n.flags&newsCorrupt != 0
	if !w.got(m, n.slot, n.piece, !corrupt) {
		return
	}
	size := w.objects[m.object].pieceLen(n.piece)
	o := &w.outcomes[n.member]
	o.FromPeers += size
	if as := w.hosts[w.members[m.links[n.slot].peer].host].as; as != 0 && as == w.hosts[m.host].as {
		o.SameAS += size
	}
	w.store(s, m, n.member, n.piece, corrupt, float64(n.part)/255)
}
