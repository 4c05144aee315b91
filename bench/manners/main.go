//go:build linux

// Command manners measures whether a machine that shares is felt by the person in
// front of it. A client behind a home router with a deep buffer holds a file that
// several peers want all the time, governed and not, in turn.
//
// Case "busy": 10 Mbit/s up. What sharing adds to the round trip of a ping over the
// same uplink, and what an upload over TCP beside it keeps of the rate that it has
// alone. Case "idle": round trips of 20, 100 and 200 ms and 1 % of packets lost in
// each direction; how much of the uplink, with nobody else there, sharing uses. Case
// "down": 10 Mbit/s down, and a client that downloads in the background from edge and
// peers; what that adds to the round trip of a ping, and what a download over TCP beside
// it keeps.
//
//	go run ./bench/manners -case busy
//	go run ./bench/manners -case idle -rtt 100ms
//	go run ./bench/manners -case down
//
// Figures go to bench/results. It needs root and ping.
package main

import (
	"context"
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
	which   string
	what    string
	rtt     time.Duration
	mbit    float64
	peers   int
	buffer  time.Duration
	flags   string
	watched time.Duration
}

const (
	governed = "governed"
	plain    = "plain"
	busy     = "busy"
	idle     = "idle"
	down     = "down"
)

func main() {
	rig.Main(func(ctx context.Context) error {
		if part, err := run(ctx, os.Args[1:]); part {
			return err
		}
		return bench(ctx)
	})
}

func bench(ctx context.Context) error {
	var o options
	flag.StringVar(&o.which, "case", "all", "busy, idle, down or all")
	flag.StringVar(&o.what, "what", "all", "governed, plain or all")
	flag.DurationVar(&o.rtt, "rtt", 0, "round trip of case idle (default: 20, 100 and 200 ms)")
	flag.Float64Var(&o.mbit, "mbit", 10, "the narrow way in Mbit/s: up, in case down the downlink")
	flag.IntVar(&o.peers, "peers", 0, "peers that want the file, in case down have it (default: 16, in case down 4)")
	flag.DurationVar(&o.buffer, "buffer", 2*time.Second, "of the router, in time at that rate")
	flag.StringVar(&o.flags, "flags", "", "further flags of the client that shares")
	flag.DurationVar(&o.watched, "watched", 30*time.Second, "how long each figure is taken")
	o.Parse(1, "runs of each")
	_, remove, err := rig.Tools(ctx, &o.Binary)
	if err != nil {
		return err
	}
	defer remove()
	for _, c := range o.cases() {
		r := result{
			Date: time.Now().UTC().Format(time.DateOnly), Case: c.name, RTT: c.rtt.Seconds(), Loss: c.loss,
			Mbit: o.mbit, Peers: c.peers, Buffer: o.buffer.Seconds(), Runs: map[string][]figures{},
		}
		for range o.Runs {
			for _, mode := range []string{governed, plain} {
				if o.what != "all" && o.what != mode {
					continue
				}
				if err := o.measure(ctx, c, mode, &r); err != nil {
					return fmt.Errorf("%s, %v, %s: %w", c.name, c.rtt, mode, err)
				}
			}
		}
		if o.Save {
			if err := rig.WriteJSON(fmt.Sprintf("manners-%s-%03d", c.name, c.rtt.Milliseconds()), r); err != nil {
				return err
			}
		}
	}
	if !o.Save {
		return nil
	}
	return writeTable()
}

// situation is one row of the table.
type situation struct {
	name  string
	rtt   time.Duration
	loss  float64
	peers int
}

func (o options) cases() []situation {
	var all []situation
	for _, c := range []situation{{busy, 20 * time.Millisecond, 0, 16}, {down, 20 * time.Millisecond, 0, 4}} {
		if o.which == "all" || o.which == c.name {
			all = append(all, c)
		}
	}
	for _, rtt := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
		if (o.which == "all" || o.which == idle) && (o.rtt == 0 || o.rtt == rtt) {
			all = append(all, situation{idle, rtt, 0.01, 16})
		}
	}
	for i := range all {
		if o.peers > 0 {
			all[i].peers = o.peers
		}
	}
	return all
}

// site is where a case takes place.
type site struct {
	o         options
	lab       *lab.Lab
	dir       string
	edge, far *lab.Host // far is where the foreground goes
	home      *lab.Host
	peers     []*lab.Host
	file, url string
}

func (o options) measure(ctx context.Context, c situation, mode string, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		s := &site{o: o, lab: l, dir: dir}
		if err := s.build(ctx, c); err != nil {
			return err
		}
		cc, err := s.home.CongestionControl(ctx)
		if err != nil {
			return err
		}
		r.Machine = rig.ThisMachine(cc)
		f, err := s.watch(ctx, c, mode)
		if err != nil {
			return err
		}
		fmt.Printf("%s, %v: %-8s %s\n", c.name, c.rtt, mode, f)
		r.Runs[mode] = append(r.Runs[mode], f)
		return nil
	})
}

func (s *site) build(ctx context.Context, c situation) error {
	l := s.lab
	www := filepath.Join(s.dir, "www")
	s.file = filepath.Join(www, "file.bin")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return fmt.Errorf("file of the bench: %w", err)
	}
	if err := rig.RandomFile(s.o.size(c))(s.file); err != nil {
		return fmt.Errorf("file of the bench: %w", err)
	}
	var err error
	if s.edge, err = l.Server(ctx, lab.Link{}); err != nil {
		return err
	}
	if s.far, err = l.Server(ctx, lab.Link{}); err != nil {
		return err
	}
	s.url = "http://" + s.edge.IP.String() + "/file.bin"
	narrow := lab.Rate(s.o.mbit * float64(lab.Mbit))
	home, peers := lab.Link{Up: narrow, Down: 100 * lab.Mbit, Delay: c.rtt / 2, Buffer: s.o.buffer}, lab.Link{Down: 50 * lab.Mbit}
	if c.name == down {
		home = lab.Link{Up: 100 * lab.Mbit, Down: narrow, Delay: c.rtt / 2, DownBuffer: s.o.buffer}
		peers = lab.Link{Up: 50 * lab.Mbit}
	}
	if s.home, err = l.Client(ctx, home, lab.Cone); err != nil {
		return err
	}
	if s.peers, err = l.Clients(ctx, c.peers, peers, lab.Open); err != nil {
		return err
	}
	return rig.Serve(ctx, s.edge, s.o.Binary, www, filepath.Join(s.dir, "serve"))
}

// size of the file: it is not to end while it is watched.
func (o options) size(c situation) int64 {
	if c.name != down {
		return 64 << 20
	}
	return int64(o.mbit * 1e6 / 8 * (warm + 2*o.watched + yield + 20*time.Second).Seconds())
}

// receive has the peers get the file, and then the client at home in the background.
func (s *site) receive(ctx context.Context, mode string) error {
	var crowd []*rig.Download
	for _, h := range s.peers {
		d, err := rig.Get(ctx, h, s.o.Binary, s.url, filepath.Join(s.dir, h.Name))
		if err != nil {
			return err
		}
		crowd = append(crowd, d)
	}
	if _, _, _, err := rig.Crowd(ctx, crowd); err != nil {
		return err
	}
	flags := append([]string{"--priority", "background", "--governor", governors[mode]}, strings.Fields(s.o.flags)...)
	d, err := rig.Get(ctx, s.home, s.o.Binary, s.url, filepath.Join(s.dir, "home"), flags...)
	if err != nil {
		return err
	}
	return rig.Background(d.Cmd, d.Log)
}

var governors = map[string]string{governed: "on", plain: "off"}

// share has the client at home get the file and give it to the peers from then on.
func (s *site) share(ctx context.Context, c situation, mode string) error {
	flags := []string{"--governor", governors[mode]}
	d, err := rig.Get(ctx, s.home, s.o.Binary, s.url, filepath.Join(s.dir, "home"), append(flags, strings.Fields(s.o.flags)...)...)
	if err != nil {
		return err
	}
	_, _, _, err = rig.Crowd(ctx, []*rig.Download{d})
	if err != nil {
		return err
	}
	if err := s.lab.Lose(ctx, s.home, c.loss); err != nil {
		return err
	}
	if err := s.edge.Throttle(ctx, lab.Mbit); err != nil { // the file is to come from home
		return err
	}
	for _, h := range s.peers {
		dir := filepath.Join(s.dir, h.Name)
		// They do not help one another: home is always asked. Nor do they hold back, for it
		// is home that is watched: behind an edge that is full they would take it for their
		// own downlink.
		d, err := rig.Get(ctx, h, s.o.Binary, s.url, dir, "--priority", "background", "--upload", "off", "--governor", "off")
		if err != nil {
			return err
		}
		if err := rig.Background(d.Cmd, d.Log); err != nil {
			return err
		}
	}
	return nil
}
