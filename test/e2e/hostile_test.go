package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/test/hostile"
)

// Hostile peers cost nothing but a line in the log: the file is right, the
// client names and drops them, and it takes at most a tenth longer than without
// them.
func TestHostilePeers(t *testing.T) {
	const (
		size = 24 * mib
		rate = 4 * mib // of the edge, bytes per second, shared by all
	)
	path := file(t, "a.bin", size)
	want := read(t, path)
	base, _ := serve(t, filepath.Dir(path))
	url := throttled(t, base, rate) + "/a.bin"
	alone := get(t, url).done(t, want).Seconds
	for _, tt := range []struct {
		name    string
		behave  hostile.Behaviour
		dropped bool // the client must name it: it did something no honest peer does
	}{
		{"garbage", hostile.Garbage, true},
		{"stall", hostile.Stall, true},
		{"trickle", hostile.Trickle, true},
		{"lie", hostile.Lie, true},
		{"corrupt", hostile.Corrupt, true},
		{"flood", hostile.Flood, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var peers []*hostile.Peer
			for range 3 {
				p, err := hostile.Start(t.Context(), url, tt.behave)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = p.Close() })
				peers = append(peers, p)
			}
			d := get(t, url, "--log-level", "debug")
			o := d.done(t, want)
			t.Logf("%.2f s, alone %.2f s; wasted %d bytes", o.Seconds, alone, o.Wasted)
			if o.Seconds > 1.1*alone {
				t.Errorf("%.2f s, that is %.2f × the time without them", o.Seconds, o.Seconds/alone)
			}
			for i, p := range peers {
				if p.Links() == 0 {
					t.Errorf("peer %d was never linked", i)
					continue
				}
				if tt.dropped && !named(d.stderr.String(), p.Key().Short()) {
					t.Errorf("peer %d, %s, is not named as dropped in the log", i, p.Key().Short())
				}
			}
		})
	}
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
	path := file(t, "a.bin", size)
	want := read(t, path)
	base, _ := serve(t, filepath.Dir(path))
	url := throttled(t, base, 4*mib) + "/a.bin"
	seed(t, url, want)
	for _, b := range []hostile.Behaviour{hostile.Garbage, hostile.Stall, hostile.Lie, hostile.Corrupt} {
		p, err := hostile.Start(t.Context(), url, b)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
	}
	if o := get(t, url).done(t, want); o.FromPeers < size/3 {
		t.Errorf("from_peers %d of %d", o.FromPeers, size)
	}
}
