package stream

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/track"
)

// drawThin has an audience share an edge that carries one to three of them.
func drawThin(t *rapid.T) drawn {
	d := draw(t)
	d.edge = d.rate * rapid.SampledFrom([]float64{1.2, 1.4, 2, 3}).Draw(t, "edge/rate")
	for i := range d.clients {
		if rapid.IntRange(0, 3).Draw(t, "slow") == 0 { // it gives next to nothing
			d.clients[i].up = d.rate * 0.02
		}
	}
	return d
}

// simulateThin plays to the audience; apart has nobody know of others.
func (d drawn) simulateThin(t testing.TB, delay time.Duration, apart bool) *fluid {
	f := newFluidParts(t, 20, d.parts, d.duration/time.Duration(d.parts), d.rate*mbit, d.edge*mbit)
	f.live, f.behind, f.delay, f.apart = d.live, d.behind, delay, apart
	for _, c := range d.clients {
		start := c.start
		if d.live {
			start += 3 * d.duration
		}
		n := f.add(c.up*mbit, c.down*mbit, c.uploads, start)
		if c.leave > 0 {
			n.leave = c.leave + start - c.start
		}
	}
	f.run(40 * time.Minute)
	return f
}

// waited is how long clients have waited who stayed to the end, both with peers and
// without.
func waited(with, without *fluid) (peers, alone []time.Duration) {
	for i, c := range with.clients {
		if a := without.clients[i]; c.begun && !c.gone && !a.gone {
			peers = append(peers, c.stalled+c.begin-c.start)
			alone = append(alone, a.stalled+a.begin-a.start)
		}
	}
	return peers, alone
}

func sum(all []time.Duration) (s time.Duration) {
	for _, d := range all {
		s += d
	}
	return s
}

// TestNoWorseThanAThinEdgeAlone has many play from an edge that carries hardly any of
// them, some of whom give hardly anything: nobody hangs, and together they wait no longer
// than if each had only the edge.
func TestNoWorseThanAThinEdgeAlone(t *testing.T) {
	const s = time.Second
	generator := rapid.Custom(drawThin)
	var all, most time.Duration
	for seed := range *networks {
		d := generator.Example(seed)
		with, without := d.simulateThin(t, 20*time.Millisecond, false), d.simulateThin(t, 20*time.Millisecond, true)
		for i, c := range with.clients {
			if c.gone || !c.begun {
				continue
			}
			if c.next != len(with.segs) {
				t.Fatalf("network %d: client %d has come to segment %d", seed, i, c.next)
			}
			share := 0.05
			if d.parts > 1 {
				share = 0.15
			}
			if most := share*float64(c.fromEdge+c.fromPeers) + wasteFree + 9*65536; float64(c.plan.Wasted()) > most {
				t.Errorf("network %d: client %d wasted %d of %d bytes", seed, i, c.plan.Wasted(), c.fromEdge+c.fromPeers)
			}
		}
		peers, alone := waited(with, without)
		for i := range peers {
			if peers[i] > alone[i]*8/5+10*s {
				t.Errorf("network %d: one waited for %v, alone for %v", seed, peers[i], alone[i])
			}
		}
		if sum(peers) > sum(alone)*11/10+10*s {
			t.Errorf("network %d: they waited for %v, alone for %v", seed, sum(peers), sum(alone))
		}
		all, most = all+sum(peers), most+sum(alone)
	}
	t.Logf("waited for %v, alone for %v", all, most)
	if all > most*7/10 {
		t.Error("want seven tenths")
	}
}

// TestFarIsNotThin: how long the way to an edge is tells nothing of what it gives.
func TestFarIsNotThin(t *testing.T) {
	generator := rapid.Custom(drawThin)
	for seed := range *networks {
		d := generator.Example(seed)
		d.edge *= 100
		peers, alone := waited(d.simulateThin(t, 150*time.Millisecond, false), d.simulateThin(t, 150*time.Millisecond, true))
		if sum(peers) > sum(alone)*21/20+time.Second {
			t.Errorf("network %d: they waited for %v, alone for %v", seed, sum(peers), sum(alone))
		}
	}
}

// TestLittleTellsNothing: an edge is not thin for how long little of it took.
func TestLittleTellsNothing(t *testing.T) {
	const s = time.Second
	for _, init := range []bool{true, false} {
		first := fluidSegment(0, 4*s, 200)
		first.Init = init
		p := NewPlan(Config{Uploads: true})
		p.AddTrack(1)
		p.AddSegments(0, 0, []track.Segment{first, fluidSegment(4*s, 4*s, 3*mbit), fluidSegment(8*s, 4*s, 3*mbit)})
		for i := range PeerID(5) {
			p.AddPeer(i, PeerInfo{Seed: uint64(i+1) << 60, Uploads: true})
			p.JoinTrack(i, 0)
			p.PeerHas(i, 0, []int{p.tracks[0].segs[2].first})
		}
		p.OpenReader(0, 1, 0, 0)
		p.Tick(0)
		for i := range time.Duration(4) {
			p.EdgeBytes(s/10+i, 1, first.Manifest.Size/4)
		}
		p.EdgePiece(1, 0, 0)
		p.EdgeEnds(s/10, 1, Outcome{OK: true})
		p.CloseReader(1)
		p.OpenReader(s/10, 2, 0, 1)
		asked := 0
		for _, a := range p.Tick(s / 10) {
			if a, ok := a.(AskEdge); ok && a.Segment == 1 {
				asked += a.Count
			}
		}
		if n := p.tracks[0].segs[1].pieces; asked != n {
			t.Errorf("init %v: %d of %d pieces asked of the edge", init, asked, n)
		}
	}
}

// TestKeepsWhatIsAhead: what the edge was asked for is not given up because a player that
// has stalled is to fetch less ahead.
func TestKeepsWhatIsAhead(t *testing.T) {
	const s = time.Second
	f := drawn{live: true, duration: 2 * s, parts: 4, behind: 3 * s, rate: 1, edge: 3, clients: []drawnClient{
		{up: 2.5, down: 10, start: 2 * s / 5}, {up: 0.1, down: 2, uploads: true, start: 21 * s / 10}, {up: 2.5, down: 10, start: 20 * s},
	}}.simulateThin(t, 20*time.Millisecond, false)
	for _, c := range f.clients {
		if all := c.fromEdge + c.fromPeers; c.plan.Wasted() > all/10 {
			t.Errorf("client %d wasted %d of %d bytes", c.id, c.plan.Wasted(), all)
		}
	}
}

// TestThinNoMore: an edge that has more to give after a while is thin for nobody in the end.
func TestThinNoMore(t *testing.T) {
	f := newFluid(t, 60, 4*time.Second, 1.76*mbit, 2.64*mbit)
	for i := range 12 {
		f.add(20*mbit, 20*mbit, i%3 > 0, time.Duration(i)*2*time.Second)
	}
	f.run(25 * time.Second)
	f.edgeUp = 1000 * mbit
	f.run(10 * time.Minute)
	n := 0
	for _, c := range f.clients {
		if c.plan.thin(c.plan.tracks[0].segs[40]) {
			n++
		}
	}
	if r := f.result(); n > 0 || r.offload < 0.8 {
		t.Errorf("thin for %d; %+v", n, r)
	}
}
