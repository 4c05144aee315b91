//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// measure is one run.
type measure struct {
	Makespan   float64   `json:"makespan_seconds"` // slowest client, as it says itself
	TimesBound float64   `json:"times_bound"`
	Median     float64   `json:"median_seconds"` // of the clients
	Wall       float64   `json:"wall_seconds"`   // from the first start of a process
	Copies     float64   `json:"edge_copies"`    // bytes the edge's interface sent ÷ file size
	FromPeers  float64   `json:"from_peers"`     // share of delivered bytes; 0 where not known
	Wasted     float64   `json:"wasted"`         // share of delivered bytes; 0 where not known
	Seconds    []float64 `json:"seconds,omitempty"`
}

func (m measure) String() string {
	return fmt.Sprintf("last %.1f s = %.2f × bound, median %.1f s, edge sent %.2f copies, %.1f %% from peers, %.2f %% wasted",
		m.Makespan, m.TimesBound, m.Median, m.Copies, 100*m.FromPeers, 100*m.Wasted)
}

func measured(o *rig.Observed, bound float64) measure {
	m := measure{
		Wall:      o.Wall.Seconds(),
		Copies:    float64(o.Sent) / float64(o.Size),
		FromPeers: o.FromPeers(),
		Wasted:    o.Wasted(),
	}
	for _, c := range o.Outcomes {
		m.Seconds = append(m.Seconds, c.Seconds)
	}
	slices.Sort(m.Seconds)
	m.Median = rig.Median(m.Seconds)
	m.Makespan = m.Seconds[len(m.Seconds)-1]
	m.TimesBound = m.Makespan / bound
	return m
}

// result is what is kept of one system in one case.
type result struct {
	Case    string      `json:"case"`
	What    string      `json:"what"`
	Date    string      `json:"date"`
	N       int         `json:"clients"`
	MiB     int64       `json:"mib"`
	Rates   rates       `json:"bits_per_second"`
	Bound   float64     `json:"bound_seconds"`
	Median  measure     `json:"median"` // each figure's median over the runs
	Runs    []measure   `json:"runs"`
	Machine rig.Machine `json:"machine"`
}

func medians(runs []measure) measure {
	of := func(f func(measure) float64) float64 { return rig.MedianOf(runs, f) }
	return measure{
		Makespan:   of(func(m measure) float64 { return m.Makespan }),
		TimesBound: of(func(m measure) float64 { return m.TimesBound }),
		Median:     of(func(m measure) float64 { return m.Median }),
		Wall:       of(func(m measure) float64 { return m.Wall }),
		Copies:     of(func(m measure) float64 { return m.Copies }),
		FromPeers:  of(func(m measure) float64 { return m.FromPeers }),
		Wasted:     of(func(m measure) float64 { return m.Wasted }),
	}
}

// table is the results in Markdown.
func table(all []result) string {
	var b strings.Builder
	b.WriteString("| case | system | clients × MiB | up/down/edge Mbit/s | bound | last client ÷ bound | median client | copies by the edge | from peers | wasted | runs |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		share := func(v float64) string {
			if r.What != "tandem" {
				return "–"
			}
			return fmt.Sprintf("%.1f %%", 100*v)
		}
		m := r.Median
		fmt.Fprintf(&b, "| %s | %s | %d × %d | %g/%g/%g | %.1f s | **%.2f** | %.1f s | **%.2f** | %s | %s | %d |\n",
			r.Case, r.What, r.N, r.MiB, mbit(r.Rates.Up), mbit(r.Rates.Down), mbit(r.Rates.Edge), r.Bound,
			m.TimesBound, m.Median, m.Copies, share(m.FromPeers), share(m.Wasted), len(r.Runs))
	}
	return b.String()
}

func mbit[T ~int64](r T) float64 { return float64(r) / 1e6 }

// save keeps the results and renews the table of all that were ever kept.
func save(all []result) error {
	for _, r := range all {
		name := fmt.Sprintf("flash-%s-n%d-%dmib-%s", r.Case, r.N, r.MiB, r.What)
		if err := rig.WriteJSON(name, r); err != nil {
			return err
		}
	}
	kept, err := rig.ReadAll[result]("flash-")
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# Flash crowd\n\nMade by `go run ./bench/flash`; each figure is the median of the runs.\n\n")
	b.WriteString(table(kept))
	var seen []string
	for _, k := range kept {
		seen = append(seen, k.Date+": "+k.Machine.String())
	}
	b.WriteString("\n" + rig.List(seen))
	return rig.WriteTable("flash", b.String())
}
