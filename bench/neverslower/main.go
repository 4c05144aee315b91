//go:build linux

// Command neverslower checks the promise that no client waits longer than it
// would have without peers: twelve clients with 50/50 Mbit/s get a real file of
// 250 MB from an edge without limits, in turn with curl from nginx, with curl
// from `tandem serve`, and with `tandem get`. Each client's time is divided by
// the median of the curls that asked the same server.
//
//	go run ./bench/neverslower
//	go run ./bench/neverslower -file debian.iso -runs 3
//
// Figures go to bench/results. It needs root, nginx and curl.
package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	rig.Options
	clients int
	rate    float64 // Mbit/s, each way
	file    string
	mb      int64
	flags   string
	timeout time.Duration
}

// mode is a way to get the file.
type mode struct {
	name   string
	system rig.System
}

// run is the times of the clients, sorted, and what else tandem
// tells.
type run struct {
	Seconds   map[string][]float64 `json:"seconds"` // by mode
	Ratios    []float64            `json:"ratios"`  // tandem's seconds ÷ median of curl from the same edge
	Worst     float64              `json:"worst_ratio"`
	Median    float64              `json:"median_ratio"`
	FromPeers float64              `json:"from_peers"` // share of delivered bytes
	Wasted    float64              `json:"wasted"`     // share of delivered bytes
	Copies    float64              `json:"edge_copies"`
}

type result struct {
	Date    string      `json:"date"`
	Clients int         `json:"clients"`
	Bytes   int64       `json:"bytes"`
	Mbit    float64     `json:"client_mbit_per_second"`
	Runs    []run       `json:"runs"`
	Machine rig.Machine `json:"machine"`
}

const (
	curlNginx = "curl from nginx"
	curlEdge  = "curl from the edge"
	tandem    = "tandem"
)

func main() { rig.Main(bench) }

func parse() options {
	var o options
	flag.IntVar(&o.clients, "n", 12, "clients")
	flag.Float64Var(&o.rate, "mbit", 50, "of each client, up and down, in Mbit/s")
	flag.StringVar(&o.file, "file", "", "file to deliver (default: an archive of this machine's Go tree)")
	flag.Int64Var(&o.mb, "mb", 250, "size of the default file in MB")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Minute, "of one crowd")
	o.Parse(1, "runs of all modes")
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	tools, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	if o.file == "" {
		if o.file, err = rig.GoArchive(ctx, tools, o.mb*1e6); err != nil {
			return err
		}
	}
	r := result{Date: time.Now().UTC().Format(time.DateOnly), Clients: o.clients, Mbit: o.rate}
	for i := range o.Runs {
		if err := o.turn(ctx, &r); err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
	}
	fmt.Print("\n", r.table(), "\n")
	if !o.Save {
		return nil
	}
	if err := rig.WriteJSON("neverslower", r); err != nil {
		return err
	}
	return rig.WriteTable("neverslower", "# Never slower\n\nMade by `go run ./bench/neverslower`.\n\n"+
		r.table()+"\n"+rig.List([]string{r.Date + ": " + r.Machine.String()}))
}

// turn runs every mode once.
func (o options) turn(ctx context.Context, r *result) error {
	each := lab.Rate(o.rate * float64(lab.Mbit))
	this := run{Seconds: map[string][]float64{}}
	for _, m := range []mode{
		{curlNginx, rig.Plain{}},
		{curlEdge, rig.Plain{Binary: o.Binary}},
		{tandem, rig.Tandem{Binary: o.Binary, Flags: strings.Fields(o.flags)}},
	} {
		got, err := rig.Trial{
			Clients: rig.Alike(o.clients, lab.Link{Up: each, Down: each}), System: m.system,
			File: func(path string) error { return rig.Copy(o.file, path) }, Timeout: o.timeout,
		}.Run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for _, c := range got.Outcomes {
			this.Seconds[m.name] = append(this.Seconds[m.name], c.Seconds)
		}
		slices.Sort(this.Seconds[m.name])
		this.FromPeers, this.Wasted = got.FromPeers(), got.Wasted()
		this.Copies = float64(got.Sent) / float64(got.Size)
		r.Machine, r.Bytes = got.Machine, got.Size
		s := this.Seconds[m.name]
		fmt.Printf("%-18s median %.2f s, slowest %.2f s, edge sent %.2f copies\n", m.name, rig.Median(s), s[len(s)-1], this.Copies)
	}
	base := rig.Median(this.Seconds[curlEdge])
	for _, s := range this.Seconds[tandem] {
		this.Ratios = append(this.Ratios, s/base)
	}
	this.Worst, this.Median = this.Ratios[len(this.Ratios)-1], rig.Median(this.Ratios)
	r.Runs = append(r.Runs, this)
	return nil
}

func (r result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients, %.0f MB, %g Mbit/s each way, edge without limits.\n\n", r.Clients, float64(r.Bytes)/1e6, r.Mbit)
	b.WriteString("| run | curl from nginx | curl from the edge | tandem | worst client ÷ curl | median ÷ curl | from peers | copies by the edge | wasted |\n|---|---|---|---|---|---|---|---|---|\n")
	for i, v := range r.Runs {
		fmt.Fprintf(&b, "| %d | %.2f s | %.2f s | %.2f s | **%.3f** | %.3f | **%.1f %%** | %.2f | %.2f %% |\n", i+1,
			rig.Median(v.Seconds[curlNginx]), rig.Median(v.Seconds[curlEdge]), rig.Median(v.Seconds[tandem]),
			v.Worst, v.Median, 100*v.FromPeers, v.Copies, 100*v.Wasted)
	}
	return b.String()
}
