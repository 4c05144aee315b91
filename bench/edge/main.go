//go:build linux

// Command edge measures the edge on one host over loopback (cubic) against nginx,
// in turn: a cached object of 100 MB in clear text and over TLS, objects of 10 KB,
// the fill of an object of 2 GB, and the memory of an edge that holds a million
// small objects. nginx serves files by sendfile, or from its proxy_cache; both
// servers have the same certificate (ECDSA P-256) and cipher (AES-128-GCM).
//
//	go run ./bench/edge
//	go run ./bench/edge -case small -runs 9
//
// Figures go to bench/results. It needs root, nginx and wrk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	cases   string
	last    time.Duration // of one measurement
	bulk    int64         // bytes
	fill    int64         // bytes
	small   int64         // bytes
	objects int
}

// result is what one case found; the tables of all cases make bench/results/edge.md.
type result struct {
	Case    string      `json:"case"`
	Date    string      `json:"date"`
	What    string      `json:"what"`
	Unit    string      `json:"unit"`
	Rows    []*row      `json:"rows"` // the first is the reference
	Machine rig.Machine `json:"machine"`
}

// row is one server. Values are one a run.
type row struct {
	Server string    `json:"server"`
	Values []float64 `json:"values"`
	CPU    []float64 `json:"cpu_seconds"` // of the server, per GB or per 100,000 requests
	Ratio  float64   `json:"ratio"`       // median ÷ median of the reference
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		rig.Main(child)
		return
	}
	rig.Main(bench)
}

func parse() options {
	var o options
	flag.StringVar(&o.cases, "case", "clear,tls,small,fill,memory", "what to measure")
	flag.DurationVar(&o.last, "for", 2*time.Second, "how long one measurement takes")
	flag.Int64Var(&o.bulk, "bulk", 100e6, "size of the big object in bytes")
	flag.Int64Var(&o.fill, "fill", 2e9, "size of the object that is filled in bytes")
	flag.Int64Var(&o.small, "small", 10e3, "size of the small objects in bytes")
	flag.IntVar(&o.objects, "objects", 1e6, "small objects that the edge holds while its memory is measured")
	o.Parse(5, "runs of each; medians are reported")
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	cases := map[string]func(context.Context, *site) ([]*result, error){
		"clear": o.clear, "tls": o.tls, "small": o.smallObjects, "fill": o.fills, "memory": o.memory,
	}
	for name := range strings.SplitSeq(o.cases, ",") {
		run := cases[name]
		if run == nil {
			return fmt.Errorf("case %q: want some of clear, tls, small, fill, memory", name)
		}
		if err := o.measure(ctx, name, run); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if !o.Save {
		return nil
	}
	return table()
}

// measure runs one case on a host of its own.
func (o options) measure(ctx context.Context, name string, run func(context.Context, *site) ([]*result, error)) error {
	return rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		h, err := l.Server(ctx, lab.Link{})
		if err != nil {
			return err
		}
		cc, err := h.CongestionControl(ctx)
		if err != nil {
			return err
		}
		results, err := run(ctx, &site{options: o, host: h, dir: dir})
		if err != nil {
			return err
		}
		for _, r := range results {
			r.Case, r.Date, r.Machine = name, time.Now().UTC().Format(time.DateOnly), rig.ThisMachine(cc)
			r.settle()
			fmt.Print("\n", r.table(), "\n")
		}
		if o.Save {
			return rig.WriteJSON("edge-"+name, results)
		}
		return nil
	})
}

func (r *result) settle() {
	for _, w := range r.Rows {
		if base := rig.Median(r.Rows[0].Values); base > 0 {
			w.Ratio = rig.Median(w.Values) / base
		}
	}
}

func (r *result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n| server | %s, median (min–max) | ÷ %s | %s | runs |\n|---|---|---|---|---|\n",
		r.What, r.Unit, r.Rows[0].Server, cpuOf(r.Unit))
	for _, w := range r.Rows {
		cpu := "–"
		if len(w.CPU) > 0 {
			cpu = fmt.Sprintf("%.2f", rig.Median(w.CPU))
		}
		fmt.Fprintf(&b, "| %s | %s (%s–%s) | **%.2f** | %s | %d |\n", w.Server,
			number(rig.Median(w.Values)), number(rig.Quantile(w.Values, 0)), number(rig.Quantile(w.Values, 1)), w.Ratio, cpu, len(w.Values))
	}
	return b.String()
}

func cpuOf(unit string) string {
	if unit == perSecond {
		return "server CPU-s per 100,000"
	}
	return "server CPU-s per GB"
}

func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// table joins the results of all cases, of this and of earlier runs.
func table() error {
	files, err := rig.ReadAll[[]*result]("edge-")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no results yet")
	}
	var b strings.Builder
	b.WriteString("# The edge against nginx\n\nMade by `go run ./bench/edge`. Server and loader share the machine's two cores, over loopback; servers run in turn.\n")
	var notes []string
	for _, f := range files {
		for _, r := range f {
			b.WriteString("\n" + r.table())
			notes = append(notes, r.Date+": "+r.Machine.String())
		}
	}
	return rig.WriteTable("edge", b.String()+"\n"+rig.List(notes))
}
