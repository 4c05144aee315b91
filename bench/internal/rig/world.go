//go:build linux

package rig

import (
	"fmt"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/wire"
	"github.com/tandem-cdn/tandem/test/lab"
)

// Of gives the trial the crowd of a simulated world: client i is the host of its
// download i. Delays are left out, the lab has none. A world that has what the lab
// has not is refused.
func (t Trial) Of(c sim.Config) (Trial, error) {
	switch {
	case len(c.Objects) != 1, len(c.Edges) != 1, len(c.Holdings) > 0:
		return t, fmt.Errorf("world for the lab: %d objects, %d edges, %d holdings; want one object and one edge",
			len(c.Objects), len(c.Edges), len(c.Holdings))
	case c.Edges[0].Admits > 0 || len(c.Edges[0].Faults) > 0 || len(c.Control.Outages) > 0 || len(c.Control.Wipes) > 0:
		return t, fmt.Errorf("world for the lab: there are no limits, faults or outages")
	}
	t.Clients = nil
	for i, d := range c.Downloads {
		h := &c.Hosts[d.Host]
		kind, ok := kinds()[h.NAT]
		if !ok || !h.Uploads || h.Conduct != sim.Honest || h.Online != nil || d.Leave > 0 {
			return t, fmt.Errorf("world for the lab: host %d of download %d: want one that stays, gives, and has a known NAT", d.Host, i)
		}
		t.Clients = append(t.Clients, Client{Link: lab.Link{Up: bits(h.Up), Down: bits(h.Down)}, NAT: kind, At: d.At})
	}
	rate := bits(c.Edges[0].Rate)
	t.Edge = lab.Link{Up: rate, Down: rate}
	t.File = RandomFile(c.Objects[0].Size)
	return t, nil
}

// bits is the rate of a link that carries so many bytes per second.
func bits(bytes float64) lab.Rate { return lab.Rate(8 * bytes) }

// kinds are the NATs of the lab by what clients find out about them.
func kinds() map[wire.NAT]lab.NAT {
	return map[wire.NAT]lab.NAT{
		wire.NATOpen: lab.Open, wire.NATCone: lab.Cone, wire.NATSymmetric: lab.Symmetric, wire.NATBlocked: lab.Firewalled,
	}
}
