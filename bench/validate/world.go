//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
	"github.com/tandem-cdn/tandem/internal/wire"
	"github.com/tandem-cdn/tandem/scenarios"
	"github.com/tandem-cdn/tandem/test/lab"
)

// worlds are the cases by name.
func worlds() map[string]func(mib int64, seed uint64) (sim.Config, error) {
	return map[string]func(int64, uint64) (sim.Config, error){
		"a":     func(mib int64, seed uint64) (sim.Config, error) { return alike(seed, 16, mib, 20, 20, 20), nil },
		"b":     func(mib int64, seed uint64) (sim.Config, error) { return alike(seed, 16, mib, 5, 40, 40), nil },
		"mixed": func(_ int64, seed uint64) (sim.Config, error) { return drawn("mixed-crowd", seed) },
	}
}

// end is far beyond every crowd.
const end = time.Hour

// mbit are bytes per second.
func mbit(n float64) float64 { return n * 1e6 / 8 }

// alike is a crowd of n open hosts at once; rates are in Mbit/s.
func alike(seed uint64, n int, mib int64, up, down, edge float64) sim.Config {
	c := sim.Config{
		Seed: seed, Until: end, CertainLinks: true,
		Objects: []sim.Object{{Size: mib << 20}},
		Edges:   []sim.Edge{{Rate: mbit(edge)}},
	}
	for i := range n {
		c.Hosts = append(c.Hosts, sim.Host{Up: mbit(up), Down: mbit(down), NAT: wire.NATOpen, TCP: true, Uploads: true})
		c.Downloads = append(c.Downloads, sim.Download{Host: i, Linger: end})
	}
	return c
}

// drawn is the world of a scenario that comes with the program.
func drawn(name string, seed uint64) (sim.Config, error) {
	text, err := scenarios.Read(name)
	if err != nil {
		return sim.Config{}, fmt.Errorf("scenario %s: %w", name, err)
	}
	f, err := scenario.Parse(name, text, nil)
	if err != nil {
		return sim.Config{}, fmt.Errorf("scenario %s: %w", name, err)
	}
	return f.Scenario.Config(seed), nil
}

// alone is what one client on a link of its own shows.
type alone struct {
	Efficiency float64 `json:"efficiency"` // part of the link that is payload
	Startup    float64 `json:"startup_seconds"`
}

func (a alone) String() string {
	return fmt.Sprintf("%.4f of its link is payload, a start takes %.3f s", a.Efficiency, a.Startup)
}

// measureAlone lays a line through the times of a small and a large download from
// an edge without limits.
func (o options) measureAlone(ctx context.Context) (alone, error) {
	const rate = 20 // Mbit/s
	sizes := [2]int64{4 << 20, 24 << 20}
	var took [2]float64
	for i, size := range sizes {
		got, err := rig.Trial{
			Clients: rig.Alike(1, lab.Link{Up: rate * lab.Mbit, Down: rate * lab.Mbit}),
			System:  rig.Tandem{Binary: o.Binary, Flags: []string{"--no-p2p"}},
			File:    rig.RandomFile(size), Timeout: o.timeout,
		}.Run(ctx)
		if err != nil {
			return alone{}, err
		}
		took[i] = got.Outcomes[0].Seconds
	}
	bytesPerSecond := float64(sizes[1]-sizes[0]) / (took[1] - took[0])
	return alone{
		Efficiency: bytesPerSecond / mbit(rate),
		Startup:    max(0, took[0]-float64(sizes[0])/bytesPerSecond),
	}, nil
}

// model is a world as the lab had it in one run: the clients began when they
// really began, in a network without delay of its own, and all of them are in one
// place. The second result is the client of each of its downloads.
func (o options) model(c sim.Config, a alone, run crowd, seed uint64) (sim.Config, []int) {
	c.Seed, c.Efficiency = seed, cmp.Or(o.efficiency, a.Efficiency)
	c.Hosts = slices.Clone(c.Hosts)
	for i := range c.Hosts {
		c.Hosts[i].Delay = o.rtt / 4 // there and back, at both ends
		c.Hosts[i].Place = directory.PlaceOf(netip.AddrFrom4([4]byte{10, 77, 2, byte(i + 1)}), 0, "")
	}
	c.Edges = []sim.Edge{{Rate: c.Edges[0].Rate, RTT: o.rtt / 2}}
	client := make([]int, len(c.Downloads))
	for i := range client {
		client[i] = i
	}
	slices.SortStableFunc(client, func(i, j int) int { return cmp.Compare(run.Began[i], run.Began[j]) })
	downloads := make([]sim.Download, len(client))
	for k, i := range client {
		downloads[k] = c.Downloads[i]
		downloads[k].At = max(0, time.Duration(run.Began[i]*float64(time.Second))) + o.start(a)
	}
	c.Downloads = downloads
	return c, client
}

// start is how long a client takes before what the simulator knows of begins.
func (o options) start(a alone) time.Duration {
	if o.startup >= 0 {
		return o.startup
	}
	return time.Duration(a.Startup * float64(time.Second))
}
