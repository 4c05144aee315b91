package study

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
)

// fluid stands in for the simulator with outcomes that can be worked out by hand:
// every download takes 10 s from the edge alone and 9 s, 11 s from the seventh
// on, with peers, who give three quarters of the bytes.
func fluid(_ context.Context, c sim.Config) (*sim.Result, error) {
	r := &sim.Result{Seed: c.Seed, Complete: true, Edges: make([]int64, len(c.Edges)), Copies: make([]float64, len(c.Objects))}
	for i, d := range c.Downloads {
		size := c.Objects[d.Object].Size
		o := sim.Outcome{Started: true, Done: true, Took: 10 * time.Second, FromEdge: size}
		if !c.Alone {
			o.Took = 9 * time.Second
			if i >= 7 {
				o.Took = 11 * time.Second
			}
			o.FromEdge, o.FromPeers, o.SameAS, o.Wasted, o.Corrupt = size/4, size-size/4, size/4, size/100, size/50
		}
		r.Edges[0] += o.FromEdge
		r.Outcomes = append(r.Outcomes, o)
	}
	r.Series = []sim.Sample{{At: 5 * time.Second, Peers: 30, Uplink: 60, Active: 1}, {At: 20 * time.Second, Peers: 0, Uplink: 1000}}
	return r, nil
}

// Links of 100 MB in 10 s.
const world = `
objects: {size: 100MB}
hosts:
  count: 10
  links: [{down: 80mbit, up: 80mbit}]
`

func study(t *testing.T, text string, simulate Simulate) *Study {
	t.Helper()
	f, err := scenario.Parse("test", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := Do(t.Context(), f, simulate, nil)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestFigures(t *testing.T) {
	st := study(t, world+"against: edge-only\nrepeats: 2\ndownloads: {deadline: 10s}\n", fluid)
	r := st.Runs[0]
	want := map[string]float64{
		"makespan": 11, "makespan-bound": 10, "makespan-ratio": 1.1, // the edge is elastic: the downlink
		"offload": 0.75, "offload-bound": 0.9, "offload-ratio": 0.75 / 0.9, // 1 − 1/10
		"rho": 1, "copies": 2.5, "edge-bytes": 250e6, "peer-bytes": 750e6,
		"time-p50": 9, "time-p99": 11, "ratio-p50": 0.9, "ratio-p99": 1.1,
		"same-as": 1.0 / 3, "uplink-use": 0.5, "waste": 0.01, "corrupt": 0.02, "downloads": 10, "failed": 0, "late": 0.3,
		"violations": 0, "polluted": 0, "rate-mean": (7*100e6/9 + 3*100e6/11) / 10,
	}
	for name, v := range want {
		if f, ok := r.Figures[name]; !ok || math.Abs(f.Mean-v) > 1e-9*math.Abs(v) || f.CI > 1e-6*math.Abs(v) || len(f.Values) != 2 {
			t.Errorf("%s is %+v, want %g twice", name, f, v)
		}
	}
	if len(r.Times) != points || r.Times[0] != 9 || r.Times[points-1] != 11 || r.AloneTimes[0] != 10 || r.Ratios[0] != 0.9 {
		t.Errorf("curves: %v … %v, alone %v", r.Times[0], r.Times[points-1], r.AloneTimes[0])
	}
	if len(r.Seeds) != 2 || r.Seeds[0] != 1 || r.Seeds[1] != 2 {
		t.Errorf("seeds %v", r.Seeds)
	}
}

// TestBoundsOfConduct sees that only uplinks that help are counted.
func TestBoundsOfConduct(t *testing.T) {
	st := study(t, world+"  uploaders: 50%\nedges: [{rate: 80mbit}]\n", fluid)
	f := st.Runs[0].Figures
	// Ten times 100 MB through 10 + 5·10 MB/s.
	if got := f["makespan-bound"].Mean; math.Abs(got-1000.0/60) > 1e-6 {
		t.Errorf("bound %g, want %g", got, 1000.0/60)
	}
	if _, ok := f["offload-bound"]; ok {
		t.Error("an offload bound without knowing what the edge alone would do")
	}
	if f["rho"].Mean != 0.5 {
		t.Errorf("rho %g", f["rho"].Mean)
	}
	st = study(t, world+"  conduct: {poisoners: 50%}\n", fluid)
	if rho := st.Runs[0].Figures["rho"].Mean; rho != 0.5 {
		t.Errorf("rho with poisoners %g, want 0.5", rho)
	}
}

func TestFailures(t *testing.T) {
	fails := func(ctx context.Context, c sim.Config) (*sim.Result, error) {
		r, err := fluid(ctx, c)
		if c.Alone {
			r.Outcomes[2].Done = false // nor would the edge have been in time
			return r, err
		}
		for i := range 4 {
			r.Outcomes[i].Done = false
		}
		r.Outcomes[3].Started = false
		return r, err
	}
	st := study(t, world+"against: edge-only\ndownloads: {deadline: 20s}\n", fails)
	f := st.Runs[0].Figures
	if f["failed"].Mean != 2 || f["downloads"].Mean != 9 || f["late"].Mean != 0.25 {
		t.Errorf("failed %g of %g, late %g; want 2 of 9, 2 of 8", f["failed"].Mean, f["downloads"].Mean, f["late"].Mean)
	}
	st = study(t, world+"downloads: {leave: 5s}\n", fails)
	if got := st.Runs[0].Figures["failed"].Mean; got != 0 {
		t.Errorf("%g failed of users who gave up", got)
	}
}

func TestChecks(t *testing.T) {
	st := study(t, world+`
runs:
  - {name: a}
  - {name: b, set: {policy.alone: true}}
sweep: {hosts.rho: [0.5, 1]}
expect:
  - {figure: offload, run: a, min: 70%, aim: 75%}
  - {figure: offload, run: a, max: 70%, aim: 60%}
  - {figure: time-p50, run: b, over: a, max: 1.2}
  - {figure: offload, run: a, over: b, min: 1}
  - {figure: uplink-use, over: a, max: 2}
`, fluid)
	got := map[string]int{}
	for _, c := range st.Checks {
		got[c.Verdict]++
		if c.Over != "" && c.Over[1:] != c.Run[1:] {
			t.Errorf("%q is compared with %q", c.Run, c.Over)
		}
		if c.Figure == "time-p50" && (c.Value == nil || math.Abs(*c.Value-10.0/9) > 1e-9) {
			t.Errorf("ratio of times %v", c.Value)
		}
	}
	// Two runs of each: min and ratio hold, max is broken, over nothing is not
	// judged, and one over itself is left out.
	if got[Holds] != 6 || got[Broken] != 2 || got[Unjudged] != 2 || st.OK() {
		t.Errorf("verdicts %v", got)
	}
	if !st.Checks[0].Aimed || st.Checks[2].Aimed {
		t.Errorf("aims %+v", st.Checks[:3])
	}
}

// TestEndsEarly interrupts a study in its second run: what is there is kept, and
// nothing is judged by it.
func TestEndsEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	simulate := func(ctx context.Context, c sim.Config) (*sim.Result, error) {
		r, err := fluid(ctx, c)
		if n++; n == 3 {
			cancel()
			r.Complete = false
		}
		return r, err
	}
	f, err := scenario.Parse("test", []byte(world+"repeats: 2\nsweep: {hosts.rho: [1, 2, 3]}\nexpect: [{figure: offload, max: 0}]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := Do(ctx, f, simulate, nil)
	if err != nil {
		t.Fatal(err)
	}
	if st.Complete || len(st.Runs) != 2 || len(st.Runs[0].Seeds) != 2 || len(st.Runs[1].Seeds) != 1 {
		t.Errorf("complete %v, %d runs", st.Complete, len(st.Runs))
	}
	for _, c := range st.Checks {
		if c.Verdict != Unjudged {
			t.Errorf("%+v", c)
		}
	}
	broken := errors.New("broken")
	if _, err := Do(t.Context(), f, func(context.Context, sim.Config) (*sim.Result, error) { return nil, broken }, nil); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestIntervals(t *testing.T) {
	// By hand: mean 3, s = √2.5, t(4) = 2.776.
	f := figureOf([]float64{1, 2, 3, 4, 5})
	if f.Mean != 3 || math.Abs(f.CI-2.776*math.Sqrt(2.5/5)) > 1e-9 {
		t.Errorf("%+v", f)
	}
	if f := figureOf([]float64{7}); f.CI != 0 || f.Mean != 7 {
		t.Errorf("one value: %+v", f)
	}
	for df, want := range map[int]float64{1: 12.706, 20: 2.086, 21: 2.080, 30: 2.042, 60: 2.000, 1000: 1.962} {
		if got := student(df); math.Abs(got-want) > 0.005*want {
			t.Errorf("t of %d is %g, want %g", df, got, want)
		}
	}
}
