package transport

import (
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	const ms = time.Millisecond
	at := func(lost int64, rtt time.Duration) losses { return losses{lost: lost, rtt: rtt, minRTT: 100 * ms} }
	cases := map[string]struct {
		seen []losses
		want bool
	}{
		"nothing lost":           {[]losses{at(0, 100*ms), at(0, 101*ms)}, false},
		"stray":                  {[]losses{at(1, 101*ms), at(2, 103*ms), at(2, 101*ms), at(5, 120*ms)}, true},
		"too few":                {[]losses{at(90, 101*ms), at(91, 103*ms)}, false},
		"a full queue":           {[]losses{at(10, 190*ms), at(40, 180*ms), at(60, 150*ms), at(80, 160*ms)}, false},
		"mostly a full queue":    {[]losses{at(10, 190*ms), at(40, 180*ms), at(41, 101*ms), at(42, 101*ms), at(43, 101*ms)}, false},
		"stray after slow start": {[]losses{at(50, 180*ms), at(51, 101*ms), at(52, 103*ms), at(53, 101*ms)}, true},
		"a short path": {[]losses{
			{1, 10 * ms, 10 * ms}, {2, 10 * ms, 10 * ms}, {3, 10 * ms, 10 * ms}, {4, 10 * ms, 10 * ms},
		}, false},
	}
	for name, c := range cases {
		var j judge
		got := false
		for _, l := range c.seen {
			got = got || j.see(l)
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v: %+v", name, got, c.want, j)
		}
	}
}
