//go:build linux

// Command edges downloads from two edges, of which one goes bad: it is slowed to
// 1 Mbit/s or swallowed by a black hole in the middle, or slow from the start. Each
// time is divided by that from the good edge alone, which runs in turn with the
// others. The edge that goes bad is once the one of the URL and once its mirror.
//
//	go run ./bench/edges
//	go run ./bench/edges -mib 64 -runs 5
//
// Figures go to bench/results. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	mib     int64
	mbit    float64
	down    float64
	after   time.Duration
	timeout time.Duration
}

// mode is what happens to which edge.
type mode struct {
	name string
	bad  int // 0: that of the URL, 1: its mirror, −1: there is no other
	harm func(ctx context.Context, h *lab.Host) error
	from bool // from the start
}

// figures are those of one mode.
type figures struct {
	Mode    string    `json:"mode"`
	Seconds []float64 `json:"seconds"`
	Ratio   float64   `json:"ratio"`  // median ÷ median of the good edge alone
	Wasted  float64   `json:"wasted"` // share of the file, median
	wasted  []float64
}

type result struct {
	Date    string      `json:"date"`
	MiB     int64       `json:"mib"`
	Mbit    float64     `json:"edge_mbit_per_second"`
	Down    float64     `json:"client_mbit_per_second"`
	After   float64     `json:"harm_after_seconds"`
	Modes   []*figures  `json:"modes"` // the first is the good edge alone
	Machine rig.Machine `json:"machine"`
}

func modes() []mode {
	well := func(context.Context, *lab.Host) error { return nil }
	slow := func(ctx context.Context, h *lab.Host) error { return h.Throttle(ctx, lab.Mbit) }
	dead := func(ctx context.Context, h *lab.Host) error { return h.Blackhole(ctx) }
	return []mode{
		{"one good edge", -1, well, false},
		{"two good edges", 0, well, false},
		{"first slows to 1 Mbit/s", 0, slow, false},
		{"mirror slows to 1 Mbit/s", 1, slow, false},
		{"first swallowed", 0, dead, false},
		{"mirror swallowed", 1, dead, false},
		{"first slow from the start", 0, slow, true},
		{"mirror dead from the start", 1, dead, true},
	}
}

func main() { rig.Main(bench) }

func parse() options {
	var o options
	flag.Int64Var(&o.mib, "mib", 32, "size of the file in MiB")
	flag.Float64Var(&o.mbit, "mbit", 20, "of each edge, in Mbit/s")
	flag.Float64Var(&o.down, "down", 20, "of the client, in Mbit/s")
	flag.DurationVar(&o.after, "after", 4*time.Second, "when the edge goes bad")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "of one download")
	o.Parse(3, "runs of each; medians are reported")
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	r := result{Date: time.Now().UTC().Format(time.DateOnly), MiB: o.mib, Mbit: o.mbit, Down: o.down, After: o.after.Seconds()}
	for _, m := range modes() {
		r.Modes = append(r.Modes, &figures{Mode: m.name})
	}
	for i := range o.Runs {
		for k, m := range modes() {
			got, machine, err := o.download(ctx, m)
			if err != nil {
				return fmt.Errorf("%s, run %d: %w", m.name, i+1, err)
			}
			fmt.Printf("%-28s run %d: %.2f s\n", m.name, i+1, got.Seconds)
			f := r.Modes[k]
			f.Seconds = append(f.Seconds, got.Seconds)
			f.wasted = append(f.wasted, float64(got.Wasted)/float64(o.mib<<20))
			r.Machine = machine
		}
	}
	for _, f := range r.Modes {
		f.Ratio = rig.Median(f.Seconds) / rig.Median(r.Modes[0].Seconds)
		f.Wasted = rig.Median(f.wasted)
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.Save {
		return nil
	}
	if err := rig.WriteJSON("edges", r); err != nil {
		return err
	}
	return rig.WriteTable("edges", "# Edges that go bad\n\nMade by `go run ./bench/edges`; each figure is the median of the runs.\n\n"+
		r.table()+"\n"+rig.List([]string{r.Date + ": " + r.Machine.String()}))
}

// download is one client in a fresh lab.
func (o options) download(ctx context.Context, m mode) (got rig.Outcome, machine rig.Machine, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err = rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		edges, www, err := o.serve(ctx, l, dir, m)
		if err != nil {
			return err
		}
		down := lab.Rate(o.down * float64(lab.Mbit))
		h, err := l.Client(ctx, lab.Link{Up: down, Down: down}, lab.Open)
		if err != nil {
			return err
		}
		d, err := rig.Get(ctx, h, o.Binary, "http://"+edges[0].IP.String()+"/file.bin", filepath.Join(dir, "client"))
		if err != nil {
			return err
		}
		cc, err := h.CongestionControl(ctx)
		if err != nil {
			return err
		}
		machine = rig.ThisMachine(cc)
		all := []*rig.Download{d}
		harmed := make(chan error, 1)
		go func() { harmed <- o.harm(ctx, edges, m) }()
		outcomes, _, stop, err := rig.Crowd(ctx, all)
		if err = errors.Join(err, <-harmed); err != nil {
			return err
		}
		defer stop()
		got = outcomes[0]
		return rig.Same(filepath.Join(www, "file.bin"), all)
	})
	return got, machine, err
}

// serve starts one edge or two, of which the first names the second as its mirror.
func (o options) serve(ctx context.Context, l *lab.Lab, dir string, m mode) (edges []*lab.Host, www string, err error) {
	www = filepath.Join(dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return nil, "", fmt.Errorf("file to deliver: %w", err)
	}
	if err := rig.RandomFile(o.mib << 20)(filepath.Join(www, "file.bin")); err != nil {
		return nil, "", fmt.Errorf("file to deliver: %w", err)
	}
	rate := lab.Rate(o.mbit * float64(lab.Mbit))
	for range 2 {
		h, err := l.Server(ctx, lab.Link{Up: rate, Down: rate})
		if err != nil {
			return nil, "", err
		}
		edges = append(edges, h)
	}
	for i, h := range edges {
		var flags []string
		if i == 0 && m.bad >= 0 {
			flags = []string{"--mirrors", "http://" + edges[1].IP.String()}
		}
		if err := rig.Serve(ctx, h, o.Binary, www, filepath.Join(dir, h.Name), flags...); err != nil {
			return nil, "", err
		}
	}
	if m.from {
		err = m.harm(ctx, edges[m.bad])
	}
	return edges, www, err
}

// harm does to the bad edge what is done to it in the middle.
func (o options) harm(ctx context.Context, edges []*lab.Host, m mode) error {
	if m.from || m.bad < 0 {
		return nil
	}
	if err := rig.Sleep(ctx, o.after); err != nil {
		return err
	}
	return m.harm(ctx, edges[m.bad])
}

func (r result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "One client, %d MiB, edges of %g Mbit/s, downlink %g Mbit/s; harm after %g s.\n\n", r.MiB, r.Mbit, r.Down, r.After)
	b.WriteString("| edges | seconds | ÷ the good edge alone | wasted | runs |\n|---|---|---|---|---|\n")
	for _, f := range r.Modes {
		fmt.Fprintf(&b, "| %s | %.2f | **%.3f** | %.2f %% | %d |\n", f.Mode, rig.Median(f.Seconds), f.Ratio, 100*f.Wasted, len(f.Seconds))
	}
	return b.String()
}
