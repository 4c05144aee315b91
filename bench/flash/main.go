//go:build linux

// Command flash is the flash crowd: N clients ask for one file at once. It
// reports the time until the last has it against the Kumar–Ross bound, and how
// many copies the edge sent, for tandem, for libtorrent with a web seed and for
// plain HTTP, on the same network of the lab.
//
//	go run ./bench/flash -case a                    # 20/20 Mbit/s, edge 20
//	go run ./bench/flash -case b -runs 5            # 5 up, 40 down, edge 40
//	go run ./bench/flash -case all -what all -runs 3
//
// Figures go to bench/results. It needs root; libtorrent needs python3-libtorrent
// of Debian, and it and plain HTTP need nginx.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// rates are the links of one case, in bits per second.
type rates struct {
	Up   lab.Rate `json:"up"`
	Down lab.Rate `json:"down"`
	Edge lab.Rate `json:"edge"` // each way
}

type options struct {
	rig.Options
	cases   []string
	what    []string
	n       int
	mib     int64
	flags   string // further flags of tandem get
	timeout time.Duration
}

func cases() map[string]rates {
	return map[string]rates{
		"a": {Up: 20 * lab.Mbit, Down: 20 * lab.Mbit, Edge: 20 * lab.Mbit},
		"b": {Up: 5 * lab.Mbit, Down: 40 * lab.Mbit, Edge: 40 * lab.Mbit},
	}
}

func main() { rig.Main(run) }

func parse() (options, error) {
	var o options
	cs := flag.String("case", "a", "a (20/20 Mbit/s, edge 20), b (5/40, edge 40), or all")
	what := flag.String("what", "tandem", "comma-separated: tandem, http, libtorrent (four settings), libtorrent-{tcp,utp}-{64,256}, all")
	flag.IntVar(&o.n, "n", 16, "clients")
	flag.Int64Var(&o.mib, "mib", 32, "size of the file in MiB")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "of one run")
	o.Parse(1, "runs of each; medians are reported")
	known := cases()
	o.cases = strings.Split(*cs, ",")
	if *cs == "all" {
		o.cases = slices.Sorted(maps.Keys(known))
	}
	for _, c := range o.cases {
		if _, ok := known[c]; !ok {
			return o, fmt.Errorf("case %q: there are a, b and all", c)
		}
	}
	for w := range strings.SplitSeq(*what, ",") {
		names, err := expand(w)
		if err != nil {
			return o, err
		}
		o.what = append(o.what, names...)
	}
	return o, nil
}

func run(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	binary := &o.Binary
	if !slices.Contains(o.what, "tandem") {
		binary = nil
	}
	_, remove, err := rig.Tools(ctx, binary)
	if err != nil {
		return err
	}
	defer remove()
	for _, c := range o.cases {
		if err := runCase(ctx, o, c); err != nil {
			return err
		}
	}
	return nil
}

// trial is one run of a system in a case.
func (o options) trial(name, what string) rig.Trial {
	r := cases()[name]
	return rig.Trial{
		Clients: rig.Alike(o.n, lab.Link{Up: r.Up, Down: r.Down}),
		Edge:    lab.Link{Up: r.Edge, Down: r.Edge},
		System:  systemOf(what, o),
		File:    rig.RandomFile(o.mib << 20),
		Timeout: o.timeout,
	}
}

// bound is the Kumar–Ross bound in seconds: nobody can finish before the edge has
// sent the file once, a client has received it once, and all uplinks together
// have sent it N times.
func (o options) bound(r rates) float64 {
	bits, n := float64(o.mib<<20)*8, float64(o.n)
	return max(bits/float64(r.Edge), bits/float64(r.Down), n*bits/(float64(r.Edge)+n*float64(r.Up)))
}

// runCase runs all systems in turn, so that what else the machine does falls on
// all alike.
func runCase(ctx context.Context, o options, name string) error {
	done := map[string]*result{}
	for i := range o.Runs {
		for _, what := range o.what {
			got, err := o.trial(name, what).Run(ctx)
			if err != nil {
				return fmt.Errorf("case %s, %s, run %d: %w", name, what, i+1, err)
			}
			if done[what] == nil {
				r := cases()[name]
				done[what] = &result{Case: name, What: what, N: o.n, MiB: o.mib, Rates: r, Bound: o.bound(r), Machine: got.Machine}
			}
			m := measured(got, done[what].Bound)
			done[what].Runs = append(done[what].Runs, m)
			fmt.Printf("case %s %-18s run %d: %s\n", name, what, i+1, m)
		}
	}
	var all []result
	for _, what := range o.what {
		r := done[what]
		r.Date = time.Now().UTC().Format(time.DateOnly)
		r.Median = medians(r.Runs)
		all = append(all, *r)
	}
	fmt.Print("\n", table(all), "\n")
	if !o.Save {
		return nil
	}
	return save(all)
}
