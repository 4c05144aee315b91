//go:build linux

// Command mixed is the crowd of scenarios/mixed-crowd.yaml for real: forty clients
// with links of all kinds join over half a minute, a third behind cone and a third
// behind symmetric NAT, on an edge of 50 Mbit/s; then the same clients at the same
// moments from the edge alone. It reports each client's time over its time without
// peers, and the share that peers delivered against the most they could have.
//
//	go run ./bench/mixed
//	go run ./bench/mixed -seed 2 -runs 3
//
// Figures go to bench/results. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
	"github.com/tandem-cdn/tandem/scenarios"
)

const world = "mixed-crowd"

type options struct {
	rig.Options
	sets    []string
	seed    uint64
	flags   string
	timeout time.Duration
}

func main() { rig.Main(bench) }

func parse() options {
	var o options
	flag.Func("set", "change a field of the scenario, as in tandem sim: -set objects.size=16M; may be repeated", func(s string) error {
		o.sets = append(o.sets, s)
		return nil
	})
	flag.Uint64Var(&o.seed, "seed", 1, "of links, NATs and arrivals; of the first run")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get where peers help")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of one crowd")
	o.Parse(1, "runs, each with a seed of its own; medians are reported")
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	text, err := scenarios.Read(world)
	if err != nil {
		return fmt.Errorf("scenario %s: %w", world, err)
	}
	f, err := scenario.Parse(world, text, o.sets)
	if err != nil {
		return fmt.Errorf("scenario %s: %w", world, err)
	}
	r := result{Date: time.Now().UTC().Format(time.DateOnly), Sets: o.sets}
	for i := range o.Runs {
		got, err := o.pair(ctx, &r, f.Scenario.Config(o.seed+uint64(i)))
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		fmt.Println(got)
		r.Runs = append(r.Runs, got)
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.Save {
		return nil
	}
	return r.save()
}

// pair is a crowd with peers and the same without.
func (o options) pair(ctx context.Context, r *result, c sim.Config) (run, error) {
	trial, err := rig.Trial{Timeout: o.timeout}.Of(c)
	if err != nil {
		return run{}, err
	}
	trial.System = rig.Tandem{Binary: o.Binary, Flags: strings.Fields(o.flags)}
	with, err := trial.Run(ctx)
	if err != nil {
		return run{}, err
	}
	trial.System = rig.Tandem{Binary: o.Binary, Flags: []string{"--no-p2p"}}
	alone, err := trial.Run(ctx)
	if err != nil {
		return run{}, fmt.Errorf("from the edge alone: %w", err)
	}
	r.Clients, r.Bytes, r.EdgeMbit, r.Machine = len(trial.Clients), with.Size, 8e-6*c.Edges[0].Rate, with.Machine
	return measured(c, with, alone), nil
}
