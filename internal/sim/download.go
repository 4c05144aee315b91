package sim

import (
	"math/rand/v2"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
)

// This file holds every dealing with package fetch.

// downloading is the plan of a download.
type downloading struct{ *fetch.Plan }

// newPlan makes the plan of a download that begins, or goes on, now. flow is the
// first response, if it goes on as the plan's request 0.
func (w *world) newPlan(m *member, id int32, flow *edgeFlow) {
	o, h := &w.objects[m.object], &w.hosts[m.host]
	c := fetch.Config{
		Size: o.size, PieceSize: o.piece, Have: m.have, Seed: w.seedOf(m.host), Uploads: h.uploads,
		Rand:   rand.New(rand.NewPCG(w.cfg.Seed, uint64(id)<<16|uint64(m.runs))),
		Class:  fetch.Class(w.cfg.Downloads[id].Class),
		Ablate: fetch.Ablation{Duty: w.cfg.Ablate.SeedDuty, Order: w.cfg.Ablate.InOrder, GiveWay: w.cfg.Ablate.GiveWay, Patient: w.cfg.Ablate.Stealing},
	}
	if by := w.cfg.Downloads[id].FinishBy; by > 0 {
		c.FinishBy = max(by-w.now, 1) // the plan counts from now
	}
	if flow != nil {
		c.StreamAt, c.StreamEnd = int(flow.piece), int(flow.end)
	}
	p := fetch.NewPlan(c)
	p.SetDuty(fetch.Duty(m.duty))
	for i := range w.edges[1:] {
		p.AddEdge(0, fetch.EdgeID(i+1), fetch.EdgeInfo{})
	}
	m.plan, m.began, m.due, m.nextTick, m.known = downloading{p}, w.now, true, 0, o.n
}

// expect tells of a neighbour that is being reached.
func (w *world) expect(m *member, peer int32) {
	if p := &w.members[peer]; w.hosts[p.host].uploads && p.state != seeding {
		d, ok := m.plan.(downloading)
		if !ok {
			return
		}
		d.Expect(m.time(w.now), w.seedOf(p.host))
		m.due = true
	}
}

func (d downloading) addPeer(now time.Duration, slot int32, p peerFacts) {
	d.AddPeer(now, fetch.PeerID(slot), fetch.PeerInfo{Seed: p.seed, Uploads: p.uploads, RTT: p.rtt, Near: p.near})
}

func (d downloading) removePeer(slot int32) { d.RemovePeer(fetch.PeerID(slot)) }

func (d downloading) peerHas(slot int32, pieces []int) { d.PeerHas(fetch.PeerID(slot), pieces...) }

func (d downloading) peerBytes(now time.Duration, slot, piece int32, n int64) {
	d.PeerBytes(now, fetch.PeerID(slot), int(piece), n)
}

func (d downloading) peerPiece(slot, piece int32, ok bool) bool {
	return d.PeerPiece(fetch.PeerID(slot), int(piece), ok)
}

func (d downloading) peerLate(n int64) { d.PeerLate(n) }

func (d downloading) peerRejects(now time.Duration, slot, piece int32, missing bool, retry time.Duration) {
	d.PeerRejects(now, fetch.PeerID(slot), int(piece), missing, retry)
}

func (d downloading) edgeBytes(now time.Duration, req int32, n int64) { d.EdgeBytes(now, int(req), n) }

func (d downloading) edgePiece(req, piece int32) bool { return d.EdgePiece(int(req), int(piece)) }

func (d downloading) edgeEnds(now time.Duration, req int32, ok bool, retry time.Duration) {
	d.EdgeEnds(now, int(req), ok, retry)
}

func (d downloading) act(w *world, s *shard, m *member, id int32) {
	for _, a := range d.Tick(m.time(w.now)) {
		switch a := a.(type) {
		case fetch.AskPeer:
			w.askPeer(s, m, id, int32(a.Peer), int32(a.Piece), a.Urgency)
		case fetch.CancelPeer:
			w.cancelPeer(s, m, id, int32(a.Peer), int32(a.Piece))
		case fetch.DropPeer:
			w.dropPeer(s, m, id, int32(a.Peer), a.Reason)
		case fetch.AskEdge:
			first := int32(a.First)
			w.askEdge(s, m, id, edgeAsk{edge: int32(a.Edge), req: int32(a.Req), first: first, end: first + int32(a.Count), fresh: a.Fresh})
		case fetch.TrimEdge:
			if w.trimEdge(s, m, int32(a.Req), int32(a.End)) {
				w.edgeEnds(m, int32(a.Req), true, 0)
			}
		case fetch.PaceEdge:
			m.paceEdge(a)
		}
	}
}

func (m *member) paceEdge(a fetch.PaceEdge) {
	for i := range m.edge {
		if f := &m.edge[i]; f.req == int32(a.Req) {
			f.pace = float32(a.Rate)
		}
	}
}
