//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// offload is the part of what was played that the edge did not send; of a stream on demand
// without the first viewer, who has nobody to get it from.
func (r *result) offload() float64 {
	sent, sum := r.Sent, int64(0)
	for _, p := range r.Players {
		sum += p.Bytes
	}
	if first := r.Players[0].Bytes; !r.Live {
		sent, sum = max(0, sent-first), sum-first
	}
	if sum == 0 {
		return 0
	}
	return 1 - float64(sent)/float64(sum)
}

// of are the values of all players, sorted.
func (r *result) of(f func(played) float64) []float64 {
	var v []float64
	for _, p := range r.Players {
		v = append(v, f(p))
	}
	slices.Sort(v)
	return v
}

func (r *result) stalls() (n int, seconds float64) {
	for _, p := range r.Players {
		n += p.Stalls
		seconds += p.Stalled
	}
	return n, seconds
}

func (r *result) latency() float64 {
	return rig.Median(r.of(func(p played) float64 { return p.Latency }))
}

func (r *result) String() string {
	n, stalled := r.stalls()
	start := r.of(func(p played) float64 { return p.Startup })
	return fmt.Sprintf("%s, %-6s %5.1f %% from peers, start-up median %.2f s, slowest %.2f s, %d stalls (%.1f s), %.1f s behind, %.2f Mbit/s",
		r.Case, r.What, 100*r.offload(), rig.Median(start), start[len(start)-1], n, stalled, r.latency(), rig.Median(r.of(func(p played) float64 { return p.Rate }))/1e6)
}

// write writes the table of everything that was saved.
func write() error {
	all, err := rig.ReadAll[*result]("video-")
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# Video\n\nMade by `go run ./bench/video`. Bytes of the edge are counted on its line, with all headers; what \"peers\" brought is the rest, of a stream on demand without what the first viewer got, who has nobody to get it from.\n\n" +
		"| case | what | players | from peers | start-up, median (slowest) | stalls | behind live | rate shown | edge sent |\n|---|---|---|---|---|---|---|---|---|\n")
	var machines []string
	for _, r := range all {
		n, stalled := r.stalls()
		start := r.of(func(p played) float64 { return p.Startup })
		fmt.Fprintf(&b, "| %s | %s | %d | **%.1f %%** | %.2f s (%.2f s) | %d (%.1f s) | %.1f s | %.2f Mbit/s | %.1f MB |\n",
			r.Case, r.What, len(r.Players), 100*r.offload(), rig.Median(start), start[len(start)-1], n, stalled, r.latency(),
			rig.Median(r.of(func(p played) float64 { return p.Rate }))/1e6, float64(r.Sent)/1e6)
		machines = append(machines, r.Date+": "+r.Machine.String())
	}
	slices.Sort(machines)
	return rig.WriteTable("video", b.String()+"\n"+rig.List(slices.Compact(machines)))
}
