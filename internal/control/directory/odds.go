package directory

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// oddsPrior is how many outcomes the first guess of [Connect] is worth: so many
	// have to disagree with it before what was seen counts for half.
	oddsPrior = 30
	// oddsHalf is the time in which half of what was seen is forgotten.
	oddsHalf = 12 * time.Hour
	// voteEvery is how often a network has a say on a kind of pair, as either side.
	// Whoever would spoil an estimate needs as many networks as honest peers have.
	voteEvery = 10 * time.Minute
	// maxVotes bounds the memory of who has had a say.
	maxVotes = 1 << 16
)

// Odds are the chances that two peers can link, by the kinds of their NATs and
// whether either takes TCP connections: the guesses of [Connect], mended by what
// is seen. It is safe for concurrent use; nil knows guesses alone.
type Odds struct {
	chance [kinds]atomic.Uint64 // bits of a float64; 0 while nothing was seen

	mu    sync.Mutex
	cells [kinds]cell
	votes map[vote]time.Time // last one
}

// kinds is the number of kinds of pairs, see [kindOf].
const kinds = 2 * 5 * 5

// cell is what was seen of one kind of pair, decayed.
type cell struct {
	prior       float64
	tried, made float64
	at          time.Time
}

type vote struct {
	kind int
	net  netip.Prefix
}

// NewOdds returns what is known without having seen anything.
func NewOdds() *Odds { return &Odds{votes: map[vote]time.Time{}} }

// kindOf is the kind of a pair, the same whichever comes first.
func kindOf(a, b *Facts) int {
	x, y := rank(a.NAT), rank(b.NAT)
	k := 5*min(x, y) + max(x, y)
	if a.TCP || b.TCP {
		k += 25
	}
	return k
}

// Connect estimates the probability that two peers can link.
func (o *Odds) Connect(tier Tier, a, b *Facts) float64 {
	if o != nil && tier != SameSite {
		if bits := o.chance[kindOf(a, b)].Load(); bits != 0 {
			return math.Float64frombits(bits)
		}
	}
	return Connect(tier, a, b)
}

// Learn takes in whether a and b could link, which one of them says. It reports
// whether that counts: it does not on one site, where NATs have no part, nor
// when either's network has had its say a short while ago.
func (o *Odds) Learn(a, b *Peer, made bool, now time.Time) bool {
	tier := TierOf(a.Place, b.Place)
	if tier == SameSite {
		return false
	}
	f, g := a.Facts(), b.Facts()
	kind := kindOf(f, g)
	votes := [2]vote{{kind, a.Place.Net}, {kind, b.Place.Net}}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range votes {
		if at, ok := o.votes[v]; ok && now.Sub(at) < voteEvery {
			return false
		}
	}
	if len(o.votes)+len(votes) > maxVotes {
		return false
	}
	for _, v := range votes {
		o.votes[v] = now
	}
	c := &o.cells[kind]
	c.prior = Connect(tier, f, g)
	c.decay(now)
	c.tried++
	if made {
		c.made++
	}
	o.publish(kind)
	return true
}

// Sweep forgets: votes that are over, and bit by bit what was seen.
func (o *Odds) Sweep(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for v, at := range o.votes {
		if now.Sub(at) >= voteEvery {
			delete(o.votes, v)
		}
	}
	for kind := range o.cells {
		if c := &o.cells[kind]; c.tried > 0 {
			c.decay(now)
			o.publish(kind)
		}
	}
}

func (o *Odds) publish(kind int) {
	c := &o.cells[kind]
	p := (oddsPrior*c.prior + c.made) / (oddsPrior + c.tried)
	o.chance[kind].Store(math.Float64bits(p))
}

func (c *cell) decay(now time.Time) {
	if d := now.Sub(c.at); c.tried > 0 && d > 0 {
		keep := math.Exp2(-float64(d) / float64(oddsHalf))
		c.tried *= keep
		c.made *= keep
	}
	c.at = now
}
