// Package study runs scenarios and judges them: every run of a scenario file
// with every seed, beside the same world served by the edge alone where the
// scenario asks for it, summed up in figures with their bounds, confidence
// intervals and the scenario's expectations. The result is plain data; package
// report shows it.
package study

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
)

// Study is what came of a scenario file. Its JSON is stable.
type Study struct {
	Scenario string  `json:"scenario"`
	Title    string  `json:"title"`
	About    string  `json:"about,omitempty"`
	Facts    []Fact  `json:"facts,omitempty"`
	Complete bool    `json:"complete"` // false: ended early
	Against  bool    `json:"against_edge_only"`
	Runs     []Run   `json:"runs"`
	Checks   []Check `json:"checks"`
	Machine  Machine `json:"machine"`
}

// Fact is a figure from outside and how it is known.
type Fact struct {
	Figure string `json:"figure"`
	Value  string `json:"value"`
	Known  string `json:"known"`
	Source string `json:"source,omitempty"`
}

// Machine says where, when and by what a study was made.
type Machine struct {
	Command string  `json:"command"`
	Version string  `json:"version"`
	Go      string  `json:"go"`
	System  string  `json:"system"`
	CPUs    int     `json:"cpus"`
	Date    string  `json:"date"`    // RFC 3339
	Seconds float64 `json:"seconds"` // of real time
}

// Run is one world of the scenario, over its seeds.
type Run struct {
	Name       string            `json:"name"`
	Set        [][2]string       `json:"set,omitempty"` // what it changes of the scenario
	Parameters [][2]string       `json:"parameters"`
	Seeds      []uint64          `json:"seeds"`
	Figures    map[string]Figure `json:"figures"`

	// Of the first seed; times are in seconds, curves the quantiles from 0 to 1.
	Times      []float64  `json:"times,omitempty"`
	AloneTimes []float64  `json:"edge_only_times,omitempty"`
	Ratios     []float64  `json:"ratios,omitempty"`
	Series     []Sample   `json:"series,omitempty"`
	Matrix     [][]int64  `json:"as_matrix,omitempty"` // bytes, from row to column
	ASes       []uint32   `json:"ases,omitempty"`      // of rows and columns; 0: all others
	Copies     []float64  `json:"copies,omitempty"`    // by object, most wanted first
	Marks      []Interval `json:"marks,omitempty"`     // what the scenario did when
	Playback   *Playback  `json:"playback,omitempty"`  // of a stream

	Transfers int64   `json:"transfers"` // over all seeds
	Events    int64   `json:"events"`
	Wall      float64 `json:"wall_seconds"`
}

// Figure is a number over the seeds of a run.
type Figure struct {
	Mean   float64   `json:"mean"`
	CI     float64   `json:"ci95"` // half the width of its 95 % confidence interval; 0 of one seed
	Values []float64 `json:"values"`
}

// Sample is the state of the world in one interval of time.
type Sample struct {
	At     float64 `json:"at"`    // end, seconds
	Span   float64 `json:"span"`  // seconds
	Edge   int64   `json:"edge"`  // bytes from edges in it
	Peers  int64   `json:"peers"` // bytes from peers in it
	Active int     `json:"active"`
	Seeds  int     `json:"seeds"`
	Done   int     `json:"done"`
}

// Interval is a time in which something in the world was not as usual.
type Interval struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	What string  `json:"what"`
}

// Progress says how far a study is.
type Progress struct {
	Done, Of int // simulations
	Run      string
	Seed     uint64
	Alone    bool // the edge alone
}

// Simulate is [sim.Run], or what stands in for it.
type Simulate func(context.Context, sim.Config) (*sim.Result, error)

// Do runs a scenario file. When ctx ends it returns what there is so far.
func Do(ctx context.Context, f *scenario.File, simulate Simulate, progress func(Progress)) (*Study, error) {
	s := &f.Scenario
	st := &Study{Scenario: f.Name, Title: s.Title, About: s.About, Complete: true, Against: s.Against == "edge-only", Checks: []Check{}}
	for _, x := range s.Facts {
		st.Facts = append(st.Facts, Fact(x))
	}
	total := 0
	for _, r := range f.Runs {
		total += sims(&r.Scenario)
	}
	d := &doer{simulate: simulate, progress: progress, of: total}
	for _, r := range f.Runs {
		run, err := d.run(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("scenario %s: run %q: %w", f.Name, r.Name, err)
		}
		if len(run.Seeds) > 0 {
			st.Runs = append(st.Runs, *run)
		}
		if ctx.Err() != nil {
			st.Complete = false
			break
		}
	}
	st.judge(f)
	return st, nil
}

// sims is the number of simulations of a run.
func sims(s *scenario.Scenario) int {
	if s.Against == "edge-only" && !s.Policy.Alone {
		return 2 * s.Repeats
	}
	return s.Repeats
}

type doer struct {
	simulate Simulate
	progress func(Progress)
	done, of int
}

func (d *doer) run(ctx context.Context, r scenario.Run) (*Run, error) {
	s := &r.Scenario
	run := &Run{Name: r.Name, Set: r.Set, Parameters: s.Fields(), Figures: map[string]Figure{}, Marks: marks(s)}
	values := map[string][]float64{}
	for k := range s.Repeats {
		p, err := d.pair(ctx, r, s.Seed+uint64(k))
		if err != nil {
			return nil, err
		}
		if p == nil || ctx.Err() != nil && k > 0 {
			break // the seeds that are complete say more without half a one
		}
		for name, v := range p.figures() {
			values[name] = append(values[name], v)
		}
		if k == 0 {
			p.curves(run)
		}
		run.Seeds = append(run.Seeds, p.cfg.Seed)
		run.Transfers, run.Events = run.Transfers+p.got.Transfers, run.Events+p.got.Events
		run.Wall += p.got.Wall.Seconds()
	}
	for name, v := range values {
		run.Figures[name] = figureOf(v)
	}
	return run, nil
}

// pair simulates a world with peers and, where it is asked for, without; nil when
// ctx ended before there was anything.
func (d *doer) pair(ctx context.Context, r scenario.Run, seed uint64) (*pair, error) {
	if ctx.Err() != nil {
		return nil, nil //nolint:nilnil // nothing is what there is
	}
	p := &pair{s: &r.Scenario, cfg: r.Config(seed)}
	var err error
	if sims(p.s) > p.s.Repeats {
		alone := p.cfg
		alone.Alone = true
		if p.alone, err = d.once(ctx, alone, r.Name); err != nil || p.alone == nil || ctx.Err() != nil {
			return nil, err // half of it is no measure
		}
	}
	if p.got, err = d.once(ctx, p.cfg, r.Name); err != nil || p.got == nil {
		return nil, err
	}
	return p, nil
}

func (d *doer) once(ctx context.Context, c sim.Config, name string) (*sim.Result, error) {
	if d.progress != nil {
		d.progress(Progress{Done: d.done, Of: d.of, Run: name, Seed: c.Seed, Alone: c.Alone})
	}
	d.done++
	got, err := d.simulate(ctx, c)
	if got != nil && len(got.Outcomes) == len(c.Downloads) && ctx.Err() != nil {
		return got, nil
	}
	if err != nil && ctx.Err() != nil {
		return nil, nil //nolint:nilnil // it had nothing yet
	}
	return got, err
}

// marks are the faults and outages of a scenario.
func marks(s *scenario.Scenario) []Interval {
	var list []Interval
	add := func(from, to scenario.Duration, what string) {
		list = append(list, Interval{time.Duration(from).Seconds(), time.Duration(to).Seconds(), what})
	}
	for i, e := range s.Edges {
		for _, f := range e.Faults {
			what := "edge"
			if len(s.Edges) > 1 {
				what = fmt.Sprintf("edge %d", i+1)
			}
			if f.Rate > 0 {
				what += " at " + f.Rate.String() + "/s"
			} else {
				what += " silent"
			}
			add(f.From, f.To, what)
		}
	}
	for _, o := range s.Control.Outages {
		add(o.From, o.To, "no control")
	}
	for _, t := range s.Control.Wipes {
		add(t, t, "directory wiped")
	}
	return list
}
