//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/sim"
)

// prefix begins the names of the results.
const prefix = "validate-"

// crowd is what came of one crowd, real or simulated, by client.
type crowd struct {
	Seed     uint64    `json:"seed,omitempty"` // of the simulation
	Began    []float64 `json:"began,omitempty"`
	Seconds  []float64 `json:"seconds"`
	FromEdge []int64   `json:"from_edge"`
	Sent     int64     `json:"edge_sent"` // bytes; in the lab with headers
}

func (c crowd) median() float64 { return rig.Median(c.Seconds) }
func (c crowd) p95() float64    { return rig.Quantile(c.Seconds, 0.95) }
func (c crowd) edge() float64 {
	var sum int64
	for _, n := range c.FromEdge {
		sum += n
	}
	return float64(sum)
}

func (c crowd) String() string {
	return fmt.Sprintf("median %.2f s, p95 %.2f s, last %.2f s, %.2f MB from the edge",
		c.median(), c.p95(), slices.Max(c.Seconds), c.edge()/1e6)
}

type result struct {
	Case    string      `json:"case"`
	Date    string      `json:"date"`
	Seed    uint64      `json:"seed"` // of the world
	MiB     int64       `json:"mib"`
	Alone   alone       `json:"client_alone"`
	RTT     float64     `json:"simulated_rtt_seconds"`
	Lab     []crowd     `json:"lab"`
	Sim     []crowd     `json:"sim"`
	Machine rig.Machine `json:"machine"`
}

func labCrowd(got *rig.Observed) crowd {
	c := crowd{Sent: got.Sent}
	for _, o := range got.Outcomes {
		c.Began = append(c.Began, o.Began)
		c.Seconds = append(c.Seconds, o.Seconds)
		c.FromEdge = append(c.FromEdge, o.FromEdge)
	}
	return c
}

// compare simulates every crowd of r with several seeds.
func (o options) compare(ctx context.Context, r *result, world sim.Config) error {
	r.Sim, r.RTT = nil, o.rtt.Seconds()
	for _, run := range r.Lab {
		for k := range o.seeds {
			got, err := o.simulate(ctx, r, world, run, o.seed+uint64(k))
			if err != nil {
				return err
			}
			r.Sim = append(r.Sim, got)
		}
	}
	return nil
}

func (o options) simulate(ctx context.Context, r *result, world sim.Config, run crowd, seed uint64) (crowd, error) {
	cfg, client := o.model(world, r.Alone, run, seed)
	got, err := sim.Run(ctx, cfg)
	if err != nil {
		return crowd{}, err
	}
	if !got.Complete {
		return crowd{}, fmt.Errorf("simulate: %w", ctx.Err())
	}
	n := len(client)
	c := crowd{Seed: seed, Seconds: make([]float64, n), FromEdge: make([]int64, n), Sent: got.Edges[0]}
	for k, i := range client {
		v := got.Outcomes[k]
		if !v.Done {
			return crowd{}, fmt.Errorf("simulate: client %d is not done after %v", i+1, got.Simulated)
		}
		c.Seconds[i], c.FromEdge[i] = (v.Took + o.start(r.Alone)).Seconds(), v.FromEdge
	}
	return c, nil
}

// figures are what is compared, and the difference that may be.
func figures() []figure {
	return []figure{
		{"median", "s", 1, 0.10, crowd.median},
		{"p95", "s", 1, 0.15, crowd.p95},
		{"from the edge", "MB", 1e6, 0.10, crowd.edge},
	}
}

type figure struct {
	name, unit string
	scale      float64
	within     float64
	of         func(crowd) float64
}

// table is the results in Markdown.
func table(results []*result) string {
	var b strings.Builder
	b.WriteString("| case | figure | lab | simulator | difference | at most | crowds, simulations |\n|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		for _, f := range figures() {
			real, model := rig.MedianOf(r.Lab, f.of), rig.MedianOf(r.Sim, f.of)
			off := model/real - 1
			mark := ""
			if max(off, -off) > f.within {
				mark = " ✗"
			}
			fmt.Fprintf(&b, "| %s | %s | %.2f %s | %.2f %s | **%+.1f %%**%s | %.0f %% | %d, %d |\n", r.Case, f.name,
				real/f.scale, f.unit, model/f.scale, f.unit, 100*off, mark, 100*f.within, len(r.Lab), len(r.Sim))
		}
	}
	return b.String()
}

// save keeps the results and renews the table of all that were ever kept.
func save(results []*result) error {
	for _, r := range results {
		if err := rig.WriteJSON(prefix+r.Case, r); err != nil {
			return err
		}
	}
	kept, err := rig.ReadAll[*result](prefix)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# Simulator and lab\n\nMade by `go run ./bench/validate`. Cases a and b: 16 clients, 20/20 Mbit/s with an edge of 20, and 5/40 with an edge of 40; mixed: the world of scenarios/mixed-crowd.yaml. Medians over crowds and simulations.\n\n")
	b.WriteString(table(kept) + "\n")
	var seen []string
	for _, k := range kept {
		seen = append(seen, fmt.Sprintf("%s: %s; of a client alone %s; simulated round trip %g ms", k.Date, k.Machine, k.Alone, 1000*k.RTT))
	}
	b.WriteString(rig.List(seen))
	return rig.WriteTable("validate", b.String())
}
