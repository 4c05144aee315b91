package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/tandem-cdn/tandem/internal/sim/scenario"
	"github.com/tandem-cdn/tandem/internal/sim/study"
)

//go:embed report.tmpl.html
var page string

// view is the page.
type view struct {
	*study.Study
	Style   template.CSS
	Verdict verdict
	Checks  []checkRow
	Compare []*picture
	Table   table
	Details []detail
	Params  table
	Machine [][2]string
}

// verdict is the study in one line.
type verdict struct{ Class, Text string }

type checkRow struct {
	Class, Mark, Figure, Says, Run, Value, Want, Aim string
	Same                                             bool // the figure of the row before
}

type table struct {
	Head []string
	Rows []row
}

type row struct {
	Name, Says string
	Cells      []string
}

type detail struct {
	Name     string
	Set      string
	Open     bool
	Pictures []*picture
}

//go:embed report.css
var style string

// WriteHTML writes a study as one page.
func WriteHTML(w io.Writer, s *study.Study) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	v := view{
		Study: s, Style: template.CSS(style), Verdict: verdictOf(s), Checks: checkRows(s), //nolint:gosec // it is this package's own
		Compare: comparisons(s), Table: figuresTable(s), Details: details(s), Params: parameters(s), Machine: machine(s),
	}
	if p := allTimes(s); p != nil {
		v.Compare = append(v.Compare, p)
	}
	if err := t.Execute(w, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func verdictOf(s *study.Study) verdict {
	broken, unjudged := 0, 0
	for _, c := range s.Checks {
		broken += b2i(c.Verdict == study.Broken)
		unjudged += b2i(c.Verdict == study.Unjudged)
	}
	switch {
	case !s.Complete:
		return verdict{"open", "Ended early: these are the figures until then, and nothing is judged by them."}
	case broken > 0:
		return verdict{"bad", fmt.Sprintf("%d of %s broken.", broken, plural(len(s.Checks), "expectation"))}
	case len(s.Checks) == 0:
		return verdict{"open", "The scenario expects nothing."}
	case unjudged > 0:
		return verdict{"open", fmt.Sprintf("%s, of which %d could not be judged; none is broken.", plural(len(s.Checks), "expectation"), unjudged)}
	default:
		return verdict{"good", fmt.Sprintf("All %s hold.", plural(len(s.Checks), "expectation"))}
	}
}

func checkRows(s *study.Study) []checkRow {
	var rows []checkRow
	last := ""
	for _, c := range s.Checks {
		unit := unitOf(c.Figure)
		r := checkRow{Figure: c.Figure, Says: saysOf(c.Figure), Run: title(c.Run), Value: "–", Class: "open", Mark: "?"}
		if c.Over != "" {
			r.Figure += " ÷ that of " + title(c.Over)
			unit = "×"
		}
		if c.Value != nil {
			r.Value = figure(study.Figure{Mean: *c.Value, CI: c.CI}, unit)
		}
		var want []string
		if c.Min != nil {
			want = append(want, "≥ "+number(*c.Min, unit))
		}
		if c.Max != nil {
			want = append(want, "≤ "+number(*c.Max, unit))
		}
		r.Want = strings.Join(want, ", ")
		if c.Aim != nil {
			r.Aim = number(*c.Aim, unit)
			if c.Aimed {
				r.Aim += " ✓"
			}
		}
		switch c.Verdict {
		case study.Holds:
			r.Class, r.Mark = "good", "✓"
		case study.Broken:
			r.Class, r.Mark = "bad", "✗"
		}
		// What is the same as in the line above is not said again.
		if r.Same = r.Figure == last; !r.Same {
			last = r.Figure
		}
		rows = append(rows, r)
	}
	return rows
}

// figuresTable has a column a run.
func figuresTable(s *study.Study) table {
	t := table{Head: []string{"figure"}}
	for _, r := range s.Runs {
		t.Head = append(t.Head, cmp.Or(title(r.Name), "value"))
	}
	for _, f := range scenario.Figures() {
		line := row{Name: f.Name, Says: f.Says}
		some := false
		for _, r := range s.Runs {
			cell := "–"
			if v, ok := r.Figures[f.Name]; ok {
				cell, some = figure(v, f.Unit), true
			}
			line.Cells = append(line.Cells, cell)
		}
		if some {
			t.Rows = append(t.Rows, line)
		}
	}
	line := row{Name: "seeds", Says: "simulations, each with its own random numbers"}
	speed := row{Name: "wall", Says: "time that the simulations took, without those of the edge alone"}
	for _, r := range s.Runs {
		line.Cells = append(line.Cells, fmt.Sprint(len(r.Seeds)))
		speed.Cells = append(speed.Cells, fmt.Sprintf("%s, %s pieces", seconds(r.Wall), grouped(r.Transfers)))
	}
	t.Rows = append(t.Rows, line, speed)
	return t
}

func details(s *study.Study) []detail {
	var list []detail
	for i := range s.Runs {
		r := &s.Runs[i]
		d := detail{Name: cmp.Or(title(r.Name), "What happened"), Open: len(s.Runs) <= 2 || i == 0}
		var set []string
		for _, kv := range r.Set {
			set = append(set, kv[0]+" = "+kv[1])
		}
		d.Set = strings.Join(set, ", ")
		for _, p := range []*picture{
			timesOf(r), ratiosOf(r), bytesOf(r), offloadOf(r), segmentsOf(r), startsOf(r), stallsOf(r), behindOf(r), hopsOf(r),
			crowdOf(r), copiesOf(r), networksOf(r),
		} {
			if p != nil {
				d.Pictures = append(d.Pictures, p)
			}
		}
		list = append(list, d)
	}
	return list
}

// parameters are the scenario's settings; those that runs change are listed with
// the runs.
func parameters(s *study.Study) table {
	t := table{Head: []string{"field", "value"}}
	if len(s.Runs) == 0 {
		return t
	}
	first := map[string]string{}
	varies := map[string]bool{}
	for _, kv := range s.Runs[0].Parameters {
		first[kv[0]] = kv[1]
	}
	for _, r := range s.Runs[1:] {
		seen := map[string]bool{}
		for _, kv := range r.Parameters {
			seen[kv[0]] = true
			if first[kv[0]] != kv[1] {
				varies[kv[0]] = true
			}
		}
		for k := range first {
			varies[k] = varies[k] || !seen[k]
		}
	}
	for _, kv := range s.Runs[0].Parameters {
		value := kv[1]
		if varies[kv[0]] {
			value = "differs between runs"
		}
		t.Rows = append(t.Rows, row{Name: kv[0], Cells: []string{value}})
	}
	return t
}

func machine(s *study.Study) [][2]string {
	m := s.Machine
	seeds := ""
	if len(s.Runs) > 0 && len(s.Runs[0].Seeds) > 0 {
		list := s.Runs[0].Seeds
		seeds = fmt.Sprint(list[0])
		if len(list) > 1 {
			seeds += fmt.Sprintf(" to %d", list[len(list)-1])
		}
	}
	return [][2]string{
		{"command", m.Command},
		{"seeds", seeds},
		{"date", m.Date},
		{"took", seconds(m.Seconds)},
		{"program", m.Version + ", " + m.Go},
		{"machine", fmt.Sprintf("%s, %s", m.System, plural(m.CPUs, "processor"))},
	}
}
