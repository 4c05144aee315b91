package sim

import (
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// TestReach holds the pairs that link against those of bench/results/nat.md.
func TestReach(t *testing.T) {
	kinds := []wire.NAT{wire.NATOpen, wire.NATCone, wire.NATSymmetric, wire.NATBlocked}
	links := [][]bool{
		{true, true, true, true},
		{true, true, false, true},
		{true, false, false, false},
		{true, true, false, true},
	}
	host := func(n wire.NAT) *Host { return &Host{NAT: n, TCP: n == wire.NATOpen} }
	for i, a := range kinds {
		for k, b := range kinds {
			if got := reach(host(a), host(b)); got != links[i][k] {
				t.Errorf("%s and %s: link %v, want %v", a, b, got, links[i][k])
			}
		}
	}
	if reach(&Host{NAT: wire.NATOpen}, host(wire.NATBlocked)) {
		t.Error("no UDP and no TCP, but a link")
	}
}

// TestCertainLinks: no link of a crowd is left to chance, and a crowd of which no
// two can link has none.
func TestCertainLinks(t *testing.T) {
	c := crowd(24, 8<<20, 20, 20, 40)
	c.CertainLinks = true
	w := linked(t, c)
	for id := range w.members {
		if n := w.members[id].nlinks; n != 23 {
			t.Errorf("host %d has %d links of 23", id, n)
		}
	}
	for i := range c.Hosts {
		c.Hosts[i].NAT, c.Hosts[i].TCP = wire.NATSymmetric, false
	}
	for i, o := range mustRun(t, c).Outcomes {
		if o.FromPeers > 0 {
			t.Errorf("download %d, behind symmetric NATs all around: %+v", i, o)
		}
	}
	c.Hosts[3].NAT = wire.NATUnknown
	if _, err := Run(t.Context(), c); err == nil {
		t.Error("a NAT that is not known has certain links")
	}
}

// linked is a world after its first second.
func linked(t *testing.T, c Config) *world {
	t.Helper()
	c, err := withDefaults(c)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(c)
	for w.now < time.Second {
		w.happen()
		w.step()
		w.q++
		w.now = time.Duration(w.q) * w.dt
	}
	return w
}
