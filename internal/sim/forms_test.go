package sim

import (
	"math"
	"testing"
	"time"
)

// within checks a figure against a closed form.
func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	t.Logf("%s: %.4f, closed form %.4f", what, got, want)
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s is %.4f, not within %.1f %% of %.4f", what, got, 100*tolerance, want)
	}
}

// TestEdgeAlone: who shares nothing is served by the edge at max(F/d, N·F/u).
func TestEdgeAlone(t *testing.T) {
	const size = 64e6
	for _, tc := range []struct {
		name           string
		n              int
		down, edge     float64 // Mbit/s
		firstS, worstS float64
	}{
		{"one, its link is the limit", 1, 40, 1000, size / (40 * mbit), size / (40 * mbit)},
		{"one, the edge is the limit", 1, 40, 10, size / (10 * mbit), size / (10 * mbit)},
		{"twenty share the edge", 20, 40, 100, 20 * size / (100 * mbit), 20 * size / (100 * mbit)},
		{"a hundred on an edge without limit", 100, 40, 0, size / (40 * mbit), size / (40 * mbit)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := crowd(tc.n, size, 10, tc.down, tc.edge)
			c.Alone = true
			r := mustRun(t, c)
			first := time.Duration(math.MaxInt64)
			for _, o := range r.Outcomes {
				first = min(first, o.Took)
			}
			within(t, "first", first.Seconds(), tc.firstS, 0.01)
			within(t, "last", last(t, r).Seconds(), tc.worstS, 0.01)
			within(t, "copies", r.Copies[0], float64(tc.n), 0.001)
		})
	}
}

// TestShares: on a full edge everybody has the same, but for those whose own link
// is slower.
func TestShares(t *testing.T) {
	const size = 100e6
	c := crowd(3, size, 1, 100, 70)
	c.Alone = true
	c.Hosts[0].Down = 10 * mbit
	r := mustRun(t, c)
	within(t, "fast ones", r.Outcomes[1].Took.Seconds(), size/(30*mbit), 0.01)
	within(t, "the slow one", r.Outcomes[0].Took.Seconds(), size/(10*mbit), 0.01)
}

// TestCalmEdge: what starts when nobody else is there takes the round trips of a
// start and then the time of its bytes.
func TestCalmEdge(t *testing.T) {
	c := crowd(1, 50e6, 10, 40, 1000)
	c.Edges[0].RTT, c.Alone = 60*time.Millisecond, true
	c.Hosts[0].Delay = 20 * time.Millisecond
	rtt := 0.1
	// Slow start: windows of 10 packets, doubled each round trip until they fill it.
	trips := math.Log2(40 * mbit * rtt / initialWindow)
	start := firstByteTrips*rtt + rtt*(trips-1/math.Ln2*(1-math.Exp2(-trips)))
	within(t, "took", last(t, mustRun(t, c)).Seconds(), start+50e6/(40*mbit), 0.01)
}

// TestOneSeed: a seed's uplink and a slow edge are the limit of those who only
// take.
func TestOneSeed(t *testing.T) {
	const size, n = 32 << 20, 4
	c := crowd(n, size, 10, 100, 1)
	for i := range c.Hosts {
		c.Hosts[i].Uploads = false
	}
	c.Hosts = append(c.Hosts, testHost(n, 50, 50))
	c.Holdings = []Holding{{Host: n}}
	r := mustRun(t, c)
	within(t, "last", last(t, r).Seconds(), n*size/(51*mbit), 0.02)
}

// TestLevels compares the shares of random flows with progressive filling.
func TestLevels(t *testing.T) {
	for seed := range uint64(50) {
		w, ref := randomFlows(t, seed)
		w.share()
		s := &w.shards[0]
		for i := range s.senders {
			sd := &s.senders[i]
			for k := sd.from; k < sd.to; k++ {
				f := &s.flows[k]
				got := min(f.cap, w.upLevel[sd.host], w.downLevel[f.dst])
				if want := ref[k]; math.Abs(got-want) > 1e-3*want {
					t.Fatalf("seed %d: flow %d of %d has %.1f, max-min is %.1f", seed, k, len(s.flows), got, want)
				}
			}
		}
	}
}

// randomFlows makes a world with flows between random hosts, and what progressive
// filling gives them.
func randomFlows(t *testing.T, seed uint64) (*world, []float64) {
	t.Helper()
	const n = 30
	x := mix(seed)
	draw := func(most int) int { x = mix(x); return int(x % uint64(most)) }
	c := crowd(n, 1<<20, 10, 40, 100)
	for i := range c.Hosts {
		c.Hosts[i].Up, c.Hosts[i].Down = float64(1+draw(100))*mbit, float64(1+draw(300))*mbit
	}
	c, err := withDefaults(c)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(c)
	s := &w.shards[0]
	var src []int32
	for host := range int32(n) {
		from := int32(len(s.flows))
		for range draw(8) {
			f := flow{dst: int32(draw(n)), cap: math.Inf(1)}
			if draw(4) == 0 {
				f.cap = float64(1+draw(20)) * mbit
			}
			s.flows = append(s.flows, f)
			s.in[0] = append(s.in[0], inflow{dst: f.dst, src: host, cap: f.cap})
			src = append(src, host)
		}
		if to := int32(len(s.flows)); to > from {
			s.senders = append(s.senders, sender{host, from, to})
		}
	}
	return w, fill(w, s.flows, src)
}

// fill raises the rates of all flows together; those that have reached their cap,
// or a link that is full, stay.
func fill(w *world, flows []flow, src []int32) []float64 {
	rate := make([]float64, len(flows))
	fixed := make([]bool, len(flows))
	for left := len(flows); left > 0; {
		up, down := map[int32]float64{}, map[int32]float64{} // room
		nUp, nDown := map[int32]int{}, map[int32]int{}
		for i, f := range flows {
			up[src[i]] += rate[i]
			down[f.dst] += rate[i]
			if !fixed[i] {
				nUp[src[i]]++
				nDown[f.dst]++
			}
		}
		step := math.Inf(1)
		room := func(i int) float64 {
			f := flows[i]
			return min(f.cap-rate[i], (w.hosts[src[i]].up-up[src[i]])/float64(nUp[src[i]]), (w.down[f.dst]-down[f.dst])/float64(nDown[f.dst]))
		}
		for i := range flows {
			if !fixed[i] {
				step = min(step, room(i))
			}
		}
		var full []int
		for i := range flows {
			if !fixed[i] && room(i) <= step*(1+1e-12)+1e-6 {
				full = append(full, i)
			}
		}
		for i := range flows {
			if !fixed[i] {
				rate[i] += step
			}
		}
		for _, i := range full {
			fixed[i] = true
			left--
		}
	}
	return rate
}

// TestFullDownlinks: downlinks that an edge would fill stay full where turns of peers
// end within a quantum: what they leave is for the others.
func TestFullDownlinks(t *testing.T) {
	const n, from, to = 16, 3 * time.Second, 10 * time.Second
	c := crowd(n, 32<<20, 20, 20, 2000)
	for i := range c.Hosts {
		c.Hosts[i].Delay = 10 * time.Millisecond
	}
	var came int64
	for _, s := range mustRun(t, c).Series {
		if s.At > from && s.At <= to {
			came += s.Edge + s.Peers
		}
	}
	within(t, "all", float64(came), n*20*mbit*(to-from).Seconds(), 0.008)
}
