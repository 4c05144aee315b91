package sim

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const mbit = 1e6 / 8

// crowd is a world of n equal hosts that want one object at the same time, with
// short delays.
func crowd(n int, size int64, up, down, edge float64) Config {
	c := Config{
		Seed: 1, Until: time.Hour, Efficiency: 1,
		Objects: []Object{{Name: "o", Size: size}},
		Edges:   []Edge{{Rate: edge * mbit, RTT: time.Millisecond}},
	}
	for i := range n {
		c.Hosts = append(c.Hosts, testHost(i, up, down))
		c.Downloads = append(c.Downloads, Download{Host: i})
	}
	return c
}

func testHost(i int, up, down float64) Host {
	ip := netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})
	return Host{
		Up: up * mbit, Down: down * mbit, Delay: time.Millisecond, NAT: wire.NATOpen, TCP: true, Uploads: true,
		Place: directory.PlaceOf(ip, uint32(1+i%5), "DE"),
	}
}

func mustRun(t testing.TB, c Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// last is when the last download ended, from its own beginning.
func last(t testing.TB, r *Result) time.Duration {
	t.Helper()
	var most time.Duration
	for i, o := range r.Outcomes {
		if !o.Done {
			t.Fatalf("download %d has not ended: %+v", i, o)
		}
		most = max(most, o.Took)
	}
	return most
}

// TestFlashCrowd runs the crowds of the scheduler's own test, with room for its
// policy to change: the model is to give about the same.
func TestFlashCrowd(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		n                    int
		size                 int64
		up, down, edge       float64 // Mbit/s
		worst, copies, peers float64
	}{
		{"symmetric links, slow edge", 16, 32 << 20, 20, 20, 20, 1.35, 1.5, 0.9},
		{"slow uplinks", 16, 32 << 20, 5, 40, 40, 1.15, 6.5, 0.6},
		{"fast edge", 12, 250e6, 50, 50, 10000, 1.05, 1.5, 0.85},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := mustRun(t, crowd(tc.n, tc.size, tc.up, tc.down, tc.edge))
			F := float64(tc.size)
			bound := max(F/(tc.edge*mbit), F/(tc.down*mbit), float64(tc.n)*F/((tc.edge+float64(tc.n)*tc.up)*mbit))
			var peers, edge int64
			for _, o := range r.Outcomes {
				peers += o.FromPeers
				edge += o.FromEdge
			}
			ratio := last(t, r).Seconds() / bound
			share := float64(peers) / float64(peers+edge)
			t.Logf("bound %.1f s, ratio %.3f, %.2f copies, %.1f %% from peers, %v", bound, ratio, r.Copies[0], share*100, r.Wall)
			if ratio > tc.worst || r.Copies[0] > tc.copies || share < tc.peers {
				t.Errorf("want at most %.2f, %.2f copies, at least %.0f %% from peers", tc.worst, tc.copies, tc.peers*100)
			}
		})
	}
}
