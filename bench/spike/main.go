//go:build linux

// Command spike sends many more clients at once to an edge than it admits: forty
// clients of 10/10 Mbit/s, an edge of 10 Mbit/s that answers ten requests at a
// time and tells everybody else to come back. It reports the time until the last
// has the file against the Kumar–Ross bound, beside the same crowd on an edge that
// admits all; a client that fails ends the benchmark with an error.
//
//	go run ./bench/spike
//	go run ./bench/spike -n 40 -admit 10 -runs 3
//
// Figures go to bench/results. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	clients, admit int
	mib            int64
	mbit           float64
	timeout        time.Duration
}

// measure is one crowd.
type measure struct {
	Makespan   float64 `json:"makespan_seconds"` // slowest client, as it says itself
	TimesBound float64 `json:"times_bound"`
	Median     float64 `json:"median_seconds"`
	Copies     float64 `json:"edge_copies"`
	FromPeers  float64 `json:"from_peers"` // share of delivered bytes
	Wasted     float64 `json:"wasted"`     // share of delivered bytes
}

type result struct {
	Date    string      `json:"date"`
	Clients int         `json:"clients"`
	Admits  int         `json:"admitted_requests"`
	MiB     int64       `json:"mib"`
	Mbit    float64     `json:"mbit_per_second"` // of each client, each way, and of the edge
	Bound   float64     `json:"bound_seconds"`
	Limited []measure   `json:"limited"`
	Open    []measure   `json:"open"` // the same without a limit
	Machine rig.Machine `json:"machine"`
}

func main() { rig.Main(bench) }

func parse() options {
	var o options
	flag.IntVar(&o.clients, "n", 40, "clients")
	flag.IntVar(&o.admit, "admit", 10, "requests that the edge answers at once")
	flag.Int64Var(&o.mib, "mib", 16, "size of the file in MiB")
	flag.Float64Var(&o.mbit, "mbit", 10, "of each client, up and down, and of the edge, in Mbit/s")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of one crowd")
	o.Parse(1, "runs of each; medians are reported")
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	rate, n := o.mbit*1e6, float64(o.clients)
	bits := float64(o.mib<<20) * 8
	r := result{
		Date: time.Now().UTC().Format(time.DateOnly), Clients: o.clients, Admits: o.admit, MiB: o.mib, Mbit: o.mbit,
		Bound: max(bits/rate, n*bits/(rate+n*rate)),
	}
	for i := range o.Runs {
		for _, limited := range []bool{true, false} {
			m, machine, err := o.crowd(ctx, limited, r.Bound)
			if err != nil {
				return fmt.Errorf("run %d: %w", i+1, err)
			}
			fmt.Printf("limited %-5v last %.1f s = %.2f × bound, median %.1f s, %.2f copies by the edge, %.1f %% from peers\n",
				limited, m.Makespan, m.TimesBound, m.Median, m.Copies, 100*m.FromPeers)
			if limited {
				r.Limited = append(r.Limited, m)
			} else {
				r.Open = append(r.Open, m)
			}
			r.Machine = machine
		}
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.Save {
		return nil
	}
	if err := rig.WriteJSON("spike", r); err != nil {
		return err
	}
	return rig.WriteTable("spike", "# Spike\n\nMade by `go run ./bench/spike`; each figure is the median of the runs.\n\n"+
		r.table()+"\n"+rig.List([]string{r.Date + ": " + r.Machine.String()}))
}

func (o options) crowd(ctx context.Context, limited bool, bound float64) (measure, rig.Machine, error) {
	each := lab.Rate(o.mbit * float64(lab.Mbit))
	system := rig.Tandem{Binary: o.Binary}
	if limited {
		system.Server = []string{"--max-requests", strconv.Itoa(o.admit)}
	}
	got, err := rig.Trial{
		Clients: rig.Alike(o.clients, lab.Link{Up: each, Down: each}), Edge: lab.Link{Up: each, Down: each},
		System: system, File: rig.RandomFile(o.mib << 20), Timeout: o.timeout,
	}.Run(ctx)
	if err != nil {
		return measure{}, rig.Machine{}, err
	}
	var seconds []float64
	for _, c := range got.Outcomes {
		seconds = append(seconds, c.Seconds)
	}
	last := slices.Max(seconds)
	return measure{
		Makespan: last, TimesBound: last / bound, Median: rig.Median(seconds),
		Copies: float64(got.Sent) / float64(got.Size), FromPeers: got.FromPeers(), Wasted: got.Wasted(),
	}, got.Machine, nil
}

func (r result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients, %d MiB, %g Mbit/s each way, edge %g Mbit/s; bound %.1f s. Nobody failed.\n\n", r.Clients, r.MiB, r.Mbit, r.Mbit, r.Bound)
	b.WriteString("| the edge admits | last client ÷ bound | median client | copies by the edge | from peers | wasted | runs |\n|---|---|---|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		runs []measure
	}{{strconv.Itoa(r.Admits) + " requests", r.Limited}, {"all", r.Open}} {
		of := func(f func(measure) float64) float64 { return rig.MedianOf(row.runs, f) }
		fmt.Fprintf(&b, "| %s | **%.2f** | %.1f s | %.2f | %.1f %% | %.2f %% | %d |\n", row.name,
			of(func(m measure) float64 { return m.TimesBound }), of(func(m measure) float64 { return m.Median }),
			of(func(m measure) float64 { return m.Copies }), 100*of(func(m measure) float64 { return m.FromPeers }),
			100*of(func(m measure) float64 { return m.Wasted }), len(row.runs))
	}
	return b.String()
}
