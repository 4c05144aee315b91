package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// maxColours is the number of series that the style sheet tells apart.
const maxColours = 8

// bounds are the figures drawn beside others.
func boundOf(name string) string {
	switch name {
	case "makespan", "offload":
		return name + "-bound"
	}
	return ""
}

// comparisons show figures over all runs: as lines over a swept number, else as
// bars.
func comparisons(s *study.Study) []*picture {
	if len(s.Runs) < 2 {
		return nil
	}
	var list []*picture
	for _, name := range compared(s) {
		var p *picture
		if series, path := swept(s); path != "" {
			p = sweepOf(s, series, path, name)
		} else {
			p = barsOf(s, name)
		}
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// compared are the figures that are worth a picture: those that are expected
// something of, then the usual ones; not those that are the same everywhere.
func compared(s *study.Study) []string {
	var list []string
	add := func(name string) {
		if slices.Contains(list, name) || len(list) >= 6 {
			return
		}
		low, high := math.Inf(1), math.Inf(-1)
		for _, r := range s.Runs {
			if f, ok := r.Figures[name]; ok {
				low, high = min(low, f.Mean), max(high, f.Mean)
			}
		}
		if high > low {
			list = append(list, name)
		}
	}
	for _, c := range s.Checks {
		// Ratios to a bound are seen where figure and bound stand together.
		if c.Figure == "offload-ratio" {
			add("offload")
		}
		add(c.Figure)
	}
	for _, name := range []string{"offload", "makespan", "time-p50", "copies", "segment-copies", "stalled", "start-p50"} {
		add(name)
	}
	return list
}

// swept groups runs by variant if what differs inside is one number.
func swept(s *study.Study) (series map[string][]int, path string) {
	series = map[string][]int{}
	for i, r := range s.Runs {
		if len(r.Set) == 0 {
			return nil, ""
		}
		last := r.Set[len(r.Set)-1]
		if _, err := strconv.ParseFloat(last[1], 64); err != nil || path != "" && last[0] != path {
			return nil, ""
		}
		path = last[0]
		variant := strings.TrimSpace(strings.TrimSuffix(r.Name, last[0]+"="+last[1]))
		series[variant] = append(series[variant], i)
	}
	return series, path
}

func sweepOf(s *study.Study, series map[string][]int, path, name string) *picture {
	ch := chart{
		x: axis{label: path, format: ticker("")},
		y: axis{label: name, format: ticker(unitOf(name)), time: unitOf(name) == "s"},
	}
	p := &picture{}
	variants := make([]string, 0, len(series))
	for v := range series {
		variants = append(variants, v)
	}
	slices.SortFunc(variants, func(a, b string) int { return series[a][0] - series[b][0] })
	for k, v := range variants {
		l := line{class: fmt.Sprintf("c%d", k%maxColours), dots: true}
		limit := line{class: "bound"}
		for _, i := range series[v] {
			r := &s.Runs[i]
			x, _ := strconv.ParseFloat(r.Set[len(r.Set)-1][1], 64)
			if f, ok := r.Figures[name]; ok {
				l.points, l.errors = append(l.points, point{x, f.Mean}), append(l.errors, f.CI)
			}
			if f, ok := r.Figures[boundOf(name)]; ok && k == 0 {
				limit.points = append(limit.points, point{x, f.Mean})
			}
		}
		if len(limit.points) > 0 {
			ch.lines = append(ch.lines, limit)
			p.Legend = append(p.Legend, legend{"bound", "bound"})
		}
		ch.lines = append(ch.lines, l)
		label := v
		if label == "" {
			label = name
		}
		p.Legend = append(p.Legend, legend{l.class, label})
	}
	ch.rules = append(ch.rules, expected(s, name)...)
	stretch(&ch)
	p.Title = ranging(s, name)
	p.Note = strings.ToUpper(saysOf(name)[:1]) + saysOf(name)[1:] + "."
	p.SVG = ch.svg(p.Title)
	return p
}

// stretch makes the axes fit what is compared: logarithmic over more than a
// decade, and not from zero where all is far from it.
func stretch(ch *chart) {
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range ch.lines {
		for _, pt := range l.points {
			x0, x1, y0, y1 = min(x0, pt.x), max(x1, pt.x), min(y0, pt.y), max(y1, pt.y)
		}
		if l.class != "bound" {
			for _, pt := range l.points {
				if !slices.Contains(ch.x.ticks, pt.x) {
					ch.x.ticks = append(ch.x.ticks, pt.x)
				}
			}
		}
	}
	for _, r := range ch.rules {
		y0, y1 = min(y0, r.at), max(y1, r.at)
	}
	ch.x.min, ch.x.max = x0, x1
	if x0 > 0 && x1/x0 > 20 {
		ch.x.log = true
	}
	if y0 > 0.6*y1 {
		ch.y.min = y0 - (y1-y0)*0.3 - y1*0.02
		ch.y.max = y1 + (y1-y0)*0.3 + y1*0.02
	}
}

// expected are the bounds that the scenario sets for a figure itself.
func expected(s *study.Study, name string) []rule {
	var rules []rule
	seen := map[string]bool{}
	for _, c := range s.Checks {
		if c.Figure != name || c.Over != "" {
			continue
		}
		for label, v := range map[string]*float64{"at least ": c.Min, "at most ": c.Max} {
			if v == nil {
				continue
			}
			label += number(*v, unitOf(name))
			if !seen[label] {
				seen[label] = true
				rules = append(rules, rule{at: *v, label: label, class: "limit"})
			}
		}
	}
	return rules
}

// ranging is the title of a comparison: from where to where a figure goes.
func ranging(s *study.Study, name string) string {
	var low, high *study.Run
	for i := range s.Runs {
		r := &s.Runs[i]
		f, ok := r.Figures[name]
		if !ok {
			continue
		}
		if low == nil || f.Mean < low.Figures[name].Mean {
			low = r
		}
		if high == nil || f.Mean > high.Figures[name].Mean {
			high = r
		}
	}
	unit := unitOf(name)
	return fmt.Sprintf("%s: %s (%s) to %s (%s)", strings.ToUpper(name[:1])+name[1:], number(low.Figures[name].Mean, unit), title(low.Name), number(high.Figures[name].Mean, unit), title(high.Name))
}

func barsOf(s *study.Study, name string) *picture {
	const left, right, top, row = 190.0, 110.0, 8.0, 30.0
	unit := unitOf(name)
	most := 0.0
	for _, r := range s.Runs {
		most = max(most, r.Figures[name].Mean+r.Figures[name].CI, r.Figures[boundOf(name)].Mean)
	}
	if !(most > 0) {
		return nil
	}
	width := func(v float64) float64 { return v / most * (chartWidth - left - right) }
	var c canvas
	open(&c, chartWidth, top*2+row*float64(len(s.Runs)), name)
	limits := false
	for i, r := range s.Runs {
		y := top + row*float64(i)
		c.text(left-10, y+row*0.62, "name", "end", shortened(r.Name, 28))
		f, ok := r.Figures[name]
		if !ok {
			continue
		}
		c.add(`<rect class="bar c%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`, i%maxColours, left, y+4, max(width(f.Mean), 1), row-9, html.EscapeString(r.Name))
		if f.CI > 0 {
			mid := y + 4 + (row-9)/2
			c.add(`<line class="span" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left+width(max(0, f.Mean-f.CI)), mid, left+width(f.Mean+f.CI), mid)
		}
		end := left + width(f.Mean+f.CI)
		if b, ok := r.Figures[boundOf(name)]; ok {
			limits = true
			x := left + width(b.Mean)
			c.add(`<line class="rule bound" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x, y+1, x, y+row-2)
			end = max(end, x)
		}
		c.text(end+8, y+row*0.62, "value", "start", number(f.Mean, unit))
	}
	p := &picture{Title: ranging(s, name), SVG: c.done(), Note: strings.ToUpper(saysOf(name)[:1]) + saysOf(name)[1:] + "."}
	if limits {
		p.Legend = []legend{{"bound", "bound"}}
	}
	return p
}

func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// allTimes lays the distributions of the runs over one another.
func allTimes(s *study.Study) *picture {
	if len(s.Runs) < 2 || len(s.Runs) > maxColours {
		return nil
	}
	ch := chart{x: axis{label: "time of a download", time: true}, y: axis{label: "downloads done", max: 1, format: ticker("%")}}
	p := &picture{Title: "How long downloads take in each run"}
	for i, r := range s.Runs {
		if len(r.Times) == 0 {
			continue
		}
		class := fmt.Sprintf("c%d", i)
		ch.lines = append(ch.lines, distribution(r.Name, class, r.Times))
		p.Legend = append(p.Legend, legend{class, title(r.Name)})
		ch.x.max = max(ch.x.max, r.Times[len(r.Times)-1]*1.03)
	}
	if len(ch.lines) == 0 {
		return nil
	}
	p.SVG = ch.svg(p.Title)
	return p
}
