//go:build linux

// Command validate holds the simulator against the real programs. Crowds run in
// the lab; then the simulator runs the same worlds, with every client beginning
// at the very moment it really began, and the figures stand side by side.
//
//	go run ./bench/validate
//	go run ./bench/validate -case a -runs 3
//	go run ./bench/validate -again -rtt 20ms    # simulate what was recorded, with another round trip
//
// The lab has no delay but its queues, of 100 ms when they are full. What part of a
// link is payload and how long a start takes is measured first with a client alone.
// Figures go to bench/results. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/sim"
)

type options struct {
	rig.Options
	cases      []string
	seeds      int
	seed       uint64
	mib        int64
	rtt        time.Duration
	efficiency float64
	startup    time.Duration
	again      bool
	flags      string
	timeout    time.Duration
}

func main() { rig.Main(bench) }

func parse() (options, error) {
	var o options
	cs := flag.String("case", "all", "comma-separated: a (16 clients 20/20 Mbit/s, edge 20), b (16 clients 5/40, edge 40), mixed (scenarios/mixed-crowd.yaml), all")
	flag.IntVar(&o.seeds, "seeds", 5, "simulations of each crowd")
	flag.Uint64Var(&o.seed, "seed", 1, "of worlds that are drawn, and of the first simulation")
	flag.Int64Var(&o.mib, "mib", 32, "size of the file in MiB, but for the mixed crowd")
	flag.DurationVar(&o.rtt, "rtt", 50*time.Millisecond, "round trip of the simulated network: half of what full queues of the lab are")
	flag.Float64Var(&o.efficiency, "efficiency", 0, "part of a link that is payload (default: as measured)")
	flag.DurationVar(&o.startup, "startup", -1, "time a download takes before its first byte (default: as measured)")
	flag.BoolVar(&o.again, "again", false, "simulate the crowds that bench/results has, without the lab")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of one crowd")
	o.Parse(1, "crowds in the lab; medians are compared")
	o.cases = strings.Split(*cs, ",")
	if *cs == "all" {
		o.cases = slices.Sorted(maps.Keys(worlds()))
	}
	for _, c := range o.cases {
		if _, ok := worlds()[c]; !ok {
			return o, fmt.Errorf("case %q: there are a, b, mixed and all", c)
		}
	}
	return o, nil
}

func bench(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	recorded := o.observe
	if o.again {
		recorded = o.recall
	}
	results, err := recorded(ctx)
	if err != nil {
		return err
	}
	for _, r := range results {
		world, err := worlds()[r.Case](r.MiB, r.Seed)
		if err != nil {
			return err
		}
		if err := o.compare(ctx, r, world); err != nil {
			return fmt.Errorf("case %s: %w", r.Case, err)
		}
	}
	fmt.Print("\n", table(results), "\n")
	if !o.Save {
		return nil
	}
	return save(results)
}

// observe runs the crowds in the lab, in turn.
func (o options) observe(ctx context.Context) ([]*result, error) {
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return nil, err
	}
	defer remove()
	alone, err := o.measureAlone(ctx)
	if err != nil {
		return nil, fmt.Errorf("a client alone: %w", err)
	}
	fmt.Println("a client alone:", alone)
	var results []*result
	for _, name := range o.cases {
		results = append(results, &result{Case: name, Date: time.Now().UTC().Format(time.DateOnly), Seed: o.seed, MiB: o.mib, Alone: alone})
	}
	for i := range o.Runs {
		for _, r := range results {
			world, err := worlds()[r.Case](r.MiB, r.Seed)
			if err != nil {
				return nil, err
			}
			got, err := o.crowd(ctx, world)
			if err != nil {
				return nil, fmt.Errorf("case %s, run %d: %w", r.Case, i+1, err)
			}
			r.Lab = append(r.Lab, labCrowd(got))
			r.Machine = got.Machine
			fmt.Printf("case %s run %d: %s\n", r.Case, i+1, r.Lab[i])
		}
	}
	return results, nil
}

// recall reads what observe has kept.
func (o options) recall(context.Context) ([]*result, error) {
	kept, err := rig.ReadAll[*result](prefix)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(kept, func(r *result) bool { return !slices.Contains(o.cases, r.Case) }), nil
}

func (o options) crowd(ctx context.Context, c sim.Config) (*rig.Observed, error) {
	trial, err := rig.Trial{Timeout: o.timeout}.Of(c)
	if err != nil {
		return nil, err
	}
	trial.System = rig.Tandem{Binary: o.Binary, Flags: strings.Fields(o.flags)}
	return trial.Run(ctx)
}
