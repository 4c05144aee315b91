//go:build linux

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

type result struct {
	Date     string   `json:"date"`
	Seconds  float64  `json:"seconds"`
	Clients  int      `json:"clients"`
	Stayers  int      `json:"stayers"`
	Churn    float64  `json:"churn_per_minute"` // share of the clients
	MiB      int64    `json:"mib"`
	Mbit     float64  `json:"mbit_per_second"`
	EdgeMbit float64  `json:"edge_mbit_per_second"`
	Files    int      `json:"files"`
	Resumed  int      `json:"resumed"` // of them, after a kill
	Failures []string `json:"failures"`
	Kills    int      `json:"kills"`
	Leaves   int      `json:"leaves"`
	Median   float64  `json:"median_seconds"` // of a file
	P99      float64  `json:"p99_seconds"`
	Offload  float64  `json:"from_peers"` // share of delivered bytes
	Wasted   float64  `json:"wasted"`     // share of delivered bytes

	Server     []sample `json:"server"`
	Agents     []sample `json:"agents_that_stay"` // mean of them
	Goroutines struct {
		Server  float64 `json:"server"`
		Stayers float64 `json:"agents_that_stay"` // medians
		Others  float64 `json:"other_agents"`
	} `json:"goroutines_at_the_end"`
	Machine rig.Machine `json:"machine"`
}

// sum takes in what the clients have counted.
func (r *result) sum(crowd []*client) {
	var seconds []float64
	var edge, peers, wasted int64
	for _, c := range crowd {
		seconds = append(seconds, c.seconds...)
		r.Failures = append(r.Failures, c.failures...)
		r.Resumed, r.Kills, r.Leaves = r.Resumed+c.resumed, r.Kills+c.kills, r.Leaves+c.leaves
		edge, peers, wasted = edge+c.fromEdge, peers+c.fromPeers, wasted+c.wasted
	}
	r.Files, r.Median, r.P99 = len(seconds), rig.Median(seconds), rig.Quantile(seconds, 0.99)
	if all := float64(edge + peers); all > 0 {
		r.Offload, r.Wasted = float64(peers)/all, float64(wasted)/all
	}
}

// resource is one thing that must not grow.
type resource struct {
	what string
	of   func(sample) float64
	// slack is a growth that says nothing: of a heap between two collections, of a
	// connection more or less.
	slack float64
}

func resources() []resource {
	return []resource{
		{"resident memory, MiB", func(s sample) float64 { return s.MiB }, 5},
		{"descriptors", func(s sample) float64 { return s.Descriptors }, 5},
		{"threads", func(s sample) float64 { return s.Threads }, 2},
	}
}

// Caches fill, clients come, and everybody meets everybody in the first part of
// the soak, which takes that many seconds at least.
const (
	warmUp      = 0.25
	warmUpLeast = 120
)

// trend is the line through the samples after the warm-up.
type trend struct {
	mean      float64
	perMinute float64
	growth    float64 // from the first of them to the last
}

func trendOf(samples []sample, of func(sample) float64) trend {
	if len(samples) == 0 {
		return trend{}
	}
	after := max(warmUpLeast, warmUp*samples[len(samples)-1].At)
	samples = slices.DeleteFunc(slices.Clone(samples), func(s sample) bool { return s.At < after })
	n := float64(len(samples))
	if n < 2 {
		return trend{}
	}
	var t, v float64
	for _, s := range samples {
		t, v = t+s.At/n, v+of(s)/n
	}
	var up, down float64
	for _, s := range samples {
		up += (s.At - t) * (of(s) - v)
		down += (s.At - t) * (s.At - t)
	}
	slope := up / down
	return trend{mean: v, perMinute: 60 * slope, growth: slope * (samples[len(samples)-1].At - samples[0].At)}
}

// flatWithin is the growth over the soak, as a part of the mean, that counts as
// none.
const flatWithin = 0.10

func (t trend) flat(slack float64) bool { return t.growth <= max(flatWithin*t.mean, slack) }

// watched are the processes, by name.
func (r *result) watched(f func(name string, of []sample, res resource, t trend)) {
	for _, p := range []struct {
		name    string
		samples []sample
	}{{"server", r.Server}, {"an agent that stays", r.Agents}} {
		for _, res := range resources() {
			f(p.name, p.samples, res, trendOf(p.samples, res.of))
		}
	}
}

// verdict is nil if nothing failed and nothing grew.
func (r *result) verdict() error {
	var errs []error
	if r.Files == 0 {
		errs = append(errs, errors.New("no file was fetched"))
	}
	for _, f := range r.Failures {
		errs = append(errs, errors.New("failed: "+f))
	}
	r.watched(func(name string, _ []sample, res resource, t trend) {
		if !t.flat(res.slack) {
			errs = append(errs, fmt.Errorf("%s: %s grew by %.1f", name, res.what, t.growth))
		}
	})
	return errors.Join(errs...)
}

func (r *result) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f minutes; %d clients of %g Mbit/s each way, a third each open, behind cone and behind symmetric NAT; edge %g Mbit/s; files of %d MiB. ",
		r.Seconds/60, r.Clients, r.Mbit, r.EdgeMbit, r.MiB)
	fmt.Fprintf(&b, "%.0f %% of the clients a minute were killed and started again (%d) or left for somebody new (%d).\n\n", 100*r.Churn, r.Kills, r.Leaves)
	fmt.Fprintf(&b, "**%d files failed**, %d were fetched, %d of them after a kill in the middle; median %.1f s, p99 %.1f s; %.1f %% from peers, %.2f %% wasted.\n\n",
		len(r.Failures), r.Files, r.Resumed, r.Median, r.P99, 100*r.Offload, 100*r.Wasted)
	fmt.Fprintf(&b, "| process | | mean | a minute | over the soak | greatest | |\n|---|---|---|---|---|---|---|\n")
	r.watched(func(name string, samples []sample, res resource, t trend) {
		word := "flat"
		if !t.flat(res.slack) {
			word = "**grows**"
		}
		most := 0.0
		if len(samples) > 0 {
			most = res.of(slices.MaxFunc(samples, func(x, y sample) int { return int(res.of(x)*8) - int(res.of(y)*8) }))
		}
		fmt.Fprintf(&b, "| %s | %s | %.1f | %+.2f | %+.1f | %.1f | %s |\n", name, res.what, t.mean, t.perMinute, t.growth, most, word)
	})
	g := r.Goroutines
	fmt.Fprintf(&b, "\nGoroutines at the end: server %.0f; agents that stayed %.0f, others %.0f (medians). Trends leave out the first quarter, two minutes at least.\n", g.Server, g.Stayers, g.Others)
	return b.String()
}

func (r *result) save() error {
	if err := rig.WriteJSON("soak", r); err != nil {
		return err
	}
	return rig.WriteTable("soak", "# Soak\n\nMade by `make soak`.\n\n"+r.report()+"\n"+rig.List([]string{r.Date + ": " + r.Machine.String()}))
}
