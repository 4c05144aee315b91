package sim

import (
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// scheduler is the plan of a member: of a download ([downloading]) or of who plays a
// stream ([viewer]). It knows its peers by the slots of their links, and the edge's
// answers by the numbers of its requests. Times are on its own clock. What arrives in a
// quantum counts from its beginning, so that rates come out right when the plan is asked
// at its end.
type scheduler interface {
	addPeer(now time.Duration, slot int32, p peerFacts)
	removePeer(slot int32)
	peerHas(slot int32, pieces []int)
	peerBytes(now time.Duration, slot, piece int32, n int64)
	peerPiece(slot, piece int32, ok bool) (isNew bool)
	peerLate(n int64)
	peerRejects(now time.Duration, slot, piece int32, missing bool, retry time.Duration)
	edgeBytes(now time.Duration, req int32, n int64)
	edgePiece(req, piece int32) (isNew bool)
	edgeEnds(now time.Duration, req int32, ok bool, retry time.Duration)
	// act does what the plan wants now.
	act(w *world, s *shard, m *member, id int32)
}

// peerFacts are what a plan is told of a peer.
type peerFacts struct {
	seed    uint64
	uploads bool
	rtt     time.Duration
	near    bool
}

// planTick is how often a plan is asked when nothing happens; the real driver does
// the same.
const planTick = 50 * time.Millisecond

// time is now on the clock of m's plan.
func (m *member) time(now time.Duration) time.Duration { return max(0, now-m.began) }

// meet adds the peer on a slot with what it has, or says it has.
func (w *world) meet(m *member, slot int32, pieces *[]int) {
	if m.plan == nil {
		return
	}
	l := &m.links[slot]
	p := &w.members[l.peer]
	h := &w.hosts[p.host]
	m.plan.addPeer(m.time(w.now), slot, peerFacts{
		seed: w.seedOf(p.host), uploads: h.uploads, rtt: time.Duration(float64(l.rtt) * float64(time.Second)),
		near: !w.cfg.Ablate.Locality && h.as != 0 && h.as == w.hosts[m.host].as,
	})
	m.due = true
	o := &w.objects[m.object]
	if o.stream == nil && (p.state == seeding || h.conduct == Liar) {
		l.cursor = w.logLen[l.peer]
		m.plan.peerHas(slot, o.all)
		return
	}
	l.cursor = 0
	*pieces = (*pieces)[:0]
	for _, e := range w.logs[l.peer] {
		if e.piece() >= m.known {
			break
		}
		l.cursor++
		*pieces = append(*pieces, e.piece())
	}
	m.plan.peerHas(slot, *pieces)
}

// part forgets the peer on a slot.
func (m *member) part(slot int32) {
	if m.plan != nil {
		m.plan.removePeer(slot)
		m.due = true
	}
}

// decide lets the members of a shard take in the news of their neighbours and
// decide what to do.
func (w *world) decide(s *shard) {
	keep := s.active[:0]
	for _, id := range s.active {
		m := &w.members[id]
		if m.state != starting && m.state != fetching {
			m.listed = false
			continue
		}
		keep = append(keep, id)
		if m.plan == nil {
			continue
		}
		if v, ok := m.plan.(*viewer); ok && v.play(w, m, id) {
			s.finished = append(s.finished, id)
		}
		w.hear(s, m)
		if m.due || w.q >= m.nextTick {
			m.due = false
			m.nextTick = w.q + max(1, w.quanta(planTick))
			s.tally.ticks++
			m.plan.act(w, s, m, id)
		}
	}
	s.active = keep
}

// hear takes in the pieces that the neighbours of m have announced.
func (w *world) hear(s *shard, m *member) {
	for slot := range m.links {
		l := &m.links[slot]
		if l.peer < 0 || w.logLen[l.peer] == l.cursor {
			continue
		}
		log := w.logs[l.peer]
		s.pieces = s.pieces[:0]
		for int(l.cursor) < len(log) && log[l.cursor].known(w.q, int32(l.delay)) && log[l.cursor].piece() < m.known {
			s.pieces = append(s.pieces, log[l.cursor].piece())
			l.cursor++
		}
		if len(s.pieces) > 0 {
			m.plan.peerHas(int32(slot), s.pieces)
			m.due = true
		}
	}
}

// askPeer sends a request for a piece to the peer on a slot.
func (w *world) askPeer(s *shard, m *member, id, slot, piece int32, u wire.Urgency) {
	l := &m.links[slot]
	if l.peer < 0 { // it was dropped for something else a moment ago
		return
	}
	w.tell(s, ask{kind: askPiece, member: l.peer, slot: l.back, from: id, piece: piece, at: w.q + int32(l.trip), urgency: u})
}

// cancelPeer withdraws one.
func (w *world) cancelPeer(s *shard, m *member, id, slot, piece int32) {
	l := &m.links[slot]
	if l.peer < 0 {
		return
	}
	at := w.q + int32(l.trip)
	m.cancelled = append(m.cancelled, cancelled{slot: slot, piece: piece, until: at})
	w.tell(s, ask{kind: askCancel, member: l.peer, slot: l.back, from: id, piece: piece, at: at})
}

// dropPeer ends the link on a slot.
func (w *world) dropPeer(s *shard, m *member, id, slot int32, reason string) {
	l := &m.links[slot]
	if l.peer < 0 {
		return
	}
	s.drops = append(s.drops, drop{by: id, peer: l.peer, reason: reason})
	w.tell(s, ask{kind: askClose, member: l.peer, slot: l.back, from: id})
	m.part(slot)
	w.unlink(m, slot)
}

// got gives m a whole piece from a peer and reports whether it was new.
func (w *world) got(m *member, n *news, ok bool) bool {
	m.due = true
	return m.plan.peerPiece(n.slot, n.piece, ok)
}

func (w *world) gotBytes(m *member, n *news) {
	m.plan.peerBytes(m.time(w.now), n.slot, n.piece, int64(n.n))
}

// rejected tells m that a peer does not serve a piece.
func (w *world) rejected(m *member, n *news) {
	m.due = true
	retry := time.Duration(n.n) * time.Millisecond
	m.plan.peerRejects(m.time(w.now), n.slot, n.piece, n.flags&newsMissing != 0, retry)
}

// edgeBytes and edgePiece give m what an edge has sent; before the plan is made
// that is the beginning of the object.
func (w *world) edgeBytes(m *member, f *edgeFlow, n int64) {
	if m.plan != nil {
		m.plan.edgeBytes(m.time(w.now), f.req, n)
	}
}

func (w *world) edgePiece(m *member, f *edgeFlow) bool {
	m.due = true
	if m.plan == nil {
		return !m.have.Has(int(f.piece))
	}
	return m.plan.edgePiece(f.req, f.piece)
}

func (w *world) edgeEnds(m *member, req int32, ok bool, retry time.Duration) {
	m.due = true
	if m.plan != nil {
		m.plan.edgeEnds(m.time(w.now), req, ok, retry)
	}
}

// edgeAsk is a request for the pieces from first up to end.
type edgeAsk struct {
	edge, req  int32
	first, end int32
	fresh      bool // on a connection of its own
}

// askEdge sends a request on an idle connection, or on a new one: a round trip
// each for TCP, TLS and the request.
func (w *world) askEdge(s *shard, m *member, id int32, a edgeAsk) {
	edge := a.edge
	rtt := w.edgeRTT(m.host, edge)
	f := edgeFlow{
		conn: conn{edge: edge, win: initialWindow}, req: a.req, pace: float32(math.Inf(1)),
		piece: a.first, end: a.end, stop: a.end,
		ready: w.q + w.quanta(3*rtt), rtt: float32(rtt.Seconds()),
	}
	for i, c := range slices.Backward(m.idle) { // the one used last is the fastest
		if c.edge == edge && !a.fresh {
			f.conn, f.ready = c, w.q+w.quanta(rtt)
			if w.q-c.last > w.reset {
				f.win = initialWindow
			}
			m.idle = append(m.idle[:i], m.idle[i+1:]...)
			break
		}
	}
	w.submit(s, m, id, f)
}

// trimEdge has a request end before piece end: at once, if it is there already. It
// reports whether it has ended.
func (w *world) trimEdge(s *shard, m *member, req, end int32) bool {
	for i := range m.edge {
		f := &m.edge[i]
		if f.req != req {
			continue
		}
		f.end = min(f.end, max(end, f.piece))
		if end > f.piece {
			return false
		}
		w.endEdge(s, m, i)
		return true
	}
	return false
}
