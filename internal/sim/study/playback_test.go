package study

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
)

// stage stands in for the simulator with four viewers of a live stream of 1 MB a second,
// in segments of 2 s, that can be worked out by hand. They come every two seconds and stay
// for 10 s; the third waits long and stands still, the fourth sees nothing.
func stage(_ context.Context, c sim.Config) (*sim.Result, error) {
	const s = time.Second
	n := c.Objects[0].Stream.Segments
	r := &sim.Result{
		Seed: c.Seed, Simulated: c.Until, Complete: true, Edges: []int64{26e6}, Copies: make([]float64, 1),
		Segments: make([]int64, n), Outcomes: make([]sim.Outcome, 4), Views: make([]sim.View, 4),
		Hops: []sim.Hop{{Bytes: 12e6, Latencies: make([]int64, 2000)}, {Bytes: 6e6, Latencies: make([]int64, 2000)}, {Bytes: 6e6}},
	}
	for i := range r.Views {
		r.Outcomes[i] = sim.Outcome{Started: true, Done: true, Took: 10 * s, FromEdge: 4e6, FromPeers: 4e6, Wasted: 1e6}
		r.Views[i] = sim.View{Began: true, First: i, Startup: s, Watched: 8 * s, Behind: 6 * s}
	}
	r.Views[2].Startup, r.Views[2].Stalled, r.Views[2].Stalls, r.Views[2].Behind = 3*s, 4*s, 2, 10*s
	r.Views[3], r.Outcomes[3] = sim.View{}, sim.Outcome{Started: true}
	if c.Alone {
		for i := range r.Views {
			r.Views[i].Startup, r.Views[i].Stalled = 2*s, 0
		}
	}
	r.Segments[1], r.Segments[2] = 2e6, 6e6
	r.Hops[0].Pieces, r.Hops[0].Latencies[10] = 100, 100 // 200 ms
	r.Hops[1].Pieces, r.Hops[1].Latencies[50] = 100, 100 // a second
	return r, nil
}

const live = `
end: 30s
stream: {kind: live, segment: 2s, rate: 8mbit, behind: 4s, watch: 10s}
arrivals: {pattern: even, over: 8s}
`

func TestPlayback(t *testing.T) {
	r := study(t, live+"hosts: {count: 4}\nagainst: edge-only\n", stage).Runs[0]
	want := map[string]float64{
		"viewers": 4, "failed": 1, "stalled": 0.25, "stall-time": 1, "start-p50": 1, "start-p95": 2.8, "start-ratio": 5.0 / 6,
		"alone-stalled": 0, "behind-p50": 6, "segment-copies": (0 + 1 + 3 + 0 + 0 + 0) / 6.0,
		"offload": 0.5, "hops-mean": (12 + 2*6 + 3*6) / 24.0, "waste": 3.0 / 24, "edge-bytes": 26e6,
		"latency-p50": 0.22, "latency-p95": 1.018,
	}
	for name, v := range want {
		if f, ok := r.Figures[name]; !ok || math.Abs(f.Mean-v) > 1e-9 {
			t.Errorf("%s is %+v, want %g", name, f, v)
		}
	}
	for _, none := range []string{"downloads", "makespan", "copies", "violations"} {
		if f, ok := r.Figures[none]; ok {
			t.Errorf("%s of a stream is %+v", none, f)
		}
	}
	b := r.Playback
	if len(b.Segments) != 6 || b.Segments[2] != (Segment{At: 2, Copies: 3, Viewers: 2}) || b.Segments[0].Viewers != 0 || b.Segments[5].Viewers != 1 {
		t.Errorf("segments %+v", b.Segments)
	}
	if len(b.Hops) != 3 || b.Hops[0].Share != 0.5 || b.Hops[2].Latencies != nil || math.Abs(b.Hops[1].Latencies[100]-1.01) > 1e-9 {
		t.Errorf("hops %+v", b.Hops)
	}
	if b.Starts[0] != 1 || b.Starts[points-1] != 3 || b.AloneStarts[0] != 2 || b.Stalls[points-1] != 4 || b.AloneStalls[points-1] != 0 || b.Behind[points-1] != 10 {
		t.Errorf("curves %+v", b)
	}
}

// TestAudienceBound: of 24 MB that are delivered edges send six segments of 2 MB once.
// Viewers come at 0, 2, 4 and 6 s and stay for 10 s, so that there is company from 2 to
// 14 s, for 36 s of theirs in all.
func TestAudienceBound(t *testing.T) {
	for up, want := range map[string][2]float64{
		"40mbit":  {5 * 36 / 24.0, 0.5},
		"800kbit": {0.1 * 36 / 24, 0.1 * 36 / 24},
	} {
		f := study(t, live+"hosts: {count: 4, links: [{down: 80mbit, up: "+up+"}]}\n", stage).Runs[0].Figures
		if rho, most := f["rho"].Mean, f["offload-bound"].Mean; math.Abs(rho-want[0]) > 1e-9 || math.Abs(most-want[1]) > 1e-9 {
			t.Errorf("uplinks of %s: rho %g, bound %g; want %v", up, rho, most, want)
		}
		if ratio := f["offload-ratio"].Mean; math.Abs(ratio-0.5/want[1]) > 1e-9 {
			t.Errorf("uplinks of %s: offload ÷ bound is %g", up, ratio)
		}
	}
}
