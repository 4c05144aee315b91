package report

import (
	"fmt"
	"math"

	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// offloadOf shows which part peers bring, over time and against the most that is possible.
func offloadOf(r *study.Run) *picture {
	bound, ok := r.Figures["offload-bound"]
	if r.Playback == nil || !ok || len(r.Series) < 2 {
		return nil
	}
	l := line{class: "c0"}
	for _, s := range thinned(r.Series) {
		if all := s.Edge + s.Peers; all > 0 {
			share := float64(s.Peers) / float64(all)
			l.points = append(l.points, point{s.At - s.Span, share}, point{s.At, share})
		}
	}
	most := bound.Values[0]
	ch := chart{
		x:     axis{label: "time since the beginning", time: true},
		y:     axis{label: "of what is sent", max: 1, format: ticker("%")},
		lines: []line{l},
		rules: []rule{{at: most, label: "bound: " + percent(most), class: "bound"}},
	}
	offload := r.Figures["offload"].Values[0]
	p := &picture{
		Title: fmt.Sprintf("Peers bring %s of the bytes; %s would be possible", percent(offload), percent(most)),
		Note:  "The bound is over all the time: every byte once from an edge, and no more than the uplinks send of those who are there with others. The line has what came to nothing, too.",
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// startsOf shows how long viewers waited for a picture.
func startsOf(r *study.Run) *picture {
	b := r.Playback
	if b == nil || len(b.Starts) == 0 {
		return nil
	}
	p := &picture{Title: fmt.Sprintf("Half of the viewers see a picture within %s, 95 %% within %s", seconds(at(b.Starts, 0.5)), seconds(at(b.Starts, 0.95)))}
	ch := chart{
		x: axis{label: "from the click to the first picture", time: true},
		y: axis{label: "viewers", max: 1, format: ticker("%")},
	}
	p.beside(&ch, b.Starts, b.AloneStarts)
	p.SVG = ch.svg(p.Title)
	return p
}

// stallsOf shows for how long pictures stood still.
func stallsOf(r *study.Run) *picture {
	b := r.Playback
	if b == nil || len(b.Stalls) == 0 {
		return nil
	}
	still := 1 - below(b.Stalls, 0)
	p := &picture{Title: "No viewer's picture stands still"}
	if still > 0 {
		p.Title = fmt.Sprintf("The picture of %s of the viewers stands still, for %s at most", percent(still), seconds(b.Stalls[len(b.Stalls)-1]))
	}
	if n := len(b.AloneStalls); n > 0 && b.AloneStalls[n-1] > 0 {
		p.Note = fmt.Sprintf("From the edge alone it is %s of them, for %s at most. ", percent(1-below(b.AloneStalls, 0)), seconds(b.AloneStalls[n-1]))
	}
	if still == 0 {
		if p.Note == "" {
			return nil // the table says so
		}
		p.Note += "With peers nobody's does."
	}
	ch := chart{
		x: axis{label: "how long a viewer's picture stood still in all", time: true},
		y: axis{label: "viewers at or below", max: 1, format: ticker("%")},
	}
	p.beside(&ch, b.Stalls, b.AloneStalls)
	p.Note += "Waiting for the first picture does not count."
	p.SVG = ch.svg(p.Title)
	return p
}

// beside draws a distribution, and that from the edge alone where it is known.
func (p *picture) beside(ch *chart, with, alone []float64) {
	if len(alone) > 0 {
		ch.lines = append(ch.lines, distribution("from the edge alone", "alone", alone))
		p.Legend = append(p.Legend, legend{"alone", "the same from the edge alone"})
	}
	ch.lines = append(ch.lines, distribution("with peers", "c0", with))
	p.Legend = append(p.Legend, legend{"c0", "with peers"})
}

// segmentsOf shows how often edges sent each segment.
func segmentsOf(r *study.Run) *picture {
	b := r.Playback
	if b == nil || len(b.Segments) < 2 {
		return nil
	}
	copies, viewers := line{class: "edge", dots: len(b.Segments) <= 100}, line{class: "alone"}
	var sum, all float64
	for _, s := range b.Segments {
		copies.points = append(copies.points, point{s.At, s.Copies})
		viewers.points = append(viewers.points, point{s.At, float64(s.Viewers)})
		sum, all = sum+s.Copies, all+float64(s.Viewers)
	}
	n := float64(len(b.Segments))
	ch := chart{
		x:     axis{label: "place in the film", time: true, min: b.Segments[0].At, max: b.Segments[len(b.Segments)-1].At},
		y:     axis{label: "copies sent by edges", format: ticker("")},
		lines: []line{copies},
	}
	if b.Live {
		ch.x.label = "when the segment was published"
	}
	p := &picture{
		Title:  fmt.Sprintf("Edges send a segment %s times on the average, to %s viewers", number(sum/n, ""), number(all/n, "")),
		Legend: []legend{{"edge", "copies that edges sent"}},
		Note:   "What players begin with comes from the edge and is not counted here.",
	}
	if sum > all/30 { // else the copies could not be seen beside them
		ch.lines = append([]line{viewers}, ch.lines...)
		p.Legend = append(p.Legend, legend{"alone", "viewers of the segment: what the edge alone would send"})
	}
	if sum < 20*n {
		ch.rules = []rule{{at: 1, label: "one copy", class: "bound"}}
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// hopClasses are the colours of hops: those that have a line of their own.
var hopClasses = []string{"edge", "c0", "c2", "c3", "c4", "c5"}

// hopsOf shows the way that pieces took: how many hops, and how long each.
func hopsOf(r *study.Run) *picture {
	b := r.Playback
	if b == nil || !b.Live {
		return nil
	}
	ch := chart{
		x: axis{label: "from the publication of a segment until a piece of it is at a viewer", time: true},
		y: axis{label: "pieces", max: 1, format: ticker("%")},
	}
	p := &picture{Note: "One hop is from an edge, two from a peer that had it from an edge. Segments that were there before the viewer came are left out."}
	for k, h := range b.Hops {
		if len(h.Latencies) == 0 || k >= len(hopClasses) || h.Share < 0.001 {
			continue
		}
		class, name := hopClasses[k], fmt.Sprintf("%d hops", k+1)
		if k == 0 {
			name = "1 hop, from the edge"
		}
		ch.lines = append(ch.lines, distribution(name, class, h.Latencies))
		ch.x.max = max(ch.x.max, 1.05*at(h.Latencies, 0.99))
		p.Legend = append(p.Legend, legend{class, fmt.Sprintf("%s: %s of the bytes, median %s", name, percent(h.Share), seconds(at(h.Latencies, 0.5)))})
	}
	if len(ch.lines) == 0 {
		return nil
	}
	p.Title = "How long a piece takes over each number of hops"
	if mid, ok := r.Figures["latency-p50"]; ok {
		p.Title = fmt.Sprintf("Half of the pieces are there %s after their segment is published, 95 %% within %s", seconds(mid.Mean), seconds(r.Figures["latency-p95"].Mean))
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// behindOf shows how far viewers are behind what happens.
func behindOf(r *study.Run) *picture {
	b := r.Playback
	if b == nil || len(b.Behind) == 0 {
		return nil
	}
	ch := chart{
		x:     axis{label: "behind what happens", time: true},
		y:     axis{label: "viewers", max: 1, format: ticker("%")},
		lines: []line{distribution("", "c0", b.Behind)},
	}
	p := &picture{
		Title: fmt.Sprintf("Half of the viewers are at most %s behind what happens, 95 %% at most %s", seconds(at(b.Behind, 0.5)), seconds(at(b.Behind, 0.95))),
		Note:  "At the end, or when a viewer goes: where it began, and for how long its picture stood still since.",
	}
	p.SVG = ch.svg(p.Title)
	return p
}

// at is a quantile of a curve of quantiles.
func at(curve []float64, q float64) float64 {
	return curve[int(math.Round(q*float64(len(curve)-1)))]
}

// below is the share of a curve of quantiles that is at x or below.
func below(curve []float64, x float64) float64 {
	n := 0
	for n < len(curve) && curve[n] <= x {
		n++
	}
	return float64(n) / float64(len(curve))
}
