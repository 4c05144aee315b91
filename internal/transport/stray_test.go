package transport

import (
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	const ms = time.Millisecond
	// sample is a look at the kernel's figures.
	type sample struct {
		after       time.Duration // of the one before
		lost        int64
		rtt, minRTT time.Duration
	}
	cases := map[string]struct {
		seen []sample
		want bool
	}{
		"nothing lost": {[]sample{{0, 0, 100 * ms, 100 * ms}, {400 * ms, 0, 101 * ms, 100 * ms}}, false},
		"stray":        {[]sample{{0, 1, 101 * ms, 100 * ms}, {400 * ms, 1, 101 * ms, 100 * ms}, {900 * ms, 2, 108 * ms, 100 * ms}}, true},
		"once":         {[]sample{{0, 9, 101 * ms, 100 * ms}, {400 * ms, 9, 101 * ms, 100 * ms}}, false},
		"the same burst": {[]sample{
			{0, 9, 101 * ms, 100 * ms}, {150 * ms, 12, 101 * ms, 100 * ms}, {150 * ms, 15, 101 * ms, 100 * ms},
		}, false},
		"a full queue": {[]sample{{0, 9, 190 * ms, 100 * ms}, {900 * ms, 12, 150 * ms, 100 * ms}, {900 * ms, 15, 120 * ms, 100 * ms}}, false},
		"a queue that runs empty while its losses are made good": {[]sample{
			{0, 90, 190 * ms, 100 * ms}, {150 * ms, 120, 105 * ms, 100 * ms}, {150 * ms, 130, 101 * ms, 100 * ms}, {150 * ms, 140, 101 * ms, 100 * ms},
		}, false},
		"one of both each": {[]sample{
			{0, 1, 101 * ms, 100 * ms}, {900 * ms, 2, 150 * ms, 100 * ms}, {900 * ms, 3, 101 * ms, 100 * ms}, {900 * ms, 4, 150 * ms, 100 * ms},
		}, false},
		"stray after slow start": {[]sample{
			{0, 90, 190 * ms, 100 * ms}, {900 * ms, 91, 102 * ms, 100 * ms}, {900 * ms, 92, 102 * ms, 100 * ms},
		}, true},
		"jitter of a path that is not long": {[]sample{{0, 1, 24 * ms, 20 * ms}, {400 * ms, 2, 24 * ms, 20 * ms}}, true},
		"a short path":                      {[]sample{{0, 1, 10 * ms, 10 * ms}, {400 * ms, 2, 10 * ms, 10 * ms}, {400 * ms, 3, 10 * ms, 10 * ms}}, false},
	}
	for name, c := range cases {
		var j judge
		at, got := time.Unix(1000, 0), false
		for _, l := range c.seen {
			at = at.Add(l.after)
			got = j.see(losses{at: at, lost: l.lost, rtt: l.rtt, minRTT: l.minRTT})
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v: %+v", name, got, c.want, j)
		}
	}
}
