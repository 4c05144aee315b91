package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// axis is one direction of a chart.
type axis struct {
	label    string
	min, max float64 // max 0: as far as there is something
	log      bool
	format   func(float64) string
	time     bool      // in seconds, shown in what suits its length
	ticks    []float64 // chosen unless given
}

// point is in the units of the axes.
type point struct{ x, y float64 }

// line is a series of a chart.
type line struct {
	name   string
	class  string // of the style sheet: c0 … c7, bound, alone
	points []point
	area   bool    // filled down to floor, or to zero
	floor  []point // of a stacked area
	dots   bool
	errors []float64 // half the height of a whisker, by point
}

// rule is a straight line across, with its meaning.
type rule struct {
	at       float64
	label    string
	class    string
	vertical bool
}

// band is an interval on the x axis in which something was not as usual.
type band struct {
	from, to float64
	label    string
}

// chart is a picture with two axes.
type chart struct {
	x, y   axis
	lines  []line
	rules  []rule
	bands  []band
	height float64
}

// Of the picture, in its own units; the page scales it.
const (
	chartWidth                           = 680.0
	chartHeight                          = 290.0
	padLeft, padRight, padTop, padBottom = 84.0, 16.0, 14.0, 46.0
)

// canvas collects SVG.
type canvas struct{ strings.Builder }

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(c, format, args...) }

func (c *canvas) text(x, y float64, class, anchor, s string) {
	c.add(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, html.EscapeString(s))
}

func open(c *canvas, w, h float64, label string) {
	c.add(`<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`, w, h, html.EscapeString(label))
}

func (c *canvas) done() template.HTML {
	c.WriteString("</svg>")
	return template.HTML(c.String()) //nolint:gosec // all text in it is escaped
}

// svg draws the chart; label is what it says to who cannot see it.
func (ch *chart) svg(label string) template.HTML {
	if ch.height == 0 {
		ch.height = chartHeight
	}
	ch.fit()
	var c canvas
	open(&c, chartWidth, ch.height, label)
	ch.drawBands(&c)
	ch.drawAxes(&c)
	for _, l := range ch.lines {
		ch.drawLine(&c, l)
	}
	ch.drawRules(&c)
	return c.done()
}

// fit makes the axes as long as what is on them.
func (ch *chart) fit() {
	x0, x1, y1 := math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, l := range ch.lines {
		for i, p := range l.points {
			x0, x1 = min(x0, p.x), max(x1, p.x)
			y := p.y
			if l.errors != nil {
				y += l.errors[i]
			}
			y1 = max(y1, y)
		}
	}
	for _, r := range ch.rules {
		if r.vertical {
			x0, x1 = min(x0, r.at), max(x1, r.at)
		} else {
			y1 = max(y1, r.at)
		}
	}
	if ch.x.max == 0 {
		ch.x.min, ch.x.max = max(ch.x.min, x0), x1
	}
	if ch.y.max == 0 {
		ch.y.max = ch.y.min + (y1-ch.y.min)*1.06
	}
	for _, a := range []*axis{&ch.x, &ch.y} {
		if !(a.max > a.min) {
			a.max = a.min + 1
		}
		if a.time {
			a.clock()
		}
		if a.ticks == nil {
			a.ticks = ticks(a.min, a.max, a.log)
		}
	}
}

// clock puts ticks at round numbers of seconds, minutes or hours, one of them for
// the whole axis.
func (a *axis) clock() {
	scale, unit := 1.0, "s"
	switch {
	case a.max >= 4*3600:
		scale, unit = 3600, "h"
	case a.max >= 600:
		scale, unit = 60, "min"
	}
	a.ticks = ticks(a.min/scale, a.max/scale, a.log)
	for i := range a.ticks {
		a.ticks[i] *= scale
	}
	a.format = func(x float64) string { return tick(x/scale, "") + thin + unit }
}

func (a *axis) part(v float64) float64 {
	if a.log {
		return (math.Log(v) - math.Log(a.min)) / (math.Log(a.max) - math.Log(a.min))
	}
	return (v - a.min) / (a.max - a.min)
}

func (ch *chart) px(v float64) float64 {
	return padLeft + min(1, max(0, ch.x.part(v)))*(chartWidth-padLeft-padRight)
}

func (ch *chart) py(v float64) float64 {
	return padTop + (1-min(1, max(0, ch.y.part(v))))*(ch.height-padTop-padBottom)
}

// ticks are round numbers from min to max.
func ticks(lo, hi float64, log bool) []float64 {
	var list []float64
	if log {
		for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
			for _, m := range []float64{1, 2, 5} {
				if v := m * math.Pow(10, e); v >= lo*0.999 && v <= hi*1.001 {
					list = append(list, v)
				}
			}
		}
		return list
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/4)))
	for _, m := range []float64{5, 2, 2.5} {
		if (hi-lo)/(step*m) >= 3 {
			step *= m
			break
		}
	}
	for v := math.Ceil(lo/step) * step; v <= hi+step*1e-6 && len(list) < 20; v += step {
		list = append(list, v)
	}
	return list
}

func (ch *chart) drawAxes(c *canvas) {
	bottom, right := ch.height-padBottom, chartWidth-padRight
	for _, v := range ch.y.ticks {
		y := ch.py(v)
		c.add(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, padLeft, y, right, y)
		c.text(padLeft-7, y+4, "tick", "end", ch.y.format(v))
	}
	for _, v := range ch.x.ticks {
		x := ch.px(v)
		c.add(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x, bottom, x, bottom+4)
		c.text(x, bottom+17, "tick", "middle", ch.x.format(v))
	}
	c.add(`<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, padLeft, bottom, right, bottom)
	c.text((padLeft+right)/2, ch.height-9, "label", "middle", ch.x.label)
	c.add(`<text class="label" text-anchor="middle" transform="translate(14 %.1f) rotate(-90)">%s</text>`,
		(padTop+bottom)/2, html.EscapeString(ch.y.label))
}

func (ch *chart) drawLine(c *canvas, l line) {
	l.points = ch.within(l.points)
	if len(l.points) == 0 {
		return
	}
	var path strings.Builder
	for i, p := range l.points {
		fmt.Fprintf(&path, "%s%.1f %.1f", [2]string{"L", "M"}[b2i(i == 0)], ch.px(p.x), ch.py(p.y))
	}
	if l.area {
		floor := l.floor
		if floor == nil {
			floor = []point{{l.points[0].x, ch.y.min}, {l.points[len(l.points)-1].x, ch.y.min}}
		}
		shape := path.String()
		for i := len(floor) - 1; i >= 0; i-- {
			shape += fmt.Sprintf("L%.1f %.1f", ch.px(floor[i].x), ch.py(floor[i].y))
		}
		c.add(`<path class="area %s" d="%sZ"/>`, l.class, shape)
		return
	}
	c.add(`<path class="line %s" d="%s"/>`, l.class, path.String())
	for i, p := range l.points {
		if l.errors != nil && l.errors[i] > 0 {
			x := ch.px(p.x)
			c.add(`<line class="whisker %s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, l.class, x, ch.py(p.y-l.errors[i]), x, ch.py(p.y+l.errors[i]))
		}
		if l.dots {
			c.add(`<circle class="dot %s" cx="%.1f" cy="%.1f" r="3.6"/>`, l.class, ch.px(p.x), ch.py(p.y))
		}
	}
}

// within is the part of a line up to the end of the x axis.
func (ch *chart) within(points []point) []point {
	for i, p := range points {
		if p.x <= ch.x.max {
			continue
		}
		if i == 0 {
			return nil
		}
		q := points[i-1]
		y := q.y + (p.y-q.y)*(ch.x.max-q.x)/(p.x-q.x)
		return append(points[:i:i], point{ch.x.max, y})
	}
	return points
}

// drawRules draws straight lines with their labels, which give way to each other.
func (ch *chart) drawRules(c *canvas) {
	bottom, right := ch.height-padBottom, chartWidth-padRight
	row := 0
	for _, r := range ch.rules {
		if !r.vertical {
			y := ch.py(r.at)
			c.add(`<line class="rule %s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, r.class, padLeft, y, right, y)
			c.text(right-2, y-5, "note "+r.class, "end", r.label)
			continue
		}
		x := ch.px(r.at)
		c.add(`<line class="rule %s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, r.class, x, padTop, x, bottom)
		anchor, dx := "start", 5.0
		if x > padLeft+(right-padLeft)*0.6 {
			anchor, dx = "end", -5
		}
		c.text(x+dx, bottom-12-float64(row)*16, "note "+r.class, anchor, r.label)
		row++
	}
}

func (ch *chart) drawBands(c *canvas) {
	for i, b := range ch.bands {
		x0, x1 := ch.px(b.from), ch.px(b.to)
		c.add(`<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, x0, padTop, max(x1-x0, 2), ch.height-padTop-padBottom)
		anchor, x := "start", x1+4
		if x1 > chartWidth*0.75 {
			anchor, x = "end", x0-4
		}
		c.text(x, padTop+12+14*float64(i%4), "note", anchor, b.label)
	}
}
