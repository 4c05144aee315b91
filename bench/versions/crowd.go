//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

const (
	crowdSize = 200_000_000 // bytes of the old version
	crowdRate = 20          // Mbit/s of everybody, each way
)

// crowd is a day on which everybody who has the old version fetches the new one,
// beginning at the same moment.
type crowd struct {
	Clients int     `json:"clients"`
	Size    int64   `json:"size"`
	Last    float64 `json:"last_seconds"` // until the last client has its file
	Edge    int64   `json:"edge_bytes"`   // that left the edge, all headers counted
	// What clients had of the new version, all together.
	FromEdge  int64 `json:"from_edge"`
	FromPeers int64 `json:"from_peers"`
}

// measureCrowd has n clients update at once.
func (o options) measureCrowd(ctx context.Context, n int) (c crowd, err error) {
	err = rig.InLab(ctx, func(ctx context.Context, l *lab.Lab, dir string) error {
		c, err = o.crowdIn(ctx, l, dir, n)
		return err
	})
	return c, err
}

func (o options) crowdIn(ctx context.Context, l *lab.Lab, dir string, n int) (c crowd, err error) {
	old, www, state := filepath.Join(dir, "old"), filepath.Join(dir, "www"), filepath.Join(dir, "serve")
	for _, d := range []string{www, state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return c, err
		}
	}
	if err := makeVersions(old, www, crowdSize); err != nil {
		return c, err
	}
	link := lab.Link{Up: crowdRate * lab.Mbit, Down: crowdRate * lab.Mbit}
	edge, err := l.Server(ctx, link)
	if err != nil {
		return c, err
	}
	if err := rig.Serve(ctx, edge, o.Binary, www, state); err != nil {
		return c, err
	}
	hosts, err := l.Clients(ctx, n, link, lab.Open)
	if err != nil {
		return c, err
	}
	url := "http://" + edge.IP.String() + "/edits"
	if err := (&world{tandem: edge, client: hosts[0]}).awaitManifests(ctx); err != nil {
		return c, err
	}
	var all []*rig.Download
	for i, h := range hosts {
		d, err := rig.Get(ctx, h, o.Binary, url, filepath.Join(dir, fmt.Sprint("client", i)), "--from", old)
		if err != nil {
			return c, err
		}
		all = append(all, d)
	}
	before, err := edge.Counters(ctx)
	if err != nil {
		return c, err
	}
	got, wall, stop, err := rig.Crowd(ctx, all)
	if err != nil {
		return c, err
	}
	defer stop()
	after, err := edge.Counters(ctx)
	if err != nil {
		return c, err
	}
	c = crowd{Clients: n, Size: crowdSize, Last: wall.Seconds(), Edge: after.Sent - before.Sent}
	for _, g := range got {
		c.FromEdge, c.FromPeers = c.FromEdge+g.FromEdge, c.FromPeers+g.FromPeers
	}
	return c, nil
}
