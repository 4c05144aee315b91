package directory

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// placed is a peer of a network of its own.
func placed(n int, f Facts) *Peer {
	return who{n: n, ip: fmt.Sprintf("40.%d.%d.%d", n>>8&0xff, n&0xff, 1+n>>16), facts: f}.peer()
}

func cone() Facts { return Facts{NAT: wire.NATCone, Uploads: true} }

// tell has pairs of n networks try, of which a part succeeds, for as long as
// given.
func tell(o *Odds, r *rand.Rand, networks int, chance float64, span time.Duration) (counted int) {
	for at := time.Duration(0); at < span; at += voteEvery {
		for i := 0; i+1 < networks; i += 2 {
			if o.Learn(placed(i, cone()), placed(i+1, cone()), r.Float64() < chance, start.Add(at)) {
				counted++
			}
		}
	}
	return counted
}

func TestOddsAreLearnt(t *testing.T) {
	o, f := NewOdds(), cone()
	if got, want := o.Connect(Elsewhere, &f, &f), Connect(Elsewhere, &f, &f); got != want {
		t.Errorf("%.2f before anything was seen, the guess is %.2f", got, want)
	}
	tell(o, rng(1), 200, 0.05, 2*time.Hour)
	if got := o.Connect(Elsewhere, &f, &f); got > 0.09 {
		t.Errorf("%.2f where one of twenty succeeds", got)
	}
	if got := o.Connect(SameSite, &f, &f); got != 0.95 {
		t.Errorf("%.2f on one site", got)
	}
	tcp := f
	tcp.TCP = true
	if got := o.Connect(Elsewhere, &f, &tcp); got < 0.8 {
		t.Errorf("%.2f for a pair of another kind", got)
	}
	// Pairs that hardly ever link are not handed out.
	s := NewSwarm()
	for i := range 200 {
		s.Put(placed(i, f), who{have: 10}.membership(), start)
	}
	a := s.Put(placed(1000, f), who{}.membership(), start)
	if got := s.Select(a, Query{Want: 40, Now: start, Odds: o}, rng(2)); len(got) != 0 {
		t.Errorf("%d candidates that are out of reach", len(got))
	}
	// They are tried again once what was seen is old.
	o.Sweep(start.Add(7 * 24 * time.Hour))
	if got := o.Connect(Elsewhere, &f, &f); math.Abs(got-0.85) > 0.05 {
		t.Errorf("%.2f after a week, the guess is 0.85", got)
	}
	if len(o.votes) != 0 {
		t.Errorf("%d votes are kept", len(o.votes))
	}
}

// One network, however many installations it runs and however much they say,
// neither as reporter nor as partner spoils what honest peers see.
func TestOddsAreNotPoisoned(t *testing.T) {
	o, f, r := NewOdds(), cone(), rng(3)
	hostile := func(i int) *Peer {
		return who{n: 1<<20 + i, ip: fmt.Sprintf("66.6.6.%d", i%250+1), facts: f}.peer()
	}
	for at := time.Duration(0); at < 6*time.Hour; at += voteEvery {
		for i := range 1000 {
			now := start.Add(at)
			o.Learn(hostile(i), placed(i%100, f), false, now)
			o.Learn(placed(i%100, f), hostile(i), false, now)
			o.Learn(hostile(i), hostile(i+1), false, now)
		}
		for i := 0; i+1 < 100; i += 2 {
			o.Learn(placed(i, f), placed(i+1, f), r.Float64() < 0.85, start.Add(at))
		}
	}
	if got := o.Connect(Elsewhere, &f, &f); math.Abs(got-0.85) > 0.05 {
		t.Errorf("%.2f, honest peers see 0.85", got)
	}
}

// A flood of networks fills the memory of votes, no more.
func TestOddsAreBounded(t *testing.T) {
	o := NewOdds()
	for i := range maxVotes {
		o.Learn(placed(i, cone()), placed(1<<17+i, cone()), true, start)
	}
	if len(o.votes) > maxVotes {
		t.Errorf("%d votes are kept", len(o.votes))
	}
}
