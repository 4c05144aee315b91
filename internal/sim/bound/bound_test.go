package bound

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within*math.Abs(want) {
		t.Errorf("%s is %g, want %g within %g", what, got, want, within)
	}
}

const exact = 1e-9

// TestClosedForms checks numbers that were worked out by hand.
func TestClosedForms(t *testing.T) {
	near(t, "client-server, edge the bottleneck", ClientServer(100, 8, 20, 10), 40, exact)
	near(t, "client-server, clients the bottleneck", ClientServer(100, 8, 0, 10), 10, exact)
	// 16 clients with 20 up and down, edge 20: (16·32)/(20+16·20) = 1.506, the
	// edge and the downlink alone 1.6.
	near(t, "symmetric crowd", KumarRoss(32, 16, 20, 20, 320), 1.6, exact)
	// 5 up, 40 down, edge 40: 16·32/(40+80).
	near(t, "asymmetric crowd", KumarRoss(32, 16, 40, 40, 80), 16*32/120.0, exact)
	near(t, "elastic edge", KumarRoss(100, 50, 0, 10, 5), 10, exact)
	near(t, "rounds", Rounds(100, 10, 1000, 256), 10*(1+9/256.0), exact)
	near(t, "one copy at least", EdgeBytes(10, 100, 1e9, 1), 10, exact)
	near(t, "the rest", EdgeBytes(10, 100, 300, 1), 700, exact)
	near(t, "offload by uplinks", Offload(1000, 0.3, 0), 0.3, exact)
	near(t, "offload with slack", Offload(1000, 0.5, 0.1), 0.55, exact)
	near(t, "offload by the first copy", Offload(4, 2, 0), 0.75, exact)
	for load, want := range map[float64]float64{0.5: 0.21, 1: 0.37, 2: 0.57, 5: 0.80, 10: 0.90, 50: 0.98} {
		near(t, "sparse", Sparse(load), want, 0.02)
	}
	near(t, "very sparse", Sparse(1e-9), 0.5e-9, 1e-6)
}

// TestTraceOfACrowd holds the bounds of traces against the closed forms where
// these apply.
func TestTraceOfACrowd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 50).Draw(t, "n")
		size := rapid.Float64Range(1, 1000).Draw(t, "size")
		edge := rapid.Float64Range(0.1, 100).Draw(t, "edge")
		down := rapid.Float64Range(0.1, 100).Draw(t, "down")
		rho := rapid.Float64Range(0, 3).Draw(t, "rho")
		var wants []Want
		for range n {
			wants = append(wants, Want{Down: down, Up: rho * down, Duration: size / down})
		}
		up := rho * down * float64(n)
		got, want := Makespan([]float64{size}, edge, wants, nil), KumarRoss(size, n, edge, down, up)
		if math.Abs(got-want) > 1e-6*want {
			t.Fatalf("makespan %g, Kumar and Ross %g", got, want)
		}
		demand := float64(n) * size
		got, want = PeerBytes([]float64{size}, wants, nil), demand-EdgeBytes(size, n, up, size/down)
		if math.Abs(got-want) > 1e-6*demand {
			t.Fatalf("peers give %g, by EdgeBytes %g", got, want)
		}
	})
}

// TestTraceOfArrivals checks the sweep against the closed form for arrivals one
// by one.
func TestTraceOfArrivals(t *testing.T) {
	for _, load := range []float64{0.5, 1, 2, 5, 20} {
		rng := rand.New(rand.NewPCG(1, 2))
		var wants []Want
		const n, size = 200_000, 1.0
		for at, i := 0.0, 0; i < n; i++ {
			at += rng.ExpFloat64() / load
			wants = append(wants, Want{At: at, Duration: 1, Down: size, Up: 1e3})
		}
		near(t, "sparse trace", PeerBytes([]float64{size}, wants, nil)/(n*size), Sparse(load), 0.01)
	}
}

func TestTraceWithCopies(t *testing.T) {
	wants := []Want{{At: 5, Duration: 10, Down: 1, Up: 0}, {Object: 1, At: 0, Duration: 10, Down: 1, Up: 9}}
	copies := []Copy{{Object: 0, From: 0, To: 10, Up: 0.5}}
	// Object 0: a holder gives 0.5 for the 5 that both are there; object 1: nobody.
	near(t, "peers", PeerBytes([]float64{10, 10}, wants, copies), 2.5, exact)
	// One who stays serves who comes later.
	wants = []Want{{At: 0, Duration: 10, Down: 1, Up: 2, Stays: 20}, {At: 20, Duration: 10, Down: 1}}
	near(t, "stays", PeerBytes([]float64{10}, wants, nil), 10, exact)
	wants[0].Stays = 15
	near(t, "leaves halfway", PeerBytes([]float64{10}, wants, nil), 5, exact)
	// With slack the same uplinks carry more: 0.5 for 15 and not for 10.
	slow1 := []Want{{At: 0, Duration: 10, Slack: 5, Down: 1}}
	near(t, "slack", PeerBytes([]float64{10}, slow1, []Copy{{To: 99, Up: 0.5}}), 7.5, exact)
	// A makespan that is held up by who comes last, and one by the uplinks.
	late := []Want{{At: 0, Down: 10, Up: 1}, {At: 100, Down: 10, Up: 1}}
	near(t, "last arrival", Makespan([]float64{10}, 1, late, nil), 101, exact)
	slow := []Want{{At: 0, Down: 10, Up: 0}, {At: 4, Down: 10, Up: 1}}
	near(t, "uplinks", Makespan([]float64{10}, 1, slow, nil), 12, exact)
	held := Makespan([]float64{10}, 1, slow, []Copy{{To: 99, Up: 8}})
	near(t, "a copy", held, 5, exact)
}
