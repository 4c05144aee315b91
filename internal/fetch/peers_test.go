package fetch

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// TestUnprovenPeer: whoever has sent nothing that verified is asked for one piece
// at a time, however small they are and however fast it sends, and is asked for
// nothing more once a piece does not verify.
func TestUnprovenPeer(t *testing.T) {
	const piece, pieces = 64 << 10, 256
	for _, good := range []bool{true, false} {
		p := NewPlan(Config{
			Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
			Rand: rand.New(rand.NewPCG(1, 2)),
		})
		p.AddPeer(0, 0, PeerInfo{Seed: 2, Uploads: true, RTT: 20 * time.Millisecond})
		for i := range pieces {
			p.PeerHas(0, i)
		}
		first := asked(p.Tick(0))
		if len(first) != 1 {
			t.Fatalf("%d pieces were asked of somebody unknown", len(first))
		}
		p.PeerBytes(10*time.Millisecond, 0, first[0], piece-1)
		if more := asked(p.Tick(10 * time.Millisecond)); len(more) != 0 {
			t.Errorf("%d more before the first was seen to be right", len(more))
		}
		p.PeerBytes(20*time.Millisecond, 0, first[0], 1)
		p.PeerPiece(0, first[0], good)
		more := asked(p.Tick(20 * time.Millisecond))
		if good != (len(more) > 0) {
			t.Fatalf("%d more after a piece whose verification was %v", len(more), good)
		}
		if !good {
			continue
		}
		p.PeerBytes(30*time.Millisecond, 0, more[0], 1)
		if next := asked(p.Tick(30 * time.Millisecond)); len(next) == 0 {
			t.Error("nothing more of somebody proven, whose piece arrives")
		}
	}
}

// TestLargePieces: a fast peer is asked for the next piece before the last one is whole,
// also where a piece is all that is asked of anybody ahead.
func TestLargePieces(t *testing.T) {
	const piece, pieces = maxQueue, 64
	p := NewPlan(Config{
		Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	p.AddPeer(0, 0, PeerInfo{Seed: 2, Uploads: true, RTT: time.Millisecond})
	for i := range pieces {
		p.PeerHas(0, i)
	}
	waiting := asked(p.Tick(0))
	for now := time.Duration(0); now < 400*time.Millisecond; now += 10 * time.Millisecond {
		first := waiting[0]
		p.PeerBytes(now, 0, first, piece/2)
		if waiting = append(waiting, asked(p.Tick(now))...); now > 100*time.Millisecond && len(waiting) != 2 {
			t.Fatalf("after %v %d pieces are asked for while one comes, want that and the next", now, len(waiting))
		}
		p.PeerBytes(now+5*time.Millisecond, 0, first, piece/2)
		p.PeerPiece(0, first, true)
		waiting = append(waiting[1:], asked(p.Tick(now+5*time.Millisecond))...)
	}
}

func asked(actions []Action) (pieces []int) {
	for _, a := range actions {
		if a, ok := a.(AskPeer); ok {
			pieces = append(pieces, a.Piece)
		}
	}
	return pieces
}

// TestShare: peers with nothing to ask for take over the end of a running edge
// request, all in one step, as far as they come to it sooner; not what is there
// already.
func TestShare(t *testing.T) {
	const piece, pieces = 64 << 10, 64
	p := NewPlan(Config{
		Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	r := p.send(0, p.edge.servers[0], 0, pieces, WhyBehind)
	p.EdgeBytes(10*time.Millisecond, r.id, piece/2) // 64 pieces take two minutes
	for id := range PeerID(2) {
		p.AddPeer(0, id, PeerInfo{Seed: uint64(id) + 2, Uploads: true})
		for i := range pieces {
			p.PeerHas(id, i)
		}
		p.peer(id).proven = true
		p.peer(id).rate.add(time.Second, 4*piece) // 8 pieces a second, one for each in 0.6 s
	}
	p.got(pieces - 1)
	p.take()
	p.askPeers(time.Second)
	p.share(time.Second)
	from, end := map[PeerID]int{}, pieces
	for _, a := range p.take() {
		switch a := a.(type) {
		case AskPeer:
			from[a.Peer]++
			if a.Piece == pieces-1 || p.asked[a.Piece] != 1 {
				t.Errorf("piece %d is asked for, %d times", a.Piece, p.asked[a.Piece])
			}
		case TrimEdge:
			end = a.End
		}
	}
	if n := from[0] + from[1]; from[0] == 0 || from[1] == 0 || end != pieces-1-n {
		t.Errorf("%v asked of peers, the edge request ends at %d of %d", from, end, pieces)
	}
	if i := p.rarest(nil); i >= 0 {
		t.Errorf("piece %d is asked of nobody", i)
	}
}

// TestUrgency: peers are told of what a reader waits for, and of what has time.
func TestUrgency(t *testing.T) {
	const piece, pieces, at = 64 << 10, 256, 100
	for _, tt := range []struct {
		class         Class
		reader        bool
		near, farther wire.Urgency
	}{
		{Normal, false, wire.UrgencyNormal, wire.UrgencyNormal},
		{Interactive, true, wire.UrgencyReader, wire.UrgencyNormal},
		{Background, true, wire.UrgencyReader, wire.UrgencyBackground},
		{Background, false, wire.UrgencyBackground, wire.UrgencyBackground},
	} {
		p := NewPlan(Config{
			Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1, Class: tt.class,
			Rand: rand.New(rand.NewPCG(1, 2)),
		})
		if tt.reader {
			p.SetReader(at * piece)
		}
		p.AddPeer(0, 0, PeerInfo{Seed: 2, Uploads: true})
		q := p.peer(0)
		for i, want := range map[int]wire.Urgency{
			at - 1: tt.farther, at: tt.near, at + prefetch - 1: tt.near, at + prefetch: tt.farther,
		} {
			p.take()
			p.askOf(0, q, i)
			if a := p.take()[0].(AskPeer); a.Urgency != want {
				t.Errorf("class %d, reader %v: piece %d is asked for with urgency %d, want %d", tt.class, tt.reader, i-at, a.Urgency, want)
			}
		}
	}
}

// TestStealOverdue: a request is moved to an idle peer when its answer is late for
// peers, not while it is on its way in all likelihood.
func TestStealOverdue(t *testing.T) {
	const piece, pieces = 64 << 10, 64
	p := NewPlan(Config{
		Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
		Rand: rand.New(rand.NewPCG(1, 2)),
	})
	for id := range PeerID(2) {
		p.AddPeer(0, id, PeerInfo{Seed: uint64(id) + 2, Uploads: true})
		p.PeerHas(id, 7)
	}
	for range 40 { // all answer within half a second
		p.answers.add(500 * time.Millisecond)
	}
	p.peer(1).rate.add(0, 8*piece)
	p.askOf(0, p.peer(0), 7)
	p.take()
	for _, tt := range []struct {
		now   time.Duration
		moves int
	}{{450 * time.Millisecond, 0}, {600 * time.Millisecond, 1}, {700 * time.Millisecond, 0}} {
		p.steal(tt.now)
		if got := asked(p.take()); len(got) != tt.moves {
			t.Errorf("after %v %d requests are moved, want %d", tt.now, len(got), tt.moves)
		}
	}
}

// TestEndgameWaitsForAnswers: at the end a request is not taken back from a peer while
// its answer is on its way.
func TestEndgameWaitsForAnswers(t *testing.T) {
	const piece, pieces = 64 << 10, 64
	for _, tt := range []struct {
		age   time.Duration
		moves int
	}{{120 * time.Millisecond, 0}, {300 * time.Millisecond, 1}} {
		p := NewPlan(Config{
			Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
			Rand: rand.New(rand.NewPCG(1, 2)),
		})
		for i := range pieces - 1 {
			p.got(i)
		}
		const now = 500 * time.Millisecond
		for id, rtt := range []time.Duration{80 * time.Millisecond, 15 * time.Millisecond} {
			p.AddPeer(0, PeerID(id), PeerInfo{Seed: uint64(id) + 2, Uploads: true, RTT: rtt})
			p.PeerHas(PeerID(id), pieces-1)
			p.peer(PeerID(id)).rate.add(now, 100*piece)
		}
		p.peer(0).rate.add(now, -99*piece) // it is the slower one
		p.askOf(now-tt.age, p.peer(0), pieces-1)
		p.take()
		p.endgame(now)
		if got := asked(p.take()); len(got) != tt.moves {
			t.Errorf("%v after it was asked for, the last piece is asked of %d others, want %d", tt.age, len(got), tt.moves)
		}
	}
}

// TestReach: no more peers are asked at a time than fill a downlink that the edge could
// fill alone; where that is not known, more and more are.
func TestReach(t *testing.T) {
	const piece, pieces, peers, downlink = 1 << 20, 512, 40, 2.5e6
	for _, tt := range []struct {
		uplink, edge float64 // of each peer, and what the edge alone would give, bytes per second
		least, most  int     // peers that are asked in the end
	}{
		{downlink, downlink, leastReach - 1, 2 * leastReach},
		{downlink / 80, downlink, peers, peers},
		{downlink / 80, 0, peers, peers},
		{downlink / 80, downlink / 100, peers, peers},
	} {
		p := NewPlan(Config{
			Size: pieces * piece, PieceSize: piece, Have: manifest.NewBitfield(pieces), Seed: 1,
			Rand: rand.New(rand.NewPCG(1, 2)),
		})
		for id := range PeerID(peers) {
			p.AddPeer(0, id, PeerInfo{Seed: uint64(id) + 2, Uploads: true})
			for i := range pieces {
				p.PeerHas(id, i)
			}
		}
		for now := time.Duration(0); now < time.Minute; now += 50 * time.Millisecond {
			p.askPeers(now)
			deliver(p, now, 50*time.Millisecond, tt.uplink, downlink)
			p.edge.full, p.pacer.full = tt.edge, max(tt.edge, p.fromAll.rate(now))
			p.pacer.gives = tt.uplink == downlink
		}
		if n := busyPeers(p); n < tt.least || n > tt.most {
			t.Errorf("uplinks of %.0f kB/s, edge %.0f: %d peers are asked, want %d to %d", tt.uplink/1e3, tt.edge/1e3, n, tt.least, tt.most)
		}
	}
}

// deliver has every peer that is asked for something send for d, all together no more
// than downlink.
func deliver(p *Plan, now, d time.Duration, uplink, downlink float64) {
	each := min(uplink, downlink/float64(max(busyPeers(p), 1)))
	for _, q := range p.turn {
		for left := int64(each * d.Seconds()); left > 0 && len(q.asks) > 0; {
			a := q.asks[0]
			n := min(left, p.pieceLen(a.piece)-a.got)
			left -= n
			p.PeerBytes(now, q.id, a.piece, n)
			if a.got+n == p.pieceLen(a.piece) {
				p.PeerPiece(q.id, a.piece, true)
			}
		}
	}
}

func busyPeers(p *Plan) (n int) {
	for _, q := range p.turn {
		if len(q.asks) > 0 {
			n++
		}
	}
	return n
}
