package sim

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/sim/bound"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	testSegment  = 4 * time.Second
	testSegments = 150
	testRate     = 3 // Mbit/s
)

// audience is a world of n equal viewers of a live stream, who come one after the other
// and stay to its end.
func audience(n int, up float64, apart time.Duration) Config {
	c := crowd(n, testSegments*int64(testRate*mbit*testSegment.Seconds()), up, 20, 0)
	c.Objects[0].Stream = &Stream{Live: true, Segments: testSegments, Duration: testSegment, Behind: 12 * time.Second, Buffer: 30 * time.Second}
	c.Edges[0].RTT, c.Tick = 38*time.Millisecond, 20*time.Millisecond
	for i := range c.Hosts {
		c.Hosts[i].Delay = 10 * time.Millisecond
		c.Downloads[i].At = time.Duration(i) * apart
	}
	return c
}

// cinema is the same of a film.
func cinema(n int, up float64, apart time.Duration) Config {
	c := audience(n, up, apart)
	c.Objects[0].Stream.Live = false
	return c
}

// watched sums up what viewers saw.
type watched struct {
	offload, copies, waste, still float64
	stalls                        int
	startup, watched              time.Duration // the longest; the shortest
}

func sumUp(t testing.TB, c *Config, r *Result) watched {
	t.Helper()
	var edge, peers, wasted int64
	w := watched{watched: time.Hour}
	for i, o := range r.Outcomes {
		v := r.Views[i]
		if !o.Started || !v.Began {
			t.Fatalf("viewer %d saw nothing: %+v, %+v", i, o, v)
		}
		edge, peers, wasted = edge+o.FromEdge, peers+o.FromPeers, wasted+o.Wasted
		w.stalls += v.Stalls
		w.still += v.Stalled.Seconds()
		w.startup, w.watched = max(w.startup, v.Startup), min(w.watched, v.Watched)
	}
	w.offload, w.waste = float64(peers)/float64(peers+edge), float64(wasted)/float64(peers+edge)
	size := float64(c.Objects[0].Size) / float64(c.Objects[0].Stream.Segments)
	for _, n := range r.Segments {
		w.copies += float64(n) / size / float64(len(r.Segments))
	}
	return w
}

// TestAudiences holds small audiences against the most that peers could give, in closed
// form: all but one copy of each segment, or what the uplinks send. What is missing are, of
// ten minutes, the segments that players of a live stream begin and go on with, which come
// from the edge.
func TestAudiences(t *testing.T) {
	for _, tc := range []struct {
		name   string
		c      Config
		n      int
		rho    float64
		least  float64 // of the bound
		copies float64 // at most
		still  float64 // seconds that pictures stand still, mean
	}{
		{"live, much upload", audience(16, 20, time.Second/4), 16, 20.0 / testRate, 0.96, 1.2, 0.1},
		{"live, upload one and a half of the rate", audience(16, 4.5, time.Second/4), 16, 1.5, 0.95, 1.3, 0.1},
		{"live, upload half of the rate", audience(16, 1.5, time.Second/4), 16, 0.5, 0.78, 10, 0.1},
		{"live, fifty", audience(50, 4.5, time.Second/10), 50, 1.5, 0.93, 2.6, 0.1},
		{"film, one after the other", cinema(12, 20, 5*time.Second), 12, 20.0 / testRate, 0.96, 1.1, 0},
		{"film, upload half of the rate", cinema(12, 1.5, 5*time.Second), 12, 0.5, 0.78, 7.5, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := mustRun(t, tc.c)
			got, most := sumUp(t, &tc.c, r), bound.Audience(1/float64(tc.n), tc.rho)
			t.Logf("offload %.3f, %.2f of the bound; %.2f copies, %.1f %% wasted, %.2f s still, start-up %v at most; %v",
				got.offload, got.offload/most, got.copies, 100*got.waste, got.still/float64(tc.n), got.startup, r.Wall)
			if ratio := got.offload / most; ratio < tc.least || ratio > 1 {
				t.Errorf("offload is %.3f of the bound, %.3f; want %.2f to 1", ratio, most, tc.least)
			}
			if got.copies > tc.copies || got.still > tc.still*float64(tc.n) {
				t.Errorf("want at most %.2f copies and %.2f s still", tc.copies, tc.still)
			}
			if length := testSegments * testSegment; !tc.c.Objects[0].Stream.Live && got.watched != length {
				t.Errorf("somebody saw %v of a film of %v", got.watched, length)
			}
		})
	}
}

// TestAudienceAblated: without what the plan does the offload falls, or bytes come from
// farther away.
func TestAudienceAblated(t *testing.T) {
	run := func(a Ablation) (watched, float64) {
		c := audience(30, 1.2*testRate, time.Second/4)
		c.Until = 2 * time.Minute
		c.Ablate = a
		r := mustRun(t, c)
		var same, peers int64
		for _, o := range r.Outcomes {
			same, peers = same+o.SameAS, peers+o.FromPeers
		}
		return sumUp(t, &c, r), float64(same) / float64(peers)
	}
	ours, near := run(Ablation{})
	if lazy, _ := run(Ablation{SeedDuty: true}); lazy.offload > ours.offload/2 || lazy.copies < 3*ours.copies {
		t.Errorf("without duty %+v, with it %+v", lazy, ours)
	}
	if patient, _ := run(Ablation{Stealing: true}); patient.offload > ours.offload-0.02 {
		t.Errorf("where nobody takes over what waits %+v, else %+v", patient, ours)
	}
	if _, far := run(Ablation{Locality: true}); far > 0.8*near {
		t.Errorf("%.2f within the AS without locality, %.2f with it", far, near)
	}
}

// TestAudienceAlone: the edge alone sends every viewer everything, and nobody waits.
func TestAudienceAlone(t *testing.T) {
	c := audience(8, 20, time.Second)
	c.Alone = true
	got := sumUp(t, &c, mustRun(t, c))
	if got.offload != 0 || got.copies < 7.5 || got.waste != 0 || got.stalls > 8 {
		t.Errorf("%+v", got)
	}
}

// rabble is an audience in which everything happens that can.
func rabble(n int) Config {
	c := audience(n, 6, 20*time.Millisecond)
	c.Tick, c.Until, c.Efficiency = 100*time.Millisecond, 32*time.Second, 0.95
	c.Edges[0].Faults = []Fault{{From: 20 * time.Second, To: 23 * time.Second}}
	c.Control.Wipes, c.Control.Refresh = []time.Duration{15 * time.Second}, 10*time.Second
	nats := []wire.NAT{wire.NATOpen, wire.NATCone, wire.NATSymmetric}
	for i := range c.Hosts {
		h, d := &c.Hosts[i], &c.Downloads[i]
		h.NAT, h.TCP, h.Delay = nats[i%3], i%3 == 0, time.Duration(1+i%30)*time.Millisecond
		switch i % 10 {
		case 3:
			if h.Conduct = kindOf(i); h.Conduct == Liar {
				h.Conduct = Honest // there are none of streams
			}
		case 4:
			d.Leave = d.At + time.Duration(5+i%20)*time.Second
		case 5:
			h.Online = []Span{{0, 15 * time.Second}, {22 * time.Second, time.Hour}}
		case 8:
			h.Uploads = false
		}
	}
	return c
}

// TestAudienceSameSeedSameResult runs a world of several shards with one worker and with
// many; every byte that is sent is received.
func TestAudienceSameSeedSameResult(t *testing.T) {
	c := rabble(2*leastHosts + 50)
	var results [2]*Result
	for i, workers := range []int{1, 5} {
		c.Workers = workers
		results[i] = mustRun(t, c)
		results[i].Wall = 0
	}
	if d := cmp.Diff(results[0], results[1]); d != "" {
		t.Fatalf("other workers, other result:\n%s", d)
	}
	r := results[0]
	var sent, received, useful, overHops int64
	for _, n := range r.Edges {
		sent += n
	}
	for _, row := range r.Matrix.Bytes {
		for _, n := range row {
			sent += n
		}
	}
	for _, o := range r.Outcomes {
		received += o.FromEdge + o.FromPeers + o.Wasted + o.Corrupt
		useful += o.FromEdge + o.FromPeers
	}
	for _, h := range r.Hops {
		overHops += h.Bytes
	}
	if sent != received || useful != overHops || r.Hops[0].Bytes == useful || r.Polluted != 0 {
		t.Errorf("%d bytes sent, %d received; %d useful, %d over hops, %d from the edge; %d polluted", sent, received, useful, overHops, r.Hops[0].Bytes, r.Polluted)
	}
}

// TestFilmGoesOn: who was away goes on with a film where it was, with what it has.
func TestFilmGoesOn(t *testing.T) {
	c := cinema(2, 20, 0)
	c.Hosts[1].Online = []Span{{0, 60 * time.Second}, {100 * time.Second, time.Hour}}
	r := mustRun(t, c)
	got := sumUp(t, &c, r)
	length := testSegments * testSegment
	if o := r.Outcomes[1]; !o.Done || got.watched < length || got.watched > length+testSegment {
		t.Errorf("%+v, watched %v of %v", o, got.watched, length)
	}
	for i, o := range r.Outcomes {
		if all := o.FromEdge + o.FromPeers; all != c.Objects[0].Size {
			t.Errorf("viewer %d had %d bytes of %d", i, all, c.Objects[0].Size)
		}
	}
}

// TestStarts: players begin where they are told to, wherever in a segment that is.
func TestStarts(t *testing.T) {
	const s = time.Second
	live := &Stream{Live: true, Segments: 20, Duration: 4 * s, Behind: 10 * s}
	for _, tc := range []struct {
		at      time.Duration
		segment int
		skip    time.Duration
		there   int // segments
	}{
		{0, 0, 2 * s, 3}, // there are three: 12 s
		{s, 0, 3 * s, 3},
		{7 * s / 4, 1, 0, 3}, // a quarter of a second of the first would be left
		{2 * s, 1, 0, 3},
		{5 * s, 1, 3 * s, 4},
		{time.Hour, 19, 0, 20},
	} {
		segment, skip := live.start(tc.at)
		if there := live.published(tc.at); segment != tc.segment || skip != tc.skip || there != tc.there {
			t.Errorf("at %v of %d segments from %v within %d on; want %d, %v within %d", tc.at, there, skip, segment, tc.there, tc.skip, tc.segment)
		}
	}
	if got := live.Place(3); got != 4*s {
		t.Errorf("the fourth segment is there at %v", got)
	}
}
