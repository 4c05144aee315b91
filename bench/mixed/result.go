//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/bound"
)

// client is one download in both crowds.
type client struct {
	UpMbit    float64 `json:"up_mbit_per_second"`
	DownMbit  float64 `json:"down_mbit_per_second"`
	NAT       string  `json:"nat"`
	Began     float64 `json:"began_seconds"`
	Seconds   float64 `json:"seconds"`
	EdgeOnly  float64 `json:"edge_only_seconds"`
	FromPeers float64 `json:"from_peers"` // share of its bytes
}

func (c client) ratio() float64 { return c.Seconds / c.EdgeOnly }

// run is a crowd and what it comes to.
type run struct {
	Seed     uint64   `json:"seed"`
	P50      float64  `json:"ratio_p50"` // of time ÷ time from the edge alone
	P99      float64  `json:"ratio_p99"`
	Worst    float64  `json:"ratio_worst"`
	Median   float64  `json:"median_seconds"`
	EdgeOnly float64  `json:"edge_only_median_seconds"`
	Offload  float64  `json:"offload"`
	Bound    float64  `json:"offload_bound"`
	Copies   float64  `json:"edge_copies"`
	Wasted   float64  `json:"wasted"` // share of delivered bytes
	Clients  []client `json:"clients"`
}

type result struct {
	Date     string      `json:"date"`
	Clients  int         `json:"clients"`
	Bytes    int64       `json:"bytes"`
	EdgeMbit float64     `json:"edge_mbit_per_second"`
	Sets     []string    `json:"set,omitempty"` // what differs from the scenario
	Runs     []run       `json:"runs"`
	Machine  rig.Machine `json:"machine"`
}

func (r run) String() string {
	return fmt.Sprintf("seed %d: time ÷ edge alone p50 %.3f, p99 %.3f, worst %.3f; offload %.1f %% of %.1f %% = %.3f",
		r.Seed, r.P50, r.P99, r.Worst, 100*r.Offload, 100*r.Bound, r.Offload/r.Bound)
}

func measured(c sim.Config, with, alone *rig.Observed) run {
	r := run{
		Seed: c.Seed, Offload: with.FromPeers(), Bound: offload(c, with, alone),
		Copies: float64(with.Sent) / float64(with.Size), Wasted: with.Wasted(),
	}
	var seconds, without, ratios []float64
	for i, d := range c.Downloads {
		h, o, a := c.Hosts[d.Host], with.Outcomes[i], alone.Outcomes[i]
		one := client{
			UpMbit: 8e-6 * h.Up, DownMbit: 8e-6 * h.Down, NAT: string(h.NAT),
			Began: o.Began, Seconds: o.Seconds, EdgeOnly: a.Seconds,
			FromPeers: float64(o.FromPeers) / float64(o.FromEdge+o.FromPeers),
		}
		r.Clients = append(r.Clients, one)
		seconds, without, ratios = append(seconds, one.Seconds), append(without, one.EdgeOnly), append(ratios, one.ratio())
	}
	r.P50, r.P99, r.Worst = rig.Quantile(ratios, 0.5), rig.Quantile(ratios, 0.99), rig.Quantile(ratios, 1)
	r.Median, r.EdgeOnly = rig.Median(seconds), rig.Median(without)
	return r
}

// offload is the largest share that peers could have delivered to these clients
// with nobody waiting longer than for the edge alone. Links count whole, headers
// and all, and NATs keep nobody apart: it is a bound, not what can be had.
func offload(c sim.Config, with, alone *rig.Observed) float64 {
	var wants []bound.Want
	for i, d := range c.Downloads {
		h := c.Hosts[d.Host]
		wants = append(wants, bound.Want{
			At: with.Outcomes[i].Began, Duration: alone.Outcomes[i].Seconds,
			Down: h.Down, Up: h.Up, Stays: c.Until.Seconds(),
		})
	}
	size := float64(with.Size)
	return bound.PeerBytes([]float64{size}, wants, nil) / (size * float64(len(wants)))
}

func (r result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients, %.1f MB, edge %g Mbit/s; worlds drawn from scenarios/%s.yaml", r.Clients, float64(r.Bytes)/1e6, r.EdgeMbit, world)
	if len(r.Sets) > 0 {
		b.WriteString(" with " + strings.Join(r.Sets, ", "))
	}
	b.WriteString(".\n\n| seed | time ÷ edge alone, p50 | p99 | worst | median client | from the edge alone | offload | its bound | offload ÷ bound | copies by the edge | wasted |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	row := func(name string, of func(func(run) float64) float64) {
		offload, most := of(func(v run) float64 { return v.Offload }), of(func(v run) float64 { return v.Bound })
		fmt.Fprintf(&b, "| %s | **%.3f** | **%.3f** | %.3f | %.1f s | %.1f s | %.1f %% | %.1f %% | **%.3f** | %.2f | %.2f %% |\n", name,
			of(func(v run) float64 { return v.P50 }), of(func(v run) float64 { return v.P99 }), of(func(v run) float64 { return v.Worst }),
			of(func(v run) float64 { return v.Median }), of(func(v run) float64 { return v.EdgeOnly }),
			100*offload, 100*most, of(func(v run) float64 { return v.Offload / v.Bound }),
			of(func(v run) float64 { return v.Copies }), 100*of(func(v run) float64 { return v.Wasted }))
	}
	for _, v := range r.Runs {
		row(fmt.Sprint(v.Seed), func(f func(run) float64) float64 { return f(v) })
	}
	if len(r.Runs) > 1 {
		row("median", func(f func(run) float64) float64 { return rig.MedianOf(r.Runs, f) })
	}
	return b.String()
}

func (r result) save() error {
	if err := rig.WriteJSON("mixed", r); err != nil {
		return err
	}
	return rig.WriteTable("mixed", "# Mixed crowd\n\nMade by `go run ./bench/mixed`.\n\n"+
		r.table()+"\n"+rig.List([]string{r.Date + ": " + r.Machine.String()}))
}
