//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// crowd is one run of one system.
type crowd struct {
	options
	rates  rates
	system system
}

// site is where a run takes place.
type site struct {
	edge    *lab.Host
	clients []*lab.Host
	dir     string // of the run
	www     string // what the edge serves
	url     string
}

// settle is how long a server is left alone after its start, as in the
// reference lab.
const settle = 2 * time.Second

func (c crowd) size() int64 { return c.mib << 20 }

// bound is the Kumar–Ross bound in seconds: nobody can finish before the edge has
// sent the file once, a client has received it once, and all uplinks together
// have sent it N times.
func (c crowd) bound() float64 {
	bits, n, r := float64(c.size())*8, float64(c.n), c.rates
	return max(bits/float64(r.Edge), bits/float64(r.Down), n*bits/(float64(r.Edge)+n*float64(r.Up)))
}

// measure runs the crowd in a fresh lab.
func (c crowd) measure(ctx context.Context) (m measure, facts rig.Machine, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err = rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		s, err := c.build(ctx, l, dir)
		if err != nil {
			return err
		}
		cc, err := s.edge.CongestionControl(ctx)
		if err != nil {
			return err
		}
		facts = rig.ThisMachine(cc)
		m, err = c.download(ctx, s)
		return err
	})
	return m, facts, err
}

func (c crowd) build(ctx context.Context, l *lab.Lab, dir string) (site, error) {
	s := site{dir: dir, www: filepath.Join(dir, "www")}
	if err := randomFile(s.file(), c.size()); err != nil {
		return s, err
	}
	var err error
	if s.edge, err = l.Server(ctx, lab.Link{Up: c.rates.Edge, Down: c.rates.Edge}); err != nil {
		return s, err
	}
	s.url = "http://" + s.edge.IP.String() + "/file.bin"
	s.clients, err = l.Clients(ctx, c.n, lab.Link{Up: c.rates.Up, Down: c.rates.Down}, lab.Open)
	return s, err
}

func (s site) file() string { return filepath.Join(s.www, "file.bin") }

// download starts the server, then the crowd, and checks every file.
func (c crowd) download(ctx context.Context, s site) (measure, error) {
	if err := c.system.serve(ctx, s); err != nil {
		return measure{}, err
	}
	if err := sleep(ctx, settle); err != nil {
		return measure{}, err
	}
	all := make([]*rig.Download, len(s.clients))
	for i, h := range s.clients {
		d, err := c.system.client(ctx, s, h, filepath.Join(s.dir, h.Name))
		if err != nil {
			return measure{}, err
		}
		all[i] = d
	}
	before, err := s.edge.Counters(ctx)
	if err != nil {
		return measure{}, err
	}
	got, wall, stop, err := rig.Crowd(ctx, all)
	if err != nil {
		return measure{}, err
	}
	defer stop()
	after, err := s.edge.Counters(ctx)
	if err != nil {
		return measure{}, err
	}
	if err := rig.Same(s.file(), all); err != nil {
		return measure{}, err
	}
	return c.summary(got, wall, after.Sent-before.Sent), nil
}

func (c crowd) summary(got []rig.Outcome, wall time.Duration, sent int64) measure {
	m := measure{Wall: wall.Seconds(), Copies: float64(sent) / float64(c.size())}
	var edge, peers, wasted int64
	for _, o := range got {
		m.Seconds = append(m.Seconds, o.Seconds)
		edge, peers, wasted = edge+o.FromEdge, peers+o.FromPeers, wasted+o.Wasted
	}
	slices.Sort(m.Seconds)
	m.Median = rig.Median(m.Seconds)
	m.Makespan = m.Seconds[len(m.Seconds)-1]
	m.TimesBound = m.Makespan / c.bound()
	if total := edge + peers; total > 0 {
		m.FromPeers = float64(peers) / float64(total)
		m.Wasted = float64(wasted) / float64(total)
	}
	return m
}

func randomFile(path string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("file of the crowd: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("file of the crowd: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.CopyN(f, rand.Reader, size); err != nil {
		return fmt.Errorf("file of the crowd: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
