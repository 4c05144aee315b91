//go:build linux

// Command disk moves one file from the disk of a client to that of another on the same
// machine, over loopback (cubic): two `tandem get` over TLS/TCP, whose edge sends
// 200 Mbit/s as long as it is measured, and in turn two libtorrent clients in clear text,
// with some settings each. It reports the rate, the CPU time and the memory of both ends.
//
//	go run ./bench/disk
//	go run ./bench/disk -what tandem -mib 10240 -runs 1
//
// Figures go to bench/results, those of another size beside the others. It needs root,
// python3-libtorrent of Debian, and room on the disk for three files.
package main

import (
	"context"
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
	what  string
	mib   int64
	dir   string
	flags string // further ones of the getting tandem
}

// run is what one run showed.
type run struct {
	Seconds   float64 `json:"seconds"`
	SeedCPU   float64 `json:"seed_cpu_seconds"` // while the other got the file
	GetCPU    float64 `json:"get_cpu_seconds"`
	SeedRSS   float64 `json:"seed_rss_mb"` // at most
	GetRSS    float64 `json:"get_rss_mb"`
	FromPeers float64 `json:"from_peers"` // share of bytes
}

type figures struct {
	System string  `json:"system"`
	Runs   []run   `json:"runs"`
	Ratio  float64 `json:"rate_to_libtorrent"` // medians, ÷ the best of libtorrent's
}

type result struct {
	Date    string      `json:"date"`
	MiB     int64       `json:"mib"`
	Systems []*figures  `json:"systems"`
	Machine rig.Machine `json:"machine"`
}

func main() { rig.Main(bench) }

func bench(ctx context.Context) error {
	var o options
	flag.StringVar(&o.what, "what", "all", "tandem, libtorrent or all")
	flag.Int64Var(&o.mib, "mib", 4096, "size of the file in MiB")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "directory on the disk")
	flag.StringVar(&o.flags, "flags", "", "further flags of the tandem get that is measured")
	o.Parse(3, "runs of each; medians are reported")
	if err := os.Setenv("TMPDIR", o.dir); err != nil {
		return fmt.Errorf("directory of the runs: %w", err)
	}
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	r := &result{Date: time.Now().UTC().Format(time.DateOnly), MiB: o.mib}
	if err := rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error { return o.measure(ctx, l, dir, r) }); err != nil {
		return err
	}
	r.compare()
	fmt.Print("\n", r.table(), "\n")
	if !o.Save {
		return nil
	}
	if err := rig.WriteJSON(fmt.Sprintf("disk-%05d", o.mib), r); err != nil {
		return err
	}
	return table()
}

// measure runs all systems in turn.
func (o options) measure(ctx context.Context, l *lab.Lab, dir string, r *result) error {
	s, err := o.prepare(ctx, l, dir)
	if err != nil {
		return err
	}
	cc, err := s.host.CongestionControl(ctx)
	if err != nil {
		return err
	}
	r.Machine = rig.ThisMachine(cc)
	all := s.systems()
	for _, y := range all {
		r.Systems = append(r.Systems, &figures{System: y.name})
	}
	// One run that does not count: memory may have to be found, and a client hashes what
	// it seeds when it is first asked for it, unless it had the manifest when it got it.
	if _, err := s.run(ctx, all[0]); err != nil {
		return fmt.Errorf("%s: %w", all[0].name, err)
	}
	for i := range o.Runs {
		for k := range all {
			k = (k + i) % len(all) // nobody is always behind the same one
			got, err := s.run(ctx, all[k])
			if err != nil {
				return fmt.Errorf("%s, run %d: %w", all[k].name, i+1, err)
			}
			fmt.Printf("%-26s run %d: %s\n", all[k].name, i+1, got.describe(o.mib))
			r.Systems[k].Runs = append(r.Systems[k].Runs, got)
		}
	}
	return nil
}

func (r run) describe(mib int64) string {
	mb := float64(mib<<20) / 1e6
	return fmt.Sprintf("%5.0f MB/s, CPU-s/GB %.2f to seed, %.2f to get; %.0f and %.0f MB resident at most; %.1f %% from peers",
		mb/r.Seconds, r.SeedCPU*1e3/mb, r.GetCPU*1e3/mb, r.SeedRSS, r.GetRSS, 100*r.FromPeers)
}

func (f *figures) median(figure func(run) float64) float64 { return rig.MedianOf(f.Runs, figure) }

func (f *figures) seconds() float64 { return f.median(func(r run) float64 { return r.Seconds }) }

// most is the largest of a figure of all runs.
func (f *figures) most(figure func(run) float64) (v float64) {
	for _, r := range f.Runs {
		v = max(v, figure(r))
	}
	return v
}

// compare divides by the best of libtorrent's settings, if there is one.
func (r *result) compare() {
	best := 0.0
	for _, f := range r.Systems {
		if t := f.seconds(); f.System != ours && (best == 0 || t < best) {
			best = t
		}
	}
	for _, f := range r.Systems {
		f.Ratio = best / f.seconds()
	}
}

func (r *result) table() string {
	var b strings.Builder
	gb := float64(r.MiB<<20) / 1e9
	fmt.Fprintf(&b, "**%d MiB**\n\n| system | MB/s (range) | ÷ best of libtorrent | CPU-s/GB to seed | to get | RSS MB at most, seed | get | from peers | runs |\n"+
		"|---|---|---|---|---|---|---|---|---|\n", r.MiB)
	for _, f := range r.Systems {
		var rates []float64
		for _, run := range f.Runs {
			rates = append(rates, 1000*gb/run.Seconds)
		}
		ratio := "–"
		if f.Ratio > 0 {
			ratio = fmt.Sprintf("**%.2f**", f.Ratio)
		}
		fmt.Fprintf(&b, "| %s | %.0f (%.0f–%.0f) | %s | %.2f | %.2f | %.0f | %.0f | %.1f %% | %d |\n", f.System,
			1000*gb/f.seconds(), rig.Quantile(rates, 0), rig.Quantile(rates, 1), ratio,
			f.median(func(r run) float64 { return r.SeedCPU })/gb, f.median(func(r run) float64 { return r.GetCPU })/gb,
			f.most(func(r run) float64 { return r.SeedRSS }), f.most(func(r run) float64 { return r.GetRSS }),
			100*f.median(func(r run) float64 { return r.FromPeers }), len(f.Runs))
	}
	return b.String()
}

// table joins the results for all sizes.
func table() error {
	all, err := rig.ReadAll[*result]("disk-")
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# Disk to disk between two clients\n\nMade by `go run ./bench/disk`: both clients on one machine, over loopback; medians. The systems take turns; before each, what the " +
		"last one wrote is removed, the disk left to finish (`sync`), and the file that is seeded put out of the page cache; one run of the first does not count. A client is done when all is verified and written to the page cache. " +
		"`tandem` is encrypted (TLS/TCP), and its edge sends 200 Mbit/s meanwhile; libtorrent's memory has the parts of the file that it has mapped in it.\n")
	var notes []string
	for _, r := range all {
		b.WriteString("\n" + r.table())
		notes = append(notes, r.Date+": "+r.Machine.String())
	}
	return rig.WriteTable("disk", b.String()+"\n"+rig.List(notes))
}
