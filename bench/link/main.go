//go:build linux

// Command link moves an object over one link from memory to memory, every piece
// verified with SHA-256: over TLS/TCP and over QUIC as two clients do, and in turn
// with that over bare crypto/tls and bare quic-go. Sender and receiver are processes
// of their own, so that the CPU time of each is known.
//
//	go run ./bench/link
//	go run ./bench/link -runs 9 -kind quic
//
// Figures go to bench/results. It needs root, for a namespace whose TCP runs cubic.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	mib     map[string]int64 // by kind
	runs    int
	kind    string
	profile string
	save    bool
}

// variant is one way to move the object.
type variant struct {
	Kind string `json:"kind"` // tcp or quic
	Bare bool   `json:"bare"`
}

func (v variant) String() string {
	name := map[string]string{"tcp": "TLS/TCP", "quic": "QUIC"}[v.Kind]
	if v.Bare {
		return "bare " + name
	}
	return name
}

// run is what one run showed.
type run struct {
	Seconds float64 `json:"seconds"`
	SendCPU float64 `json:"send_cpu_seconds"`
	RecvCPU float64 `json:"receive_cpu_seconds"`
	SendRSS int64   `json:"send_rss_bytes"` // at most
	RecvRSS int64   `json:"receive_rss_bytes"`
}

type figures struct {
	variant
	Bytes int64 `json:"bytes"`
	Runs  []run `json:"runs"`
}

type result struct {
	Date    string      `json:"date"`
	Figures []*figures  `json:"figures"` // tandem's before the bare one of each kind
	Machine rig.Machine `json:"machine"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "end" {
		rig.Main(func(ctx context.Context) error { return runEnd(ctx, os.Args[2:]) })
		return
	}
	rig.Main(bench)
}

func parse() options {
	var o options
	tcp := flag.Int64("tcp-mib", 2048, "size of the object over TLS/TCP")
	quic := flag.Int64("quic-mib", 1024, "size of the object over QUIC")
	flag.IntVar(&o.runs, "runs", 5, "runs of each; medians are reported")
	flag.StringVar(&o.kind, "kind", "", "measure tcp or quic alone")
	flag.StringVar(&o.profile, "profile", "", "directory for CPU profiles of both ends of every run")
	flag.BoolVar(&o.save, "save", true, "keep figures in bench/results")
	flag.Parse()
	o.mib = map[string]int64{"tcp": *tcp, "quic": *quic}
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	r := result{Date: time.Now().UTC().Format(time.DateOnly)}
	for _, kind := range []string{"tcp", "quic"} {
		for _, bare := range []bool{false, true} {
			if o.kind == "" || o.kind == kind {
				r.Figures = append(r.Figures, &figures{variant: variant{kind, bare}, Bytes: o.mib[kind] << 20})
			}
		}
	}
	err := rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, _ string) error {
		h, err := l.Server(ctx, lab.Link{})
		if err != nil {
			return err
		}
		cc, err := h.CongestionControl(ctx)
		if err != nil {
			return err
		}
		r.Machine = rig.ThisMachine(cc)
		return o.measure(ctx, h, r.Figures)
	})
	if err != nil {
		return err
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.save || o.kind != "" {
		return nil
	}
	if err := rig.WriteJSON("link", r); err != nil {
		return err
	}
	return rig.WriteTable("link", "# One link\n\nMade by `go run ./bench/link`.\n\n"+r.table()+"\n"+
		rig.List([]string{r.Date + ": " + r.Machine.String()}))
}

func (o options) measure(ctx context.Context, h *lab.Host, all []*figures) error {
	for i := range o.runs {
		order := slices.Clone(all)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, f := range order {
			got, err := o.one(ctx, h, f, i)
			if err != nil {
				return fmt.Errorf("%v, run %d: %w", f.variant, i+1, err)
			}
			fmt.Printf("%-13s run %d: %s\n", f.variant, i+1, f.describe(got))
			f.Runs = append(f.Runs, got)
		}
	}
	return nil
}

func (f *figures) describe(r run) string {
	gb := float64(f.Bytes) / 1e9
	return fmt.Sprintf("%6.0f MB/s, CPU-s/GB %.2f to send, %.2f to receive", 1000*gb/r.Seconds, r.SendCPU/gb, r.RecvCPU/gb)
}

func (f *figures) median(figure func(run) float64) float64 { return rig.MedianOf(f.Runs, figure) }

// rate is the median in MB/s, cpu that of both ends in s/GB.
func (f *figures) rate() float64 {
	return f.median(func(r run) float64 { return float64(f.Bytes) / 1e6 / r.Seconds })
}

func (f *figures) cpu() float64 {
	return f.median(func(r run) float64 { return (r.SendCPU + r.RecvCPU) * 1e9 / float64(f.Bytes) })
}

func (r result) table() string {
	var b strings.Builder
	b.WriteString("One object from memory to memory over loopback, both ends on this machine, SHA-256 of every piece checked by the receiver.\n" +
		"Ratios are of medians, tandem ÷ bare of the same kind.\n\n" +
		"| link | size | MB/s (range) | CPU-s/GB to send | to receive | RSS MB send, receive | MB/s ÷ bare | CPU ÷ bare |\n|---|---|---|---|---|---|---|---|\n")
	for i, f := range r.Figures {
		gb := float64(f.Bytes) / 1e9
		rates := make([]float64, len(f.Runs))
		for k, run := range f.Runs {
			rates[k] = 1000 * gb / run.Seconds
		}
		ratio := "| |"
		if !f.Bare {
			bare := r.Figures[i+1]
			ratio = fmt.Sprintf("| %.2f | %.2f |", f.rate()/bare.rate(), f.cpu()/bare.cpu())
		}
		fmt.Fprintf(&b, "| %v | %d MiB | %.0f (%.0f–%.0f) | %.2f | %.2f | %.0f, %.0f %s\n", f.variant, f.Bytes>>20,
			f.rate(), slices.Min(rates), slices.Max(rates),
			f.median(func(r run) float64 { return r.SendCPU / gb }), f.median(func(r run) float64 { return r.RecvCPU / gb }),
			f.median(func(r run) float64 { return float64(r.SendRSS) / 1e6 }), f.median(func(r run) float64 { return float64(r.RecvRSS) / 1e6 }), ratio)
	}
	return b.String()
}
