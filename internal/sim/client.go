package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
)

// This file holds every dealing with package fetch. A member's plan knows its
// peers by the slots of their links. What arrives in a quantum counts from its
// beginning, so that rates come out right when the plan is asked at its end.

// planTick is how often a plan is asked when nothing happens; the real driver does
// the same.
const planTick = 50 * time.Millisecond

// newPlan makes the plan of a download that begins, or goes on, now. flow is the
// first response, if it goes on as the plan's request 0.
func (w *world) newPlan(m *member, id int32, flow *edgeFlow) {
	o, h := &w.objects[m.object], &w.hosts[m.host]
	c := fetch.Config{
		Size: o.size, PieceSize: o.piece, Have: m.have, Seed: w.seedOf(m.host), Uploads: h.uploads,
		Rand:   rand.New(rand.NewPCG(w.cfg.Seed, uint64(id)<<16|uint64(m.runs))),
		Class:  fetch.Class(w.cfg.Downloads[id].Class),
		Ablate: fetch.Ablation{Duty: w.cfg.Ablate.SeedDuty, Order: w.cfg.Ablate.InOrder, GiveWay: w.cfg.Ablate.GiveWay},
	}
	if by := w.cfg.Downloads[id].FinishBy; by > 0 {
		c.FinishBy = max(by-w.now, 1) // the plan counts from now
	}
	if flow != nil {
		c.StreamAt, c.StreamEnd = int(flow.piece), int(flow.end)
	}
	m.plan, m.began, m.due, m.nextTick = fetch.NewPlan(c), w.now, true, 0
	m.plan.SetDuty(fetch.Duty(m.duty))
	for i := range w.edges[1:] {
		m.plan.AddEdge(0, fetch.EdgeID(i+1), fetch.EdgeInfo{})
	}
}

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
	id := fetch.PeerID(slot)
	m.plan.AddPeer(m.time(w.now), id, fetch.PeerInfo{
		Seed: w.seedOf(p.host), Uploads: h.uploads, RTT: time.Duration(float64(l.rtt) * float64(time.Second)),
		Near: !w.cfg.Ablate.Locality && h.as != 0 && h.as == w.hosts[m.host].as,
	})
	m.due = true
	l.cursor = w.logLen[l.peer]
	if p.state == seeding || h.conduct == Liar {
		m.plan.PeerHas(id, w.objects[m.object].all...)
		return
	}
	*pieces = (*pieces)[:0]
	for _, e := range w.logs[l.peer] {
		*pieces = append(*pieces, e.piece())
	}
	m.plan.PeerHas(id, *pieces...)
}

// part forgets the peer on a slot.
func (m *member) part(slot int32) {
	if m.plan != nil {
		m.plan.RemovePeer(fetch.PeerID(slot))
		m.due = true
	}
}

// expect tells of a neighbour that is being reached.
func (w *world) expect(m *member, peer int32) {
	if p := &w.members[peer]; m.plan != nil && w.hosts[p.host].uploads && p.state != seeding {
		m.plan.Expect(m.time(w.now), w.seedOf(p.host))
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
		w.hear(s, m)
		if m.due || w.q >= m.nextTick {
			m.due = false
			m.nextTick = w.q + max(1, w.quanta(planTick))
			s.tally.ticks++
			w.act(s, m, id)
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
		for int(l.cursor) < len(log) && log[l.cursor].known(w.q, int32(l.delay)) {
			s.pieces = append(s.pieces, log[l.cursor].piece())
			l.cursor++
		}
		if len(s.pieces) > 0 {
			m.plan.PeerHas(fetch.PeerID(slot), s.pieces...)
			m.due = true
		}
	}
}

// act does what the plan of m wants.
func (w *world) act(s *shard, m *member, id int32) {
	for _, a := range m.plan.Tick(m.time(w.now)) {
		switch a := a.(type) {
		case fetch.AskPeer:
			l := &m.links[a.Peer]
			w.tell(s, ask{kind: askPiece, member: l.peer, slot: l.back, from: id, piece: int32(a.Piece), at: w.q + int32(l.trip), urgency: a.Urgency})
		case fetch.CancelPeer:
			if l := &m.links[a.Peer]; l.peer >= 0 {
				at := w.q + int32(l.trip)
				m.cancelled = append(m.cancelled, cancelled{slot: int32(a.Peer), piece: int32(a.Piece), until: at})
				w.tell(s, ask{kind: askCancel, member: l.peer, slot: l.back, from: id, piece: int32(a.Piece), at: at})
			}
		case fetch.DropPeer:
			if l := &m.links[a.Peer]; l.peer >= 0 {
				s.drops = append(s.drops, drop{by: id, peer: l.peer, reason: a.Reason})
				w.tell(s, ask{kind: askClose, member: l.peer, slot: l.back, from: id})
				m.part(int32(a.Peer))
				w.unlink(m, int32(a.Peer))
			}
		case fetch.AskEdge:
			w.askEdge(s, m, id, a)
		case fetch.TrimEdge:
			w.trimEdge(s, m, a)
		case fetch.PaceEdge:
			m.paceEdge(a)
		}
	}
}

// got gives m a whole piece from a peer and reports whether it was new.
func (w *world) got(m *member, n *news, ok bool) bool {
	m.due = true
	return m.plan.PeerPiece(fetch.PeerID(n.slot), int(n.piece), ok)
}

func (w *world) gotBytes(m *member, n *news) {
	m.plan.PeerBytes(m.time(w.now), fetch.PeerID(n.slot), int(n.piece), int64(n.n))
}

// rejected tells m that a peer does not serve a piece.
func (w *world) rejected(m *member, n *news) {
	m.due = true
	retry := time.Duration(n.n) * time.Millisecond
	m.plan.PeerRejects(m.time(w.now), fetch.PeerID(n.slot), int(n.piece), n.flags&newsMissing != 0, retry)
}

// edgeBytes and edgePiece give m what an edge has sent; before the plan is made
// that is the beginning of the object.
func (w *world) edgeBytes(m *member, f *edgeFlow, n int64) {
	if m.plan != nil {
		m.plan.EdgeBytes(m.time(w.now), int(f.req), n)
	}
}

func (w *world) edgePiece(m *member, f *edgeFlow) bool {
	m.due = true
	if m.plan == nil {
		return !m.have.Has(int(f.piece))
	}
	return m.plan.EdgePiece(int(f.req), int(f.piece))
}

func (w *world) edgeEnds(m *member, req int32, ok bool, retry time.Duration) {
	m.due = true
	if m.plan != nil {
		m.plan.EdgeEnds(m.time(w.now), int(req), ok, retry)
	}
}

// askEdge sends a request on an idle connection, or on a new one: a round trip
// each for TCP, TLS and the request.
func (w *world) askEdge(s *shard, m *member, id int32, a fetch.AskEdge) {
	edge := int32(a.Edge)
	rtt := w.edgeRTT(m.host, edge)
	f := edgeFlow{
		conn: conn{edge: edge, win: initialWindow}, req: int32(a.Req), pace: float32(math.Inf(1)),
		piece: int32(a.First), end: int32(a.First + a.Count), stop: int32(a.First + a.Count),
		ready: w.q + w.quanta(3*rtt), rtt: float32(rtt.Seconds()),
	}
	for i, c := range slices.Backward(m.idle) { // the one used last is the fastest
		if c.edge == edge && !a.Fresh {
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

func (m *member) paceEdge(a fetch.PaceEdge) {
	for i := range m.edge {
		if f := &m.edge[i]; f.req == int32(a.Req) {
			f.pace = float32(a.Rate)
		}
	}
}

func (w *world) trimEdge(s *shard, m *member, a fetch.TrimEdge) {
	for i := range m.edge {
		f := &m.edge[i]
		if f.req != int32(a.Req) {
			continue
		}
		f.end = min(f.end, max(int32(a.End), f.piece))
		if int32(a.End) <= f.piece {
			w.endEdge(s, m, i)
			w.edgeEnds(m, int32(a.Req), true, 0)
		}
		return
	}
}
