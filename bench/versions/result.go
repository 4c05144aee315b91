//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// measured is one run of one system.
type measured struct {
	System  string  `json:"system"`
	Version string  `json:"version"`
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"` // of the client
	Bytes   int64   `json:"bytes"`       // on the client's link, both ways
}

type result struct {
	Date    string      `json:"date"`
	Size    int64       `json:"size"`      // bytes of the old version
	Rate    int64       `json:"mbit_down"` // of the client; 0 is not limited
	Machine rig.Machine `json:"machine"`
	Runs    []measured  `json:"runs"`
	Crowds  []crowd     `json:"crowds"`
}

func (r *result) of(system, version string) (runs []measured) {
	for _, m := range r.Runs {
		if m.System == system && m.Version == version {
			runs = append(runs, m)
		}
	}
	return runs
}

// crowdTable says what the crowds had, and of whom.
func (r *result) crowdTable() string {
	if len(r.Crowds) == 0 {
		return ""
	}
	of := func(figure func(c crowd) float64) float64 { return rig.MedianOf(r.Crowds, figure) }
	first := r.Crowds[0]
	each := func(c crowd) float64 { return float64(c.FromEdge+c.FromPeers) / float64(c.Clients) }
	return fmt.Sprintf(`
%d clients that have the old version of %d MB fetch "edits", of which 1 %% is new, at once; everybody has %d Mbit/s each way.
"Copies" is what all had of the edge, by what each had in all; what left the edge counts manifests, chunk maps and headers too.

| each had, of the size | copies from the edge | from peers | left the edge, of the size | last client, seconds | runs |
|---|---|---|---|---|---|
| %.2f %% | **%.2f** | %.0f %% | %.2f %% | %.1f | %d |
`, first.Clients, first.Size/1e6, crowdRate,
		of(func(c crowd) float64 { return 100 * each(c) / float64(c.Size) }),
		of(func(c crowd) float64 { return float64(c.FromEdge) / each(c) }),
		of(func(c crowd) float64 { return 100 * float64(c.FromPeers) / float64(c.FromEdge+c.FromPeers) }),
		of(func(c crowd) float64 { return 100 * float64(c.Edge) / float64(c.Size) }),
		of(func(c crowd) float64 { return c.Last }), len(r.Crowds))
}

// table is the page in bench/results.
func (r *result) table() string {
	link := "a link as fast as the machine"
	if r.Rate > 0 {
		link = fmt.Sprintf("a downlink of %d Mbit/s and an uplink of %d", r.Rate, r.Rate/5)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# The next version of a file

Made by `+"`go run ./bench/versions`"+`; each figure is the median of the runs.

A client that has the old version of %d MB fetches the new one over %s.
"edits": 100 edits of 100 KB, a third of them insertions and a third insertions in place of half as
much, which is 1 %% of new bytes; "front": 1 KB in front. Bytes are all that crossed the client's link,
both ways, with all headers, manifest, chunk map and control included.

| version | system | bytes | ÷ size | ÷ tandem | seconds | ÷ tandem | client CPU-s | runs |
|---|---|---|---|---|---|---|---|---|
`, r.Size/1e6, link)
	for _, v := range versions {
		ours := r.of("tandem", v)
		bytes := func(m measured) float64 { return float64(m.Bytes) }
		seconds := func(m measured) float64 { return m.Seconds }
		for _, s := range systems() {
			runs := r.of(s.name, v)
			n, t := rig.MedianOf(runs, bytes), rig.MedianOf(runs, seconds)
			fmt.Fprintf(&b, "| %s | %s | %.0f | **%.3f %%** | %.2f | %.2f | %.2f | %.2f | %d |\n", v, s.name, n, 100*n/float64(r.Size),
				n/rig.MedianOf(ours, bytes), t, t/rig.MedianOf(ours, seconds), rig.MedianOf(runs, func(m measured) float64 { return m.CPU }), len(runs))
		}
	}
	b.WriteString(r.crowdTable())
	fmt.Fprintf(&b, "\n- %s: %s\n", r.Date, r.Machine)
	return b.String()
}
