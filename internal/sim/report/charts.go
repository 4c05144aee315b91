package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// picture is a chart on the page: what is seen, the drawing, what its colours
// mean, and how to read it.
type picture struct {
	Title  string
	SVG    template.HTML
	Legend []legend
	Note   string
}

type legend struct{ Class, Name string }

func percent(v float64) string { return number(v, "%") }

// distribution is the line of a curve of quantiles: what share is at or below x.
func distribution(name, class string, quantiles []float64) line {
	l := line{name: name, class: class}
	for i, x := range quantiles {
		l.points = append(l.points, point{x, float64(i) / float64(len(quantiles)-1)})
	}
	return l
}

// timesOf shows how long the downloads of a run took.
func timesOf(r *study.Run) *picture {
	if len(r.Times) == 0 {
		return nil
	}
	last := r.Times[len(r.Times)-1]
	ch := chart{
		x:     axis{label: "time of a download", time: true, max: last * 1.04},
		y:     axis{label: "downloads done", max: 1, format: ticker("%")},
		lines: []line{distribution("with peers", "c0", r.Times)},
	}
	p := &picture{
		Title:  fmt.Sprintf("Half of the downloads are done within %s, the last within %s", seconds(r.Times[len(r.Times)/2]), seconds(last)),
		Legend: []legend{{"c0", "with peers"}},
	}
	if len(r.AloneTimes) > 0 {
		ch.lines = append([]line{distribution("from the edge alone", "alone", r.AloneTimes)}, ch.lines...)
		p.Legend = append(p.Legend, legend{"alone", "the same from the edge alone"})
		// A long tail of the edge alone would press the rest together.
		if far := r.AloneTimes[len(r.AloneTimes)-1]; far < 6*last {
			ch.x.max = max(ch.x.max, far*1.04)
		} else {
			p.Note = fmt.Sprintf("From the edge alone half take %s and the last %s: outside the picture.", seconds(r.AloneTimes[len(r.AloneTimes)/2]), seconds(far))
		}
	}
	if b, ok := r.Figures["makespan-bound"]; ok && atOnce(r) {
		at := b.Values[0]
		ch.rules = []rule{{at: at, label: "bound: " + seconds(at), class: "bound", vertical: true}}
		p.Note = strings.TrimSpace("No policy can have all of them done before the bound. " + p.Note)
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// atOnce reports whether all began together, so that the bound of the last is one
// of every time.
func atOnce(r *study.Run) bool {
	for _, kv := range r.Parameters {
		if kv[0] == "arrivals.pattern" {
			return kv[1] == "at-once"
		}
	}
	return false
}

// bytesOf shows who sent when.
func bytesOf(r *study.Run) *picture {
	if len(r.Series) < 2 {
		return nil
	}
	var edge, all []point
	var fromEdge, fromPeers float64
	for _, s := range thinned(r.Series) {
		e, p := float64(s.Edge)/s.Span, float64(s.Peers)/s.Span
		fromEdge, fromPeers = fromEdge+e*s.Span, fromPeers+p*s.Span
		// Steps: the rate holds for the whole interval.
		edge = append(edge, point{s.At - s.Span, e}, point{s.At, e})
		all = append(all, point{s.At - s.Span, e + p}, point{s.At, e + p})
	}
	ch := chart{
		x: axis{label: "time since the beginning", time: true},
		y: axis{label: "rate", format: ticker("B/s")},
		lines: []line{
			{class: "c0", points: all, floor: edge, area: true},
			{class: "edge", points: edge, area: true},
		},
	}
	for _, m := range r.Marks {
		ch.bands = append(ch.bands, band{m.From, min(m.To, r.Series[len(r.Series)-1].At), m.What})
	}
	p := &picture{
		Title:  fmt.Sprintf("Edges send %s, peers %s", number(fromEdge, "B"), number(fromPeers, "B")),
		Legend: []legend{{"c0", "from peers"}, {"edge", "from edges"}},
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// thinned joins neighbours of a series until a picture can show it.
func thinned(series []study.Sample) []study.Sample {
	const most = 240
	k := (len(series) + most - 1) / most
	var list []study.Sample
	for i := 0; i < len(series); i += k {
		var s study.Sample
		for _, x := range series[i:min(i+k, len(series))] {
			s.Edge, s.Peers, s.Span = s.Edge+x.Edge, s.Peers+x.Peers, s.Span+x.Span
			s.At, s.Active, s.Seeds, s.Done = x.At, x.Active, x.Seeds, x.Done
		}
		if s.Span > 0 {
			list = append(list, s)
		}
	}
	return list
}

// crowdOf shows how many there were.
func crowdOf(r *study.Run) *picture {
	if len(r.Series) < 2 {
		return nil
	}
	var active, seeds []point
	most, given := 0, false
	for _, s := range thinned(r.Series) {
		active = append(active, point{s.At, float64(s.Active)})
		seeds = append(seeds, point{s.At, float64(s.Seeds)})
		most, given = max(most, s.Active), given || s.Seeds > 0
	}
	ch := chart{
		x:     axis{label: "time since the beginning", time: true},
		y:     axis{label: "number", format: ticker("")},
		lines: []line{{class: "c0", points: active}, {class: "c2", points: seeds}},
	}
	p := &picture{
		Title:  fmt.Sprintf("At most %s at a time", plural(most, "download")),
		Legend: []legend{{"c0", "downloads under way"}, {"c2", "whole copies that are given"}},
	}
	if r.Playback != nil {
		p.Title = fmt.Sprintf("At most %s at a time", plural(most, "viewer"))
		p.Legend = []legend{{"c0", "viewers"}, {"c2", "those who have seen it and still give"}}
		if !given {
			p.Legend, ch.lines = p.Legend[:1], ch.lines[:1]
		}
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// ratiosOf shows how much longer or shorter downloads took than without peers.
func ratiosOf(r *study.Run) *picture {
	if len(r.Ratios) == 0 {
		return nil
	}
	n := len(r.Ratios)
	slower := 0.0
	for i, x := range r.Ratios {
		if x > 1.02 {
			slower = 1 - float64(i)/float64(n)
			break
		}
	}
	p99 := r.Ratios[(n-1)*99/100]
	ch := chart{
		x:     axis{label: "time ÷ time from the edge alone", format: ticker(""), max: max(1.1, p99*1.1)},
		y:     axis{label: "downloads at or below", max: 1, format: ticker("%")},
		lines: []line{distribution("", "c0", r.Ratios)},
		rules: []rule{{at: 1, label: "as fast as the edge alone", class: "bound", vertical: true}},
	}
	if r.Ratios[0] > 0.8 {
		ch.x.min = 0.8
	}
	what := "no download takes over 2 % longer than from the edge alone"
	if slower > 0 {
		what = percent(slower) + " of the downloads take over 2 % longer than from the edge alone"
	}
	p := &picture{
		Title: strings.ToUpper(what[:1]) + what[1:],
		Note:  fmt.Sprintf("Median %s, 99th percentile %s. Every download is compared with itself in the same world where nobody shares.", number(r.Ratios[n/2], "×"), number(p99, "×")),
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// copiesOf shows how often edges sent each object.
func copiesOf(r *study.Run) *picture {
	if len(r.Copies) < 2 {
		return nil
	}
	l := line{class: "edge", dots: len(r.Copies) <= 100}
	var sum, most float64
	for i, c := range r.Copies {
		l.points = append(l.points, point{float64(i + 1), c})
		sum, most = sum+c, max(most, c)
	}
	ch := chart{
		x:     axis{label: "object, the most wanted first", format: ticker("")},
		y:     axis{label: "copies sent by edges", format: ticker("×")},
		lines: []line{l},
		rules: []rule{{at: 1, label: "one copy", class: "bound"}},
	}
	p := &picture{Title: fmt.Sprintf("Edges send an object %s on the average, %s at most", number(sum/float64(len(r.Copies)), "×"), number(most, "×"))}
	p.SVG = ch.svg(p.Title)
	return p
}

// networksOf shows which AS gave to which.
func networksOf(r *study.Run) *picture {
	n := len(r.ASes)
	if n-b2i(slices.Contains(r.ASes, 0)) < 2 || len(r.Matrix) != n {
		return nil
	}
	var total, own, most float64
	for i, row := range r.Matrix {
		for j, b := range row {
			total, most = total+float64(b), max(most, float64(b))
			own += float64(b) * float64(b2i(i == j && r.ASes[i] != 0))
		}
	}
	if total == 0 {
		return nil
	}
	shown := r.ASes
	if quiet(r.Matrix, slices.Index(r.ASes, 0)) {
		shown = slices.DeleteFunc(slices.Clone(r.ASes), func(as uint32) bool { return as == 0 })
	}
	cell := min(34, 430/float64(len(shown)))
	const left, top = 84.0, 58.0
	var c canvas
	open(&c, chartWidth, top+cell*float64(len(shown))+10, "bytes between networks")
	c.text(left-10, top-14, "label", "end", "from ↓   to →")
	for i, from := range shown {
		mid := (float64(i) + 0.5) * cell
		c.text(left-10, top+mid+4, "tick", "end", asName(from))
		c.add(`<text class="tick" transform="translate(%.1f %.1f) rotate(-45)">%s</text>`, left+mid+2, top-7, html.EscapeString(asName(from)))
		for j, to := range shown {
			b := r.Matrix[slices.Index(r.ASes, from)][slices.Index(r.ASes, to)]
			// The root lets small cells be seen beside large ones.
			c.add(`<rect class="heat" x="%.1f" y="%.1f" width="%.1f" height="%.1f" style="--v:%.3f"><title>%s → %s: %s</title></rect>`,
				left+float64(j)*cell, top+float64(i)*cell, cell-1, cell-1, math.Sqrt(float64(b)/most),
				html.EscapeString(asName(from)), html.EscapeString(asName(to)), number(float64(b), "B"))
		}
	}
	return &picture{
		Title: fmt.Sprintf("%s of the peers' bytes stay within one of these networks", percent(own/total)),
		SVG:   c.done(),
		Note:  fmt.Sprintf("The darkest cell is %s; colour goes with the square root. The largest networks have a row and a column each, all others share one.", number(most, "B")),
	}
}

// quiet reports whether a network neither gave nor took.
func quiet(matrix [][]int64, k int) bool {
	if k < 0 {
		return false
	}
	for i := range matrix {
		if matrix[i][k] != 0 || matrix[k][i] != 0 {
			return false
		}
	}
	return true
}

func asName(n uint32) string {
	if n == 0 {
		return "others"
	}
	return fmt.Sprintf("AS %d", n)
}
