package stream

import (
	"flag"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/track"
)

// TestAudiences plays streams to audiences whose links are known, and holds what comes of
// it against what should.
func TestAudiences(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		name             string
		n                int
		live             bool
		segments         int
		duration         time.Duration
		rate, up, down   float64 // Mbit/s
		apart            time.Duration
		offload, copies  float64
		stalled, startup time.Duration
		behind           time.Duration
		parts            int
	}{
		{"VOD, one after the other", 12, false, 60, 2 * s, 3, 20, 20, 5 * s, 0.9, 1.3, 0, 700 * time.Millisecond, 0, 1},
		{"VOD, all at once", 12, false, 60, 2 * s, 3, 20, 20, 0, 0.85, 1.3, 0, 700 * time.Millisecond, 0, 1},
		{"VOD, upload half of the rate", 12, false, 60, 2 * s, 3, 1.5, 20, 5 * s, 0.36, 8, 0, 700 * time.Millisecond, 0, 1},
		{"live, much upload", 16, true, 60, 4 * s, 3, 20, 20, s / 4, 0.9, 1.3, 0, 1500 * time.Millisecond, 0, 1},
		{"live, upload one and a half of the rate", 16, true, 60, 4 * s, 3, 4.5, 20, s / 4, 0.9, 1.3, 0, 1500 * time.Millisecond, 0, 1},
		{"live, upload half of the rate", 16, true, 60, 4 * s, 3, 1.5, 20, s / 4, 0.42, 9.4, 0, 1500 * time.Millisecond, 0, 1},
		{"live, thirty", 30, true, 150, 4 * s, 3, 20, 20, 0, 0.9, 1.3, 0, 1500 * time.Millisecond, 0, 1},
		{"live, short segments", 16, true, 60, 2 * s, 3, 20, 20, s / 4, 0.9, 1.3, 0, 1500 * time.Millisecond, 0, 1},
		{"live, near its source", 16, true, 60, 4 * s, 1.7, 20, 20, s, 0.9, 1.3, 0, 1500 * time.Millisecond, 7500 * time.Millisecond, 1},
		{"live, nearer, short segments", 16, true, 60, 2 * s, 1.7, 20, 20, s, 0.85, 1.4, 0, 1500 * time.Millisecond, 4500 * time.Millisecond, 1},
		{"live, in parts", 16, true, 60, s / 2, 1.7, 20, 20, 1300 * time.Millisecond, 0.8, 2, 0, 1500 * time.Millisecond, 3400 * time.Millisecond, 4},
		{"live, in parts, near its source", 16, true, 60, s / 2, 1.7, 20, 20, 1300 * time.Millisecond, 0.5, 7, 0, 1500 * time.Millisecond, 2500 * time.Millisecond, 4},
		{"live, in parts, as near as can be", 16, true, 60, s / 2, 1.7, 20, 20, 1300 * time.Millisecond, 0.3, 12, 0, 1500 * time.Millisecond, 1600 * time.Millisecond, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFluidParts(t, tc.segments, tc.parts, tc.duration, tc.rate*mbit, 10000*mbit)
			f.live, f.behind = tc.live, tc.behind
			start := time.Duration(0)
			if tc.live {
				start = 3 * f.whole
			}
			for i := range tc.n {
				f.add(tc.up*mbit, tc.down*mbit, true, start+time.Duration(i)*tc.apart)
			}
			f.run(10 * time.Minute)
			r := f.result()
			t.Logf("%+v", r)
			if r.offload < tc.offload || r.copies > tc.copies || r.stalled > tc.stalled || r.begin > tc.startup || r.wasted > 0.025 {
				t.Errorf("want offload %.2f, %.1f copies, stalls of %v, a start within %v, 2.5 %% of waste", tc.offload, tc.copies, tc.stalled, tc.startup)
			}
		})
	}
}

// TestPeersDie has all who upload go at once.
func TestPeersDie(t *testing.T) {
	f := newFluid(t, 60, 2*time.Second, 3*mbit, 1000*mbit)
	f.add(20*mbit, 20*mbit, true, 0).leave = 40 * time.Second
	f.add(20*mbit, 20*mbit, true, time.Second).leave = 40 * time.Second
	last := f.add(20*mbit, 20*mbit, true, 2*time.Second)
	f.run(5 * time.Minute)
	if last.stalled > 0 || last.next != 60 || last.fromPeers == 0 {
		t.Errorf("stalled for %v, segment %d, %d bytes from peers", last.stalled, last.next, last.fromPeers)
	}
}

// drawn is a random audience.
type drawn struct {
	live     bool
	duration time.Duration
	parts    int           // of each segment
	behind   time.Duration // the source, of a stream in parts
	rate     float64       // Mbit/s
	edge     float64
	clients  []drawnClient
}

type drawnClient struct {
	up, down     float64
	uploads      bool
	start, leave time.Duration
}

func draw(t *rapid.T) drawn {
	d := drawn{
		live:     rapid.Bool().Draw(t, "live"),
		duration: time.Duration(rapid.SampledFrom([]int{2, 4, 6}).Draw(t, "duration")) * time.Second,
		rate:     rapid.SampledFrom([]float64{1, 3, 6}).Draw(t, "rate"),
		edge:     rapid.SampledFrom([]float64{100, 1000}).Draw(t, "edge"),
	}
	for range rapid.IntRange(1, 10).Draw(t, "clients") {
		down := d.rate * rapid.SampledFrom([]float64{2, 4, 10}).Draw(t, "down/rate")
		c := drawnClient{
			down: down, up: down * rapid.SampledFrom([]float64{0.05, 0.25, 1}).Draw(t, "up/down"),
			uploads: rapid.IntRange(0, 3).Draw(t, "uploads") > 0,
			start:   time.Duration(rapid.IntRange(0, 300).Draw(t, "start")) * 100 * time.Millisecond,
		}
		if rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
			c.leave = c.start + time.Duration(rapid.IntRange(1, 600).Draw(t, "stays"))*100*time.Millisecond
		}
		d.clients = append(d.clients, c)
	}
	if d.parts = 1; d.live && rapid.Bool().Draw(t, "in parts") {
		d.parts = 4
		d.behind = d.duration/2 + time.Duration(rapid.IntRange(1, 4).Draw(t, "behind"))*d.duration/4
	}
	return d
}

// simulate plays to the audience; alone has nobody upload.
func (d drawn) simulate(t testing.TB, alone bool) *fluid {
	f := newFluidParts(t, 30, d.parts, d.duration/time.Duration(d.parts), d.rate*mbit, d.edge*mbit)
	f.live, f.behind = d.live, d.behind
	for _, c := range d.clients {
		start := c.start
		if d.live {
			start += 3 * d.duration
		}
		n := f.add(c.up*mbit, c.down*mbit, c.uploads && !alone, start)
		if c.leave > 0 {
			n.leave = c.leave + start - c.start
		}
	}
	f.run(20 * time.Minute)
	return f
}

// networks is how many audiences are drawn. They are the same every time.
var networks = flag.Int("networks", 25, "how many networks TestNoWorseThanTheEdgeAlone draws")

// TestNoWorseThanTheEdgeAlone compares the playback of everybody with what it is when
// nobody shares, on random networks with churn.
func TestNoWorseThanTheEdgeAlone(t *testing.T) {
	generator := rapid.Custom(draw)
	for seed := range *networks {
		d := generator.Example(seed)
		with, without := d.simulate(t, false), d.simulate(t, true)
		for i, c := range with.clients {
			alone := without.clients[i]
			if c.gone || !c.begun {
				continue
			}
			if c.next != len(with.segs) {
				t.Fatalf("network %d: client %d has come to segment %d", seed, i, c.next)
			}
			if c.stalled > alone.stalled+leastGuard || c.begin > alone.begin+leastGuard {
				t.Errorf("network %d: client %d stalled for %v, began after %v; alone %v and %v", seed, i, c.stalled, c.begin-c.start, alone.stalled, alone.begin-alone.start)
			}
			share := wasteShare
			if d.parts > 1 { // which are due so soon that more of what slow peers have begun is taken back
				share = 0.1
			}
			if most := share*float64(c.fromEdge+c.fromPeers) + wasteFree + 8*65536; float64(c.plan.Wasted()) > most {
				t.Errorf("network %d: client %d wasted %d of %d bytes", seed, i, c.plan.Wasted(), c.fromEdge+c.fromPeers)
			}
		}
	}
}

// TestPlayedBefore: what a player has had before its track was known counts for where it
// is, in whatever order it comes to be known.
func TestPlayedBefore(t *testing.T) {
	const s = time.Second
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 0, 2}} {
		f := newFluid(t, 6, 2*s, mbit, mbit)
		p := NewPlan(Config{})
		p.AddTrack(1)
		p.AddSegments(0, 0, f.segs)
		at := []time.Duration{-2 * s, -s, -s / 2}
		for _, i := range order {
			p.Played(at[i], s/2, 0, i)
		}
		h := &p.tracks[0].head
		if got := h.position(0); got != 2*s || !h.playing || h.until != 6*s || h.due(6*s) != 4*s {
			t.Errorf("%v: at %v of %v, the next is due in %v", order, got, h.until, h.due(6*s))
		}
		n := f.segs[0].Manifest.Size // which took half a second each
		if got, want := p.edgeTakes(n).Seconds(), 0.5/edgeShare; got < 0.99*want || got > 1.01*want {
			t.Errorf("the edge is taken to need %.2f s for another, want %.2f s", got, want)
		}
	}
}

// TestLongerSegment: players keep the distance from the source that they had, so that they
// come the sooner to a segment the longer it took to be published. That of parts is of the
// longest, however short one was that ended a segment.
func TestLongerSegment(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		durations [4]time.Duration
		parts     bool
		want      time.Duration
	}{
		{[4]time.Duration{4000 * ms, 4000 * ms, 4000 * ms, 4000 * ms}, false, 3000 * ms},
		{[4]time.Duration{4000 * ms, 4000 * ms, 4000 * ms, 6000 * ms}, false, 1000 * ms},
		{[4]time.Duration{4000 * ms, 4000 * ms, 4000 * ms, 2000 * ms}, false, 5000 * ms},
		{[4]time.Duration{4000 * ms, 4000 * ms, 6000 * ms, 4000 * ms}, false, 3000 * ms},
		{[4]time.Duration{520 * ms, 520 * ms, 440 * ms, 520 * ms}, true, 390 * ms},
	} {
		p := NewPlan(Config{Live: true})
		p.AddTrack(1)
		var start time.Duration
		for _, d := range tc.durations {
			s := fluidSegment(start, d, mbit)
			s.Part = tc.parts
			start += d
			p.AddSegments(start, 0, []track.Segment{s})
		}
		p.OpenReader(0, 1, 0, 0) // who plays it near to the source
		p.Delivered(0, 1)
		seg := p.tracks[0].segs[3]
		if got := p.due(p.tracks[0], seg) - seg.since; got.Round(ms) != tc.want {
			t.Errorf("the last of %v is due %v after it is published, want %v", tc.durations, got, tc.want)
		}
	}
}

// TestHeldByWhoGives: what a peer has that gives nothing is not waited for.
func TestHeldByWhoGives(t *testing.T) {
	const s = time.Second
	for _, gives := range []bool{true, false} {
		f := newFluid(t, 6, 4*s, 2*mbit, mbit)
		p := NewPlan(Config{Uploads: true, Live: true})
		p.AddTrack(1)
		p.AddSegments(0, 0, f.segs)
		p.Played(s, s/2, 0, 0)
		p.Played(s, s/2, 0, 1)
		p.AddPeer(1, PeerInfo{Uploads: gives})
		p.JoinTrack(1, 0)
		n := f.segs[0].Manifest.NumPieces()
		all := make([]int, 6*n)
		for i := range all {
			all[i] = i
			if i < 2*n {
				p.Stored(0, i)
			}
		}
		p.PeerHas(1, 0, all)
		p.OpenReader(s, 1, 0, 2)
		asks := map[bool]bool{} // of the edge or not
		for _, a := range p.Tick(s) {
			_, edge := a.(AskEdge)
			asks[edge] = true
		}
		if asks[true] == gives || asks[false] != gives {
			t.Errorf("a peer that gives: %v; asks the edge: %v, it: %v", gives, asks[true], asks[false])
		}
	}
}

// TestThinEdge has many play from an edge that hardly carries one of them.
func TestThinEdge(t *testing.T) {
	f := newFluid(t, 30, 4*time.Second, 1.76*mbit, 2.64*mbit)
	for i := range 12 {
		f.add(20*mbit, 20*mbit, true, time.Duration(i)*5*time.Second)
	}
	f.run(10 * time.Minute)
	r := f.result()
	t.Logf("%+v", r)
	if r.offload < 0.85 || r.copies > 1.5 || r.stalled > 90*time.Second || r.begin > 4*time.Second || r.wasted > 0.025 {
		t.Error("want offload 0.85, 1.5 copies, stalls of 90 s in all, a start within 4 s, 2.5 % of waste")
	}
}

// TestShown: what a player is shown of a thin edge is what the network gives, and of another
// a few times as much.
func TestShown(t *testing.T) {
	const s = time.Second
	for _, thin := range []bool{false, true} {
		f := newFluid(t, 6, 4*s, mbit, mbit)
		p := NewPlan(Config{})
		p.AddTrack(1)
		p.AddSegments(0, 0, f.segs)
		p.AddPeer(1, PeerInfo{Uploads: true})
		p.OpenReader(0, 1, 0, 0)
		p.Tick(0)
		rate := 2 * mbit
		if thin {
			rate = mbit
		}
		for now := s / 10; now <= s; now += s / 10 {
			p.EdgeBytes(now, 1, int64(rate/10))
		}
		want := rate
		if !thin {
			want *= shownTimes
		}
		if got := p.Shown(); got < 0.99*want || got > 1.01*want {
			t.Errorf("an edge that gives %.0f times the rate of the stream: shown %.0f kB/s, want %.0f", rate/mbit, got/1e3, want/1e3)
		}
	}
}
