package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/test/hostile"
)

// swarm is an edge that sends slowly, to all clients together, and its object.
type swarm struct {
	url  string
	want []byte
}

func slowSwarm(t *testing.T, size, bytesPerSecond int) swarm {
	t.Helper()
	path := file(t, "a.bin", size)
	base, _ := serve(t, filepath.Dir(path))
	return swarm{throttled(t, base, bytesPerSecond) + "/a.bin", read(t, path)}
}

// hostiles lets peers join.
func (s swarm) hostiles(t *testing.T, all ...hostile.Behaviour) []*hostile.Peer {
	t.Helper()
	var peers []*hostile.Peer
	for _, b := range all {
		p, err := hostile.Start(t.Context(), s.url, b)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		peers = append(peers, p)
	}
	return peers
}

// Hostile peers cost nothing but a line in the log: the file is right, the
// client names and drops them, and it takes at most a tenth longer than without
// them.
func TestHostilePeers(t *testing.T) {
	const size, rate = 20 * mib, 4 * mib
	s := slowSwarm(t, size, rate)
	alone := s.alone(t)
	for _, tt := range []struct {
		name    string
		behave  hostile.Behaviour
		dropped bool // so soon; see TestStallingPeersAreDropped
	}{
		{"garbage", hostile.Garbage, true},
		{"stall", hostile.Stall, false},
		{"trickle", hostile.Trickle, false},
		{"lie", hostile.Lie, true},
		{"corrupt", hostile.Corrupt, true},
		{"flood", hostile.Flood, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peers := s.hostiles(t, tt.behave, tt.behave, tt.behave)
			// What else the machine does can only make it slower: the better of
			// some tries counts.
			var ratio float64
			for range 3 {
				d := get(t, s.url, "--log-level", "debug")
				ratio = d.done(t, s.want).Seconds / alone
				if tt.dropped {
					dropped(t, d, peers)
				}
				if ratio <= 1.1 {
					return
				}
				alone = s.alone(t)
			}
			t.Errorf("%.2f × the time without them", ratio)
		})
	}
}

// alone is the seconds that the edge alone takes.
func (s swarm) alone(t *testing.T) float64 {
	t.Helper()
	return get(t, s.url, "--no-p2p").done(t, s.want).Seconds
}

// dropped checks that the client's log names every peer as dropped.
func dropped(t *testing.T, d *download, peers []*hostile.Peer) {
	t.Helper()
	for i, p := range peers {
		switch {
		case p.Links() == 0:
			t.Errorf("peer %d was never linked", i)
		case !named(d.stderr.String(), p.Key().Short()):
			t.Errorf("peer %d, %s, is not named as dropped in the log", i, p.Key().Short())
		}
	}
}

// A peer that takes requests and answers none is dropped in time. One that
// trickles may just have a bad line: it is left to its own pace.
func TestStallingPeersAreDropped(t *testing.T) {
	if !long() {
		t.Skip("takes a minute; run with -long")
	}
	s := slowSwarm(t, 48*mib, mib)
	peers := s.hostiles(t, hostile.Stall, hostile.Stall)
	d := get(t, s.url, "--log-level", "debug")
	d.done(t, s.want)
	dropped(t, d, peers)
}

// named says whether a line of the log tells that the peer was dropped or banned.
func named(log, peer string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, peer) && (strings.Contains(line, "drop") || strings.Contains(line, "ban")) {
			return true
		}
	}
	return false
}

// Honest peers keep each other going among hostile ones.
func TestHostileAmongHonest(t *testing.T) {
	const size = 16 * mib
	s := slowSwarm(t, size, 4*mib)
	seed(t, s.url, s.want)
	s.hostiles(t, hostile.Garbage, hostile.Stall, hostile.Lie, hostile.Corrupt)
	if o := get(t, s.url).done(t, s.want); o.FromPeers < size/3 {
		t.Errorf("from_peers %d of %d", o.FromPeers, size)
	}
}

// Two who were sent rubbish are enough: control names the peer to nobody any more,
// nor anybody to it.
func TestPoisonerIsQuarantined(t *testing.T) {
	s := slowSwarm(t, 24*mib, 8*mib)
	bad := s.hostiles(t, hostile.Corrupt)
	for range 2 {
		d := get(t, s.url, "--log-level", "debug")
		d.done(t, s.want)
		dropped(t, d, bad)
	}
	before := bad[0].Links()
	get(t, s.url).done(t, s.want)
	if n := bad[0].Links() - before; n != 0 {
		t.Errorf("%d links with a peer that two have found at fault", n)
	}
}
