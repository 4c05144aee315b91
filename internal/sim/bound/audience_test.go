package bound

import (
	"math/rand/v2"
	"testing"
)

// TestAudienceTogether: of viewers who come and go together it is what peers can give of
// a file that nobody waits longer for.
func TestAudienceTogether(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		n, size, takes, up := 2+rng.IntN(50), 1e6, 100.0, 2e4*rng.Float64()
		var wants []Want
		var there []Copy
		for range n {
			wants = append(wants, Want{Duration: takes, Down: size / takes, Up: up})
			there = append(there, Copy{To: takes, Up: up})
		}
		all := float64(n) * size
		rho := Company(there) / all
		near(t, "audience", Audience(size/all, rho), Offload(n, float64(n)*up*takes/all, 0), exact)
		near(t, "of a file", Audience(size/all, rho), PeerBytes([]float64{size}, wants, nil)/all, exact)
	}
}

func TestCompany(t *testing.T) {
	for name, tc := range map[string]struct {
		there []Copy
		want  float64
	}{
		"nobody":               {nil, 0},
		"one":                  {[]Copy{{To: 9, Up: 5}}, 0},
		"one after the other":  {[]Copy{{To: 9, Up: 5}, {From: 9, To: 20, Up: 5}}, 0},
		"together for a while": {[]Copy{{To: 10, Up: 5}, {From: 8, To: 20, Up: 3}}, 2 * 8},
		"gives nothing":        {[]Copy{{To: 10, Up: 5}, {From: 8, To: 20}}, 2 * 5},
		"three":                {[]Copy{{From: 2, To: 4, Up: 7}, {To: 10, Up: 5}, {From: 8, To: 20, Up: 3}}, 2*12 + 2*8},
	} {
		near(t, name, Company(tc.there), tc.want, exact)
	}
	if got := Audience(2, 1); got != 0 {
		t.Errorf("of who watches less than edges send %g", got)
	}
}
