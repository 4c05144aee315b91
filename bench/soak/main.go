//go:build linux

// Command soak lets a crowd come and go for a long time: twenty-four agents, behind
// NATs of all kinds, fetch file after file and share what they have, while a tenth
// of them each minute is killed and starts again, or leaves for somebody new. Every
// file is checked. It reports files that failed, of which there must be none, and
// whether memory, descriptors and threads of the server and of those agents that
// stay are flat.
//
//	go run ./bench/soak
//	go run ./bench/soak -for 3m -save=false
//
// Figures go to bench/results. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

type options struct {
	clients, stayers int
	churn            float64 // share of the clients a minute
	files            int
	mib              int64
	mbit, edge       float64
	pause            time.Duration
	lasts            time.Duration
	seed             uint64
	binary           string
	save             bool
}

const (
	// sampleEvery is the time between two looks at the processes.
	sampleEvery = 5 * time.Second
	// shortest leaves a minute after the warm-up.
	shortest = 3 * time.Minute
)

func main() { rig.Main(bench) }

func parse() (options, error) {
	var o options
	flag.DurationVar(&o.lasts, "for", 20*time.Minute, "how long")
	flag.IntVar(&o.clients, "n", 24, "clients")
	flag.IntVar(&o.stayers, "stay", 6, "clients that are never killed and never leave")
	flag.Float64Var(&o.churn, "churn", 0.10, "share of the clients that is killed or leaves every minute")
	flag.IntVar(&o.files, "files", 40, "files to choose from")
	flag.Int64Var(&o.mib, "mib", 8, "size of each in MiB")
	flag.Float64Var(&o.mbit, "mbit", 20, "of each client, each way, in Mbit/s")
	flag.Float64Var(&o.edge, "edge", 40, "of the edge, each way, in Mbit/s")
	flag.DurationVar(&o.pause, "pause", 10*time.Second, "mean time between two files of a client")
	flag.Uint64Var(&o.seed, "seed", 1, "of who does what when")
	flag.StringVar(&o.binary, "binary", "", "tandem program to run (default: built from ./cmd/tandem)")
	flag.BoolVar(&o.save, "save", true, "keep figures in bench/results")
	flag.Parse()
	if o.stayers < 1 || o.stayers >= o.clients || o.churn <= 0 || o.files < 1 || o.lasts < shortest {
		return o, fmt.Errorf("want at least one client that stays and one that does not, some churn, a file, and %v", shortest)
	}
	return o, nil
}

func bench(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	_, remove, err := rig.Tools(ctx, &o.binary)
	if err != nil {
		return err
	}
	defer remove()
	var r *result
	err = rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		r, err = o.soak(ctx, l, dir)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Print("\n", r.report(), "\n")
	if o.save {
		err = r.save()
	}
	return errors.Join(err, r.verdict())
}

// soak runs server and clients until the time is over or ctx ends.
func (o options) soak(ctx context.Context, l *lab.Lab, dir string) (*result, error) {
	s, err := o.site(ctx, l, dir)
	if err != nil {
		return nil, err
	}
	crowd, err := o.crowd(ctx, l, s)
	if err != nil {
		return nil, err
	}
	cc, err := crowd[0].host.CongestionControl(ctx)
	if err != nil {
		return nil, err
	}
	r := &result{
		Date: time.Now().UTC().Format(time.DateOnly), Clients: o.clients, Stayers: o.stayers, Churn: o.churn,
		MiB: o.mib, Mbit: o.mbit, EdgeMbit: o.edge, Machine: rig.ThisMachine(cc),
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, o.lasts)
	defer cancel()
	g, limited := errgroup.WithContext(limited)
	for _, c := range crowd {
		g.Go(func() error { return c.live(limited) })
	}
	g.Go(func() error { return o.trouble(limited, crowd[o.stayers:]) })
	g.Go(func() error { return r.watch(limited, s.server, crowd[:o.stayers]) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r.Seconds = time.Since(began).Seconds()
	r.sum(crowd)
	return r, r.countGoroutines(s, crowd, o.stayers)
}

// site is the server with its files.
type site struct {
	dir    string
	urls   []string
	sums   []string // of the files, see sumOf
	server *os.Process
	log    string
}

func (o options) site(ctx context.Context, l *lab.Lab, dir string) (*site, error) {
	s := &site{dir: dir, log: filepath.Join(dir, "serve", "log")}
	www := filepath.Join(dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return nil, fmt.Errorf("files of the soak: %w", err)
	}
	rate := lab.Rate(o.edge * float64(lab.Mbit))
	h, err := l.Server(ctx, lab.Link{Up: rate, Down: rate})
	if err != nil {
		return nil, err
	}
	for i := range o.files {
		path := filepath.Join(www, fmt.Sprintf("%d.bin", i))
		if err := rig.RandomFile(o.mib << 20)(path); err != nil {
			return nil, fmt.Errorf("files of the soak: %w", err)
		}
		sum, err := sumOf(path)
		if err != nil {
			return nil, err
		}
		s.urls = append(s.urls, fmt.Sprintf("http://%s/%d.bin", h.IP, i))
		s.sums = append(s.sums, sum)
	}
	s.server, err = rig.Start(ctx, h, o.binary, www, filepath.Dir(s.log))
	return s, err
}

// crowd are the clients, a third each without NAT, behind cone and behind
// symmetric NAT; those that stay come first.
func (o options) crowd(ctx context.Context, l *lab.Lab, s *site) ([]*client, error) {
	rate := lab.Rate(o.mbit * float64(lab.Mbit))
	kinds := []lab.NAT{lab.Open, lab.Cone, lab.Symmetric}
	all := make([]*client, o.clients)
	for i := range all {
		h, err := l.Client(ctx, lab.Link{Up: rate, Down: rate}, kinds[i%len(kinds)])
		if err != nil {
			return nil, err
		}
		all[i] = &client{
			options: &o, site: s, host: h, dir: filepath.Join(s.dir, h.Name), calls: make(chan call),
			rng: rand.New(rand.NewPCG(o.seed, uint64(i))),
		}
	}
	return all, nil
}

// trouble kills and sends away, at even intervals and in random order.
func (o options) trouble(ctx context.Context, crowd []*client) error {
	rng := rand.New(rand.NewPCG(o.seed, 1<<32))
	every := time.Duration(float64(time.Minute) / (o.churn * float64(o.clients)))
	for rig.Sleep(ctx, every) == nil {
		select {
		case crowd[rng.IntN(len(crowd))].calls <- call(rng.IntN(2)):
		case <-ctx.Done():
		}
	}
	return nil
}
