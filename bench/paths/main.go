//go:build linux

// Command paths measures what long paths that lose packets leave of a link: how much
// of a client's downlink is filled from one peer, over TLS/TCP and over QUIC, beside
// bare TCP and bare quic-go on the same path; and from six peers while the edge gives
// next to nothing.
//
//	go run ./bench/paths
//	go run ./bench/paths -case crowd
//	go run ./bench/paths -case link -rtt 100ms -loss 0.001
//
// Figures go to bench/results. It needs root.
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
	rig.Options
	which string
	what  string
	rtt   time.Duration
	loss  float64
	mbit  float64
	warm  time.Duration
	time  time.Duration
	flags string
}

// The cases.
const (
	crowd = "crowd"
	link  = "link"
)

// The variants, in the order of the table.
const (
	overTCP  = "TLS/TCP"
	bareTCP  = "bare TCP"
	overQUIC = "QUIC"
	bareQUIC = "bare quic-go"
)

func variants() []string { return []string{overTCP, bareTCP, overQUIC, bareQUIC} }

// situation is one path, with so many peers at its other end.
type situation struct {
	name  string
	rtt   time.Duration
	loss  float64
	peers int
}

func main() {
	rig.Main(func(ctx context.Context) error {
		if len(os.Args) > 1 && os.Args[1] == "end" {
			return end(ctx, os.Args[2:])
		}
		return bench(ctx)
	})
}

func parse() options {
	var o options
	flag.StringVar(&o.which, "case", "all", "link, crowd or all")
	flag.StringVar(&o.what, "what", "all", "one of "+strings.Join(variants(), ", ")+", or all")
	flag.DurationVar(&o.rtt, "rtt", 0, "round trip of case link (default: 20, 100 and 200 ms)")
	flag.Float64Var(&o.loss, "loss", -1, "share of packets lost each way, of case link (default: 0, 0.001, 0.01 and 0.02)")
	flag.Float64Var(&o.mbit, "mbit", 100, "downlink of the client and uplink of each peer, in Mbit/s")
	flag.DurationVar(&o.warm, "warm", 8*time.Second, "after the transfer has begun, before the downlink is watched")
	flag.DurationVar(&o.time, "watched", 8*time.Second, "how long it is watched")
	flag.StringVar(&o.flags, "flags", "", "further flags of tandem get")
	o.Parse(1, "runs of each")
	return o
}

func bench(ctx context.Context) error {
	o := parse()
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	for _, c := range o.cases() {
		r := result{
			Date: time.Now().UTC().Format(time.DateOnly), Case: c.name, RTT: c.rtt.Seconds(), Loss: c.loss,
			Mbit: o.mbit, Peers: c.peers, Warm: o.warm.Seconds(), Runs: map[string][]figures{},
		}
		for i := range o.Runs {
			order := variants()
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, v := range order {
				if o.what != "all" && o.what != v {
					continue
				}
				if err := o.measure(ctx, c, v, &r); err != nil {
					return fmt.Errorf("%s, %v, loss %g, %s: %w", c.name, c.rtt, c.loss, v, err)
				}
			}
		}
		if o.Save {
			name := fmt.Sprintf("paths-%s-%03d-%03.0f", c.name, c.rtt.Milliseconds(), 1000*c.loss)
			if err := rig.WriteJSON(name, r); err != nil {
				return err
			}
		}
	}
	if !o.Save {
		return nil
	}
	return writeTable()
}

func (o options) cases() []situation {
	var all []situation
	if o.which != link {
		all = append(all, situation{crowd, 100 * time.Millisecond, 0.001, 6})
	}
	for _, rtt := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		for _, loss := range []float64{0, 0.001, 0.01, 0.02} {
			if o.which != crowd && (o.rtt == 0 || o.rtt == rtt) && (o.loss < 0 || o.loss == loss) {
				all = append(all, situation{link, rtt, loss, 1})
			}
		}
	}
	return all
}

// figures are what one run has shown.
type figures struct {
	// Filled is the share of the downlink that was in use while it was watched, Early
	// from the beginning up to then. Headers count, and what the loss takes behind it.
	Filled float64 `json:"filled"`
	Early  float64 `json:"filled_early"`
}

func (o options) measure(ctx context.Context, c situation, v string, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		s := &site{o: o, lab: l, dir: dir}
		if err := s.build(ctx, c); err != nil {
			return err
		}
		cc, err := s.client.CongestionControl(ctx)
		if err != nil {
			return err
		}
		r.Machine = rig.ThisMachine(cc)
		start := s.startTandem
		if v == bareTCP || v == bareQUIC {
			start = s.startBare
		}
		if err := start(ctx, c, v); err != nil {
			return err
		}
		f, err := s.watch(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%-5s %3d ms, loss %4.1f %%: %-12s fills %5.1f %%, before %5.1f %%\n",
			c.name, c.rtt.Milliseconds(), 100*c.loss, v, 100*f.Filled, 100*f.Early)
		r.Runs[v] = append(r.Runs[v], f)
		return nil
	})
}

const (
	// begun is how many bytes say that the transfer has begun.
	begun = 1 << 20
	// beginWithin bounds what comes before, which a client gets from the slow edge.
	beginWithin = time.Minute
	lookEvery   = 50 * time.Millisecond
)

// watch watches the client's downlink once it begins to be used.
func (s *site) watch(ctx context.Context) (f figures, err error) {
	if err := s.await(ctx); err != nil {
		return f, err
	}
	if f.Early, err = s.filled(ctx, s.o.warm); err == nil {
		f.Filled, err = s.filled(ctx, s.o.time)
	}
	return f, err
}

// await waits until peers have sent something.
func (s *site) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	for {
		c, err := s.client.Counters(ctx)
		if err == nil && c.Received < begun {
			err = rig.Sleep(ctx, lookEvery)
		}
		if err != nil || c.Received >= begun {
			return err
		}
	}
}

// filled is the share of the downlink that is in use for some time.
func (s *site) filled(ctx context.Context, d time.Duration) (float64, error) {
	before, err := s.client.Counters(ctx)
	began := time.Now()
	if err == nil {
		err = rig.Sleep(ctx, d)
	}
	if err != nil {
		return 0, err
	}
	after, err := s.client.Counters(ctx)
	return float64(after.Received-before.Received) * 8 / (s.o.mbit * 1e6 * time.Since(began).Seconds()), err
}
