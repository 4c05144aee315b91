//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// site is where a case takes place.
type site struct {
	o      options
	lab    *lab.Lab
	dir    string
	edge   *lab.Host
	client *lab.Host
	peers  []*lab.Host
}

func (s *site) build(ctx context.Context, c situation) (err error) {
	if s.edge, err = s.lab.Server(ctx, lab.Link{}); err != nil {
		return err
	}
	rate := lab.Rate(s.o.mbit * float64(lab.Mbit))
	if s.client, err = s.lab.Client(ctx, lab.Link{Up: rate, Down: rate, Delay: c.rtt / 2}, lab.Open); err != nil {
		return err
	}
	s.peers, err = s.lab.Clients(ctx, c.peers, lab.Link{Up: rate}, lab.Open)
	return err
}

// spoil makes the client's path lose packets, and leaves the edge next to nothing.
func (s *site) spoil(ctx context.Context, c situation) error {
	if err := s.lab.Lose(ctx, s.client, c.loss); err != nil {
		return err
	}
	return s.edge.Throttle(ctx, lab.Mbit)
}

// startTandem gives the peers a file, which the client begins to get from them.
func (s *site) startTandem(ctx context.Context, c situation, v string) error {
	www := filepath.Join(s.dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		return fmt.Errorf("file of the bench: %w", err)
	}
	size := int64(s.o.mbit * 1e6 / 8 * 1.25 * (s.o.warm + s.o.time).Seconds()) // more than the path can carry
	if err := rig.RandomFile(size)(filepath.Join(www, "file.bin")); err != nil {
		return fmt.Errorf("file of the bench: %w", err)
	}
	if err := rig.Serve(ctx, s.edge, s.o.Binary, www, filepath.Join(s.dir, "serve")); err != nil {
		return err
	}
	off := map[string]string{overTCP: "--link-udp=off", overQUIC: "--link-tcp=off"}[v]
	flags := append([]string{off}, strings.Fields(s.o.flags)...)
	var seeds []*rig.Download
	for _, h := range s.peers {
		d, err := s.get(ctx, h, flags...)
		if err != nil {
			return err
		}
		seeds = append(seeds, d)
	}
	if _, _, _, err := rig.Crowd(ctx, seeds); err != nil {
		return err
	}
	if err := s.spoil(ctx, c); err != nil {
		return err
	}
	d, err := s.get(ctx, s.client, flags...)
	if err != nil {
		return err
	}
	return rig.Background(d.Cmd, d.Log)
}

func (s *site) get(ctx context.Context, h *lab.Host, flags ...string) (*rig.Download, error) {
	return rig.Get(ctx, h, s.o.Binary, "http://"+s.edge.IP.String()+"/file.bin", filepath.Join(s.dir, h.Name), flags...)
}
