//go:build linux

package main

import (
	"testing"
	"time"
)

func TestVisits(t *testing.T) {
	o := options{players: 3, stagger: 2 * time.Second, seconds: 100, live: true, join: 20 * time.Second, kill: 30 * time.Second}
	all := o.visits()
	if len(all) != 3+4 {
		t.Fatalf("%d visits, want 3 and one every 20 s: %v", len(all), all)
	}
	killed := map[time.Duration]bool{}
	for _, v := range all {
		if v.ends <= v.begins || v.ends > 104*time.Second {
			t.Errorf("%v: ends before it begins, or after the stream", v)
		}
		if v.killed {
			killed[v.ends] = true
		} else if v.ends != 104*time.Second {
			t.Errorf("%v: want it to stay to the end", v)
		}
	}
	for _, at := range []time.Duration{34 * time.Second, 64 * time.Second, 94 * time.Second} {
		if !killed[at] {
			t.Errorf("nobody was killed after %v: %v", at, all)
		}
	}
	o.live = false
	if all := o.visits(); len(all) != 3 || all[2].ends != 0 {
		t.Errorf("on demand: %v, want three that play to the end", all)
	}
}
