//go:build linux

package main

import (
	"fmt"
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
	b.WriteString("\n" + machines(kept))
	return rig.WriteTable("flash", b.String())
}

// machines lists the machines and days behind a table, each once.
func machines(all []result) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, r := range all {
		m := r.Machine
		line := fmt.Sprintf("- %s: %d × %s, %d GiB, %s kernel %s, %s, TCP %s\n",
			r.Date, m.Cores, m.CPU, m.MemoryGiB, m.OS, m.Kernel, m.Go, m.CongestionControl)
		if !seen[line] {
			seen[line] = true
			b.WriteString(line)
		}
	}
	return b.String()
}
