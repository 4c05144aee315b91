package fetch

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// planModel drives a Plan with events in any order, as a hostile world would,
// and keeps its own account of what was asked of whom.
type planModel struct {
	p     *Plan
	now   time.Duration
	peers map[PeerID]map[int]bool // what each peer is asked for
	edge  map[int][2]int          // piece in progress and end of running requests
	next  PeerID
	edges map[EdgeID]bool // false: dropped
}

func newPlanModel(t *rapid.T) *planModel {
	pieces := rapid.IntRange(1, 40).Draw(t, "pieces")
	size := int64(pieces-1)*manifest.MinPieceSize + rapid.Int64Range(1, manifest.MinPieceSize).Draw(t, "tail")
	m := &planModel{peers: map[PeerID]map[int]bool{}, edge: map[int][2]int{}, edges: map[EdgeID]bool{0: true}}
	cfg := Config{
		Size: size, PieceSize: manifest.MinPieceSize, Have: manifest.NewBitfield(pieces),
		Seed: 1, Uploads: rapid.Bool().Draw(t, "uploads"), StreamEnd: rapid.IntRange(0, pieces).Draw(t, "streamed"),
		Rand: rand.New(rand.NewPCG(1, 2)),
	}
	if rapid.Bool().Draw(t, "reader") {
		cfg.Window = 8 * manifest.MinPieceSize
	}
	m.p = NewPlan(cfg)
	if cfg.StreamEnd > 0 {
		m.edge[0] = [2]int{0, cfg.StreamEnd}
	}
	if cfg.Window > 0 {
		m.p.SetReader(0)
	}
	return m
}

// tick applies what the plan wants.
func (m *planModel) tick(t *rapid.T) {
	for _, a := range m.p.Tick(m.now) {
		switch a := a.(type) {
		case AskPeer:
			if m.peers[a.Peer] == nil {
				t.Fatalf("asks peer %d, who is gone", a.Peer)
			}
			if m.peers[a.Peer][a.Piece] {
				t.Fatalf("asks peer %d for piece %d twice", a.Peer, a.Piece)
			}
			if m.p.have.Has(a.Piece) {
				t.Fatalf("asks for piece %d, which is there", a.Piece)
			}
			m.peers[a.Peer][a.Piece] = true
		case CancelPeer:
			delete(m.peers[a.Peer], a.Piece)
		case DropPeer:
			m.p.RemovePeer(a.Peer)
			delete(m.peers, a.Peer)
		case AskEdge:
			if _, running := m.edge[a.Req]; running || a.Count < 1 || a.First+a.Count > m.p.n {
				t.Fatalf("bad edge request %+v", a)
			}
			if !m.edges[a.Edge] {
				t.Fatalf("asks edge %d, which is gone or never was", a.Edge)
			}
			m.edge[a.Req] = [2]int{a.First, a.First + a.Count}
		case TrimEdge:
			if e, ok := m.edge[a.Req]; ok {
				m.edge[a.Req] = [2]int{e[0], min(e[1], a.End)}
				m.endTrimmed(a.Req)
			}
		}
	}
}

func (m *planModel) endTrimmed(req int) {
	if e := m.edge[req]; e[0] >= e[1] {
		delete(m.edge, req)
		m.p.EdgeEnds(m.now, req, true, 0)
	}
}

// check compares the plan's books with the model's.
func (m *planModel) check(t *rapid.T) {
	asked := make([]int, m.p.n)
	var out int64
	for id, pieces := range m.peers {
		if got := len(m.p.peers[id].asks); got != len(pieces) {
			t.Fatalf("peer %d: plan has %d requests, world %d", id, got, len(pieces))
		}
		for i := range pieces {
			asked[i]++
		}
		if m.p.peers[id].out < 0 {
			t.Fatalf("peer %d: %d bytes outstanding", id, m.p.peers[id].out)
		}
		out += m.p.peers[id].out
	}
	if out != m.p.inAsk {
		t.Fatalf("%d bytes asked of peers, the plan counts %d", out, m.p.inAsk)
	}
	for _, r := range m.p.edge.reqs {
		for i := r.next; i < r.claim; i++ {
			asked[i]++
		}
	}
	var left int64
	for i := range m.p.n {
		if !m.p.have.Has(i) {
			left += m.p.pieceLen(i)
		}
		if m.p.todo.has(i) != (asked[i] == 0 && !m.p.have.Has(i)) {
			t.Fatalf("piece %d: asked of %d, open %v", i, asked[i], m.p.todo.has(i))
		}
		if int(m.p.asked[i]) != asked[i] {
			t.Fatalf("piece %d is asked of %d sources, the plan counts %d", i, asked[i], m.p.asked[i])
		}
	}
	if left != m.p.left {
		t.Fatalf("%d bytes missing, the plan counts %d", left, m.p.left)
	}
}

func (m *planModel) anyPeer(t *rapid.T) (PeerID, bool) {
	ids := make([]PeerID, 0, len(m.peers))
	for id := range m.next {
		if m.peers[id] != nil {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return 0, false
	}
	return rapid.SampledFrom(ids).Draw(t, "peer"), true
}

func (m *planModel) anyAsk(t *rapid.T) (PeerID, int, bool) {
	id, ok := m.anyPeer(t)
	if !ok {
		return 0, 0, false
	}
	for i := range m.p.n {
		if m.peers[id][i] {
			return id, i, true
		}
	}
	return 0, 0, false
}

func (m *planModel) anyEdge() (int, bool) {
	least, found := 0, false
	for id := range m.edge {
		if !found || id < least {
			least, found = id, true
		}
	}
	return least, found
}

// edgePiece delivers the piece in progress of a running edge request.
func (m *planModel) edgePiece(t *rapid.T) {
	req, ok := m.anyEdge()
	if !ok {
		return
	}
	e := m.edge[req]
	m.p.EdgeBytes(m.now, req, m.p.pieceLen(e[0]))
	m.p.EdgePiece(req, e[0])
	m.edge[req] = [2]int{e[0] + 1, e[1]}
	m.tick(t)
	if _, ok := m.edge[req]; ok {
		m.endTrimmed(req)
	}
}

func (m *planModel) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"": m.check,
		"add": func(t *rapid.T) {
			if len(m.peers) < 6 {
				m.p.AddPeer(m.now, m.next, PeerInfo{Seed: uint64(m.next) * 77, Uploads: rapid.Bool().Draw(t, "uploads")})
				m.peers[m.next] = map[int]bool{}
				m.next++
			}
		},
		"expect": func(t *rapid.T) { m.p.Expect(m.now, rapid.Uint64Range(0, 9).Draw(t, "seed")*77) },
		"remove": func(t *rapid.T) {
			if id, ok := m.anyPeer(t); ok {
				m.p.RemovePeer(id)
				delete(m.peers, id)
			}
		},
		"has": func(t *rapid.T) {
			if id, ok := m.anyPeer(t); ok {
				m.p.PeerHas(id, rapid.SliceOf(rapid.IntRange(0, m.p.n-1)).Draw(t, "pieces")...)
			}
		},
		"bytes": func(t *rapid.T) {
			if id, i, ok := m.anyAsk(t); ok {
				m.p.PeerBytes(m.now, id, i, rapid.Int64Range(1, m.p.pieceLen(i)).Draw(t, "n"))
			}
		},
		"piece": func(t *rapid.T) {
			if id, i, ok := m.anyAsk(t); ok {
				delete(m.peers[id], i)
				m.p.PeerPiece(id, i, rapid.IntRange(0, 5).Draw(t, "good") > 0)
				m.tick(t) // cancels what others were asked
			}
		},
		"reject": func(t *rapid.T) {
			if id, i, ok := m.anyAsk(t); ok {
				delete(m.peers[id], i)
				m.p.PeerRejects(m.now, id, i, rapid.Bool().Draw(t, "missing"), time.Second)
			}
		},
		"edge piece": m.edgePiece,
		"edge fails": func(t *rapid.T) {
			if req, ok := m.anyEdge(); ok {
				delete(m.edge, req)
				m.p.EdgeEnds(m.now, req, false, time.Duration(rapid.IntRange(0, 5).Draw(t, "retry"))*time.Second)
			}
		},
		"edge bytes": func(t *rapid.T) {
			if req, ok := m.anyEdge(); ok {
				m.p.EdgeBytes(m.now, req, rapid.Int64Range(0, 1000).Draw(t, "n"))
			}
		},
		"add edge": func(*rapid.T) {
			id := EdgeID(len(m.edges))
			m.p.AddEdge(m.now, id, EdgeInfo{})
			m.edges[id] = true
		},
		"drop edge": func(t *rapid.T) {
			if id := EdgeID(rapid.IntRange(1, len(m.edges)).Draw(t, "edge")); m.edges[id] {
				m.p.DropEdge(id)
				m.edges[id] = false
			}
		},
		"tick": func(t *rapid.T) {
			m.now += time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond
			m.tick(t)
		},
		"seek": func(t *rapid.T) {
			if m.p.reader >= 0 {
				m.p.SetReader(rapid.Int64Range(0, m.p.cfg.Size-1).Draw(t, "off"))
			}
		},
	}
}

// TestPlanKeepsItsBooks runs events in any order. Afterwards the edge alone must
// be able to finish the download: nothing is forgotten in any state.
func TestPlanKeepsItsBooks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newPlanModel(rt)
		rt.Repeat(m.actions())
		for id := range m.peers {
			m.p.RemovePeer(id)
			delete(m.peers, id)
		}
		for range 4 * m.p.n {
			m.now += 20 * time.Second
			if m.p.reader >= 0 {
				for i := range m.p.n {
					if !m.p.have.Has(i) {
						m.p.SetReader(int64(i) * m.p.cfg.PieceSize)
						break
					}
				}
			}
			m.tick(rt)
			m.edgePiece(rt)
			m.check(rt)
		}
		if !m.p.Done() {
			rt.Fatalf("%d bytes are still missing, %d edge requests run", m.p.left, len(m.edge))
		}
	})
}
