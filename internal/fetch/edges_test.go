package fetch

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// lone downloads with one client from edges of 20 Mbit/s.
func lone(t *testing.T, edges int, down float64, harm func(f *fluid)) (took time.Duration, f *fluid) {
	t.Helper()
	f = newFluid(t, 32<<20, 20*mbit, 16)
	for range edges - 1 {
		f.addEdge(20 * mbit)
	}
	harm(f)
	c := f.add(20*mbit, down*mbit, true, 0)
	f.run(5 * time.Minute)
	if c.done == 0 {
		t.Fatal("never finished")
	}
	return c.done, f
}

// TestBadEdgeIsNotMissed has one of two edges fail in the middle, or be bad from
// the start. The download takes hardly longer than from the good one alone.
func TestBadEdgeIsNotMissed(t *testing.T) {
	at := func(when time.Duration, do func(e *fluidEdge)) func(*fluid, *fluidEdge) {
		return func(f *fluid, e *fluidEdge) { f.after(when, func() { do(e) }) }
	}
	slow := func(e *fluidEdge) { e.up = 1 * mbit }
	dead := func(e *fluidEdge) { e.up = 0 }
	away := func(e *fluidEdge) { e.away = true }
	for _, tc := range []struct {
		name string
		harm func(*fluid, *fluidEdge)
	}{
		{"well", func(*fluid, *fluidEdge) {}},
		{"slows", at(4*time.Second, slow)},
		{"slows early", at(700*time.Millisecond, slow)},
		{"slow", at(0, slow)},
		{"dies", at(4*time.Second, dead)},
		{"dead", at(0, dead)},
		{"dies near the end", at(12*time.Second, dead)},
		{"goes away", at(4*time.Second, away)},
		{"flaps", func(f *fluid, e *fluidEdge) {
			for i := range 20 {
				f.after(time.Duration(i)*time.Second, func() { e.up = float64((i+1)%2) * 20 * mbit })
			}
		}},
	} {
		for bad, where := range []string{"first", "mirror"} {
			for _, down := range []float64{20, 100} {
				good, _ := lone(t, 1, down, func(*fluid) {})
				took, f := lone(t, 2, down, func(f *fluid) { tc.harm(f, f.edges[bad]) })
				ratio, waste := took.Seconds()/good.Seconds(), f.edgeTx/float64(f.size)-1
				t.Logf("%s %s, downlink %.0f Mbit/s: %.3f of the time from the good edge alone, %.2f %% wasted", where, tc.name, down, ratio, 100*waste)
				if took > good*105/100+200*time.Millisecond || waste > 0.01 {
					t.Errorf("%.3f of the time, %.2f %% wasted", ratio, 100*waste)
				}
			}
		}
	}
}

// TestMirrorsDoNoHarm gives a download mirrors whose rates change at random. It
// never takes noticeably longer than from its first edge alone.
func TestMirrorsDoNoHarm(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rates := []float64{0, 0.3, 1, 5, 20, 100}
		size := rapid.Int64Range(1<<20, 48<<20).Draw(rt, "size")
		edge := rapid.SampledFrom([]float64{5, 20, 100}).Draw(rt, "edge Mbit/s")
		down := rapid.SampledFrom([]float64{10, 50}).Draw(rt, "down Mbit/s")
		run := func(mirrors int) *fluidClient {
			f := newFluid(t, size, edge*mbit, 16)
			for range mirrors {
				e := f.addEdge(0)
				for s := range 30 {
					rate, away := rapid.SampledFrom(rates).Draw(rt, "rate"), rapid.IntRange(0, 9).Draw(rt, "away") == 0
					f.after(time.Duration(2*s)*time.Second, func() { e.up, e.away = rate*mbit, away })
				}
			}
			c := f.add(10*mbit, down*mbit, true, 0)
			f.run(20 * time.Minute)
			return c
		}
		alone, c := run(0), run(rapid.IntRange(1, 3).Draw(rt, "mirrors"))
		if c.done == 0 {
			rt.Fatal("never finished")
		}
		if most := alone.done*108/100 + 1200*time.Millisecond; c.done > most {
			rt.Errorf("took %v, from the first edge alone %v", c.done, alone.done)
		}
	})
}

// spike is a crowd on edges that admit fewer requests than there are clients. It
// returns the time of the last client as a multiple of the Kumar-Ross bound.
func spike(t *testing.T, n, admit, mirrors int, up, down, edge float64, harm func(*fluid)) float64 {
	t.Helper()
	const size = 16 << 20
	f := newFluid(t, size, edge*mbit, 15)
	for range mirrors {
		f.addEdge(edge * mbit)
	}
	for _, e := range f.edges {
		e.admit = admit
	}
	for range n {
		f.add(up*mbit, down*mbit, true, 0)
	}
	harm(f)
	f.run(5 * time.Minute)
	for _, c := range f.clients {
		if c.done == 0 {
			t.Fatalf("client %d has not finished", c.id)
		}
	}
	all, crowd := edge*float64(1+mirrors), float64(n)
	bound := max(size/(all*mbit), size/(down*mbit), crowd*size/((all+crowd*up)*mbit))
	last, copies, peers := f.report()
	t.Logf("%d clients, %d admitted: bound %.1f s, last %.1f s = %.2f, %.2f copies, %.1f %% from peers",
		n, admit, bound, last.Seconds(), last.Seconds()/bound, copies, peers*100)
	return last.Seconds() / bound
}

// TestSpike has many more clients than an edge admits at once: they wait, and give
// each other what those have that were let in, hardly more slowly than if all had
// been.
func TestSpike(t *testing.T) {
	well := func(*fluid) {}
	for _, tc := range []struct {
		name     string
		mirrors  int
		up, edge float64 // Mbit/s
		harm     func(*fluid)
		slower   float64
	}{
		{"fast uplinks", 0, 20, 20, well, 1.2},
		{"slow uplinks", 0, 5, 40, well, 1.2},
		{"away for a while", 0, 20, 20, func(f *fluid) {
			f.after(3*time.Second, func() { f.edges[0].away = true })
			f.after(6*time.Second, func() { f.edges[0].away = false })
		}, 1.9},
		{"a mirror dies", 1, 20, 20, func(f *fluid) {
			f.after(3*time.Second, func() { f.edges[1].up = 0 })
		}, 1.3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			open := spike(t, 24, 0, tc.mirrors, tc.up, 2*tc.up+10, tc.edge, well)
			full := spike(t, 24, 6, tc.mirrors, tc.up, 2*tc.up+10, tc.edge, tc.harm)
			if full > tc.slower*open {
				t.Errorf("%.2f times the time without a limit, want at most %.2f", full/open, tc.slower)
			}
		})
	}
}
