package study

import (
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
)

// Verdicts on an expectation.
const (
	Holds    = "holds"
	Broken   = "broken"
	Unjudged = "not judged" // the study ended early, or the figure has no meaning
)

// Check is an expectation and what came of it in one run.
type Check struct {
	Figure  string   `json:"figure"`
	Run     string   `json:"run,omitempty"`
	Over    string   `json:"over,omitempty"` // the figure is divided by that run's
	Min     *float64 `json:"min,omitempty"`
	Max     *float64 `json:"max,omitempty"`
	Aim     *float64 `json:"aim,omitempty"`
	Value   *float64 `json:"value,omitempty"`
	CI      float64  `json:"ci95,omitempty"`
	Verdict string   `json:"verdict"`
	Aimed   bool     `json:"aim_reached"`
}

// OK reports whether no expectation is broken.
func (s *Study) OK() bool {
	for _, c := range s.Checks {
		if c.Verdict == Broken {
			return false
		}
	}
	return true
}

func (s *Study) judge(f *scenario.File) {
	for _, e := range f.Scenario.Expect {
		for _, r := range f.Runs {
			if e.Run == "" && e.Over != "" && r.Is(e.Over) {
				continue // one over itself
			}
			if e.Run == "" || r.Is(e.Run) {
				s.Checks = append(s.Checks, s.check(f, e, r))
			}
		}
	}
}

func (s *Study) check(f *scenario.File, e scenario.Expectation, r scenario.Run) Check {
	c := Check{Figure: e.Figure, Run: r.Name, Min: number(e.Min), Max: number(e.Max), Aim: number(e.Aim), Verdict: Unjudged}
	got, ok := s.figure(r.Name, e.Figure)
	value := got.Mean
	if e.Over != "" {
		c.Over = counterpart(f, r, e)
		base, there := s.figure(c.Over, e.Figure)
		ok = ok && there && base.Mean != 0
		if ok {
			value /= base.Mean
			got.CI /= base.Mean
		}
	}
	if !ok || !s.Complete {
		return c
	}
	c.Value, c.CI, c.Verdict = &value, got.CI, Holds
	if c.Min != nil && value < *c.Min || c.Max != nil && value > *c.Max {
		c.Verdict = Broken
	}
	// An aim is on the side of the bound that is judged.
	c.Aimed = c.Aim != nil && (c.Max == nil && value >= *c.Aim || c.Max != nil && value <= *c.Aim)
	return c
}

// counterpart is the run that an expectation compares r with: of the named
// variant, and with the same swept values if there is one.
func counterpart(f *scenario.File, r scenario.Run, e scenario.Expectation) string {
	found := ""
	for _, o := range f.Runs {
		if !o.Is(e.Over) {
			continue
		}
		if o.Swept == r.Swept {
			return o.Name
		}
		if found == "" {
			found = o.Name
		}
	}
	return found
}

func (s *Study) figure(run, name string) (Figure, bool) {
	for _, r := range s.Runs {
		if r.Name == run {
			f, ok := r.Figures[name]
			return f, ok
		}
	}
	return Figure{}, false
}

func number(q *scenario.Quantity) *float64 {
	if q == nil {
		return nil
	}
	x := float64(*q)
	return &x
}
