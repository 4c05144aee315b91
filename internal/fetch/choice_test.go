package fetch

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// crowdedPlan is of a client among n others, at an edge that gives each of them
// little, in a download that takes long. Nobody has anything yet.
func crowdedPlan(n int) *Plan {
	const piece, pieces = 64 << 10, 512
	p := NewPlan(Config{
		Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1, Uploads: true,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	for id := range PeerID(n) {
		p.AddPeer(0, id, PeerInfo{Seed: uint64(id) + 2, Uploads: true})
	}
	p.edge.perReq, p.edge.perReqTo = 1e5, time.Hour
	p.elect.clear()
	for id := range PeerID(n) {
		p.elect.add(uint64(id) + 2)
	}
	p.elect.settle(true)
	return p
}

// TestStepIn: who is done with its own duty fetches what it is the next to own, the
// last of what an owner has still to come to, and leaves owners alone that have
// hardly anything left.
func TestStepIn(t *testing.T) {
	p := crowdedPlan(4)
	e := p.elect
	for _, s := range e.mine {
		for i := range e.stripe {
			p.got(int(s)*e.stripe + i)
		}
	}
	now := 5 * time.Second
	i := p.stepIn(now)
	if i < 0 {
		t.Fatal("it waits for the others")
	}
	for s := range e.ranks {
		if e.rank(s) == rankBackup && e.place(s) > e.place(i/e.stripe) {
			t.Errorf("stripe %d is asked for, %d is due later", i/e.stripe, s)
		}
	}
	left := make([]int, len(e.seeds)) // each owner is left as much as it may fetch at once
	for s := range e.ranks {
		if who := e.standing(s).who; !e.owns(s) {
			if left[who]++; left[who] > p.cfg.MaxEdge {
				p.PeerHas(0, s*e.stripe, s*e.stripe+1)
			}
		}
	}
	if i := p.stepIn(now); i >= 0 {
		t.Errorf("piece %d is fetched beside its owner", i)
	}
}

// TestOneRequestInACrowd: what a client fetches beyond its duty ends with the piece in
// progress when the edge proves to be everybody's bottleneck, and one request runs at
// a time.
func TestOneRequestInACrowd(t *testing.T) {
	p := crowdedPlan(4)
	r := p.send(0, p.edge.servers[0], 100, 17, WhyBehind)
	p.EdgeBytes(time.Second, r.id, p.cfg.PieceSize*3/4)
	p.reserve(time.Second, false)
	if r.end != 101 {
		t.Errorf("the request goes on to piece %d", r.end)
	}
	if n := p.most(time.Second, true); n != 1 {
		t.Errorf("%d requests may run", n)
	}
}

// TestEdgeIsForThoseBehind: in a crowd at an edge that is the bottleneck, who has less
// than its neighbours asks it for more than its duty, and who has more does not.
func TestEdgeIsForThoseBehind(t *testing.T) {
	for _, tc := range []struct {
		held  int // pieces of each neighbour
		wants bool
	}{{200, true}, {20, false}} {
		p := crowdedPlan(4)
		p.elect.duty = Duty{Of: 100}
		for i := range 100 {
			p.got(i)
		}
		for _, q := range p.turn {
			q.count = tc.held
		}
		p.absent = 0
		if got := p.pickEdge(time.Second, false) >= 0; got != tc.wants {
			t.Errorf("with 100 pieces beside neighbours with %d it asks: %v", tc.held, got)
		}
	}
}

// TestShortOfWhatTheEdgeGave: a client that had a fast edge to itself and now shares
// it with those who came later asks for more at once while it is late, even where
// peers bring more than the edge: in the crowd of bench/mixed the first to come had
// all that its peers had, and fetched the last 4 MB by single requests of 128 KiB.
func TestShortOfWhatTheEdgeGave(t *testing.T) {
	p := crowdedPlan(4)
	now := 8 * time.Second
	p.edge.full, p.pacer.full, p.pacer.pace = 4e6, 4e6, math.Inf(1)
	for at := now - 2*time.Second; at < now; at += 100 * time.Millisecond {
		p.fromP2P.add(at, 2e5)
		p.fromAll.add(at, 2.5e5)
		p.edge.add(at, 5e4)
	}
	if !p.elastic(now) || !p.short(now) {
		t.Fatal("it is not late at an edge that was fast")
	}
	if n := p.most(now, false); n <= p.cfg.MaxEdge {
		t.Errorf("%d requests may run", n)
	}
	for i := range 490 { // in time now
		p.got(i)
	}
	if n := p.most(now, false); n != 1 {
		t.Errorf("%d requests may run beside peers that fill the downlink", n)
	}
}
