//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// result is one case.
type result struct {
	Date    string               `json:"date"`
	Case    string               `json:"case"`
	RTT     float64              `json:"rtt"` // seconds
	Loss    float64              `json:"loss"`
	Mbit    float64              `json:"uplink_mbit_per_second"`
	Peers   int                  `json:"peers"`
	Buffer  float64              `json:"buffer"` // seconds
	Runs    map[string][]figures `json:"runs"`   // by mode
	Machine rig.Machine          `json:"machine"`
}

// writeTable makes the table of all results that are kept.
func writeTable() error {
	all, err := rig.ReadAll[result]("manners-")
	if err != nil {
		return err
	}
	var b strings.Builder
	var machines []string
	b.WriteString("# Manners\n\nMade by `go run ./bench/manners`. A client behind a home router shares with peers that want all it can give; in case down it downloads in the background from an edge and peers that can give more than its downlink carries. " +
		"Medians; \"added\" is by what a ping takes longer than without that, \"kept\" what a transfer over TCP the same way has beside it of the rate it has alone, from two seconds after its start on.\n\n" +
		"| case | narrow way | round trip | loss each way | peers | mode | of it used | added p50 | added p95 | kept | runs |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		for _, mode := range []string{governed, plain} {
			runs := r.Runs[mode]
			kept := "–"
			if r.Case != idle {
				kept = fmt.Sprintf("**%.1f %%**", 100*rig.MedianOf(runs, func(f figures) float64 { return f.Kept }))
			}
			fmt.Fprintf(&b, "| %s | %g Mbit/s, buffer %g s | %.0f ms | %g %% | %d | %s | **%.1f %%** | %.0f ms | **%.0f ms** | %s | %d |\n",
				r.Case, r.Mbit, r.Buffer, 1000*r.RTT, 100*r.Loss, r.Peers, mode,
				100*rig.MedianOf(runs, func(f figures) float64 { return f.Used }),
				1000*rig.MedianOf(runs, func(f figures) float64 { return f.AddedP50 }),
				1000*rig.MedianOf(runs, func(f figures) float64 { return f.AddedP95 }), kept, len(runs))
		}
		machines = append(machines, r.Date+": "+r.Machine.String())
	}
	return rig.WriteTable("manners", b.String()+"\n"+rig.List(machines))
}
