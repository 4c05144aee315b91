//go:build linux

package main

import (
	"fmt"
	"html/template"
	"os"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// Size of a chart, in pixels.
const chartWide, chartHigh = 720, 180

// chart is what the edge sent and what players got, a value a second in Mbit/s.
type chart struct {
	Title, Said string
	Sent, Got   string // points of lines
	Top         float64
	Seconds     int
}

// report writes a page that shows the crowds, and stands alone.
func report(path string, all []*result) error {
	top, seconds := 1.0, 1
	for _, r := range all {
		for i := range r.Line {
			top = max(top, r.Line[i], at(r.Got, i))
		}
		seconds = max(seconds, len(r.Line))
	}
	var charts []chart
	for _, r := range all {
		charts = append(charts, chart{
			Title: titles[r.What], Said: r.String(), Top: top, Seconds: seconds,
			Sent: line(r.Line, top, seconds), Got: line(r.Got, top, seconds),
		})
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err = page.Execute(f, map[string]any{"Charts": charts, "All": all, "Machine": all[0].Machine.String()})
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

var titles = map[string]string{"edge": "From the edge alone", "tandem": "With peers"}

func at(v []float64, i int) float64 {
	if i < len(v) {
		return v[i]
	}
	return 0
}

func line(v []float64, top float64, seconds int) string {
	var b strings.Builder
	for i := range v {
		// A mean of three seconds: players fetch in bursts.
		mean := (at(v, max(i-1, 0)) + v[i] + at(v, i+1)) / 3
		fmt.Fprintf(&b, "%.1f,%.1f ", float64(i)*chartWide/float64(seconds), chartHigh-mean/top*chartHigh)
	}
	return b.String()
}

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"startups": func(r *result) string {
		v := r.of(func(p played) float64 { return p.Startup })
		return fmt.Sprintf("%.2f s (%.2f s)", rig.Median(v), v[len(v)-1])
	},
	"stalls": func(r *result) string { n, s := r.stalls(); return fmt.Sprintf("%d (%.1f s)", n, s) },
	"behind": func(r *result) string {
		if l := r.latency(); l > 0 {
			return fmt.Sprintf("%.1f s", l)
		}
		return "–"
	},
	"peers": func(r *result) string {
		if r.What == "edge" {
			return "–"
		}
		return fmt.Sprintf("%.1f %%", 100*r.offload())
	},
	"mb":    func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) },
	"title": func(r *result) string { return titles[r.What] },
}).Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Video with and without peers</title>
<style>
:root { color-scheme: light dark; --edge: #c2410c; --got: #64748b; --line: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2.5rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; font-weight: 600 } h2 { font-size: 1.05rem; font-weight: 600; margin: 2rem 0 .3rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; font-weight: 400 } td { white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { font-size: .85rem; opacity: .75 }
svg { width: 100%; height: auto; border-bottom: 1px solid var(--line); border-left: 1px solid var(--line); overflow: visible }
polyline { fill: none; stroke-width: 1.6 } .sent { stroke: var(--edge) } .got { stroke: var(--got) }
p.key { font-size: .85rem; opacity: .8; margin: .3rem 0 } b.s { color: var(--edge) } b.g { color: var(--got) } text { font-size: 11px; fill: currentColor; opacity: .7 }
</style>
<h1>Video with and without peers</h1>
<table><thead><tr><th><th>players<th>from peers<th>start-up, median (slowest)<th>stalls<th>behind live<th>edge sent</thead>
{{range .All}}<tr><td>{{title .}}<td>{{len .Players}}<td>{{peers .}}<td>{{startups .}}<td>{{stalls .}}<td>{{behind .}}<td>{{mb .Sent}}
{{end}}</table>
{{range .Charts}}<h2>{{.Title}}</h2>
<svg viewBox="0 0 720 180" role="img" aria-label="{{.Said}}"><polyline class="got" points="{{.Got}}"/><polyline class="sent" points="{{.Sent}}"/>
<text x="4" y="10">{{printf "%.0f" .Top}} Mbit/s</text><text x="690" y="174">{{.Seconds}} s</text></svg>
<p class="key"><b class="s">What the edge sent</b> and <b class="g">what players were given</b>, every second.</p>
{{end}}
<p class="key">Every segment that a player was given had the origin's bytes. Bytes of the edge are counted on its line, with all headers; of a stream on demand those of the first viewer, who has nobody to get it from, are left out of what peers brought. {{.Machine}}</p>
</html>
`))
