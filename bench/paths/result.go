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
	Mbit    float64              `json:"mbit_per_second"`
	Peers   int                  `json:"peers"`
	Warm    float64              `json:"warm"` // seconds from the begin to where filled begins
	Runs    map[string][]figures `json:"runs"` // by variant
	Machine rig.Machine          `json:"machine"`
}

// writeTable makes the table of all results that are kept.
func writeTable() error {
	all, err := rig.ReadAll[result]("paths-")
	if err != nil {
		return err
	}
	var b strings.Builder
	var machines []string
	b.WriteString("# Long paths\n\nMade by `go run ./bench/paths`. A client gets a file from peers over a path of its own that loses packets at random each way; the edge gives 1 Mbit/s. " +
		"Share of the client's downlink that is filled, all headers counted, from so many seconds after the transfer has begun on (in brackets: before). " +
		"Bare: zeros over one connection to each peer, with cubic for TCP and NewReno for quic-go. Medians.\n\n" +
		"| case | peers | round trip | loss each way | downlink | after |")
	for _, v := range variants() {
		b.WriteString(" " + v + " |")
	}
	b.WriteString(" TLS/TCP ÷ bare | QUIC ÷ bare | runs |\n|---|---|---|---|---|---|" + strings.Repeat("---|", len(variants())) + "---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %d | %.0f ms | %g %% | %g Mbit/s | %g s |", r.Case, r.Peers, 1000*r.RTT, 100*r.Loss, r.Mbit, r.Warm)
		for _, v := range variants() {
			if len(r.Runs[v]) == 0 {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(&b, " **%.1f %%** (%.0f) |", 100*r.filled(v), 100*rig.MedianOf(r.Runs[v], func(f figures) float64 { return f.Early }))
		}
		fmt.Fprintf(&b, " %s | %s | %d |\n", r.ratio(overTCP, bareTCP), r.ratio(overQUIC, bareQUIC), r.least())
		machines = append(machines, r.Date+": "+r.Machine.String())
	}
	return rig.WriteTable("paths", b.String()+"\n"+rig.List(machines))
}

// filled is the median share of a variant.
func (r result) filled(v string) float64 {
	return rig.MedianOf(r.Runs[v], func(f figures) float64 { return f.Filled })
}

// ratio of two variants, if both were run.
func (r result) ratio(v, to string) string {
	if len(r.Runs[v]) == 0 || r.filled(to) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", r.filled(v)/r.filled(to))
}

// least is how many runs each variant has that has any.
func (r result) least() (n int) {
	for _, f := range r.Runs {
		if n == 0 || len(f) < n {
			n = len(f)
		}
	}
	return n
}
