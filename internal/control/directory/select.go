package directory

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// SmallSwarm is the size up to which a choice is everyone: quotas and caps
	// would only keep peers apart that need each other.
	SmallSwarm = 40
	// minConnect is the chance of linking under which a pair is not worth a try.
	minConnect = 0.1
	// maxPerNet is the most candidates from one network that is not the asker's
	// own, and netShare the part of a choice it may be while there are others:
	// one network must not be able to surround a peer.
	maxPerNet = 8
	netShare  = 0.10
	// minRandom and randomShare are the long links: candidates from anywhere
	// without regard to score, which keep the swarm one well-mixed graph.
	minRandom   = 4
	randomShare = 0.10
	// lookFactor bounds the members looked at for each candidate wanted.
	lookFactor = 6
	lookLeast  = 32
	// poolFactor is how many eligible members are weighed for one place.
	poolFactor = 3
)

// quota is how many of a full choice come from each tier at most; what a tier
// does not fill goes to the next one outside, except that the nearest two keep
// to their own numbers.
func quota(t Tier) int {
	switch t {
	case SameSite, SameNet:
		return 8
	case SameAS:
		return 14
	case SameCountry:
		return 6
	default:
		return wire.MaxCandidates
	}
}

// nearness is a tier's part of the score.
func nearness(t Tier) float64 { return 1 - 0.2*float64(t) }

// Query asks for candidates.
type Query struct {
	Want   int
	Except []wire.Key // peers the asker has links to
	Now    time.Time
	// Odds are the chances of links; nil is first guesses.
	Odds *Odds
	// Allow is asked last about each member; nil allows all.
	Allow func(*Member) bool
}

// Select picks candidates for asker: near ones first by quota, some from
// anywhere, weighted by what they can give and how likely a link is, and spread
// by load. It changes nothing. What it costs depends on q.Want, not on the size
// of the swarm. One in quarantine gets none: they would be told of it.
func (s *Swarm) Select(asker *Member, q Query, rng *rand.Rand) []*Member {
	q.Want = min(q.Want, wire.MaxCandidates)
	if s.saturated() && !asker.Seed() {
		q.Want = min(q.Want, saturatedWant)
	}
	if q.Want <= 0 || asker.Policy == wire.P2POff || asker.Peer.Blamed() >= Quarantine {
		return nil
	}
	c := &choice{
		swarm: s, asker: asker, facts: asker.Peer.Facts(), q: q, rng: rng,
		seen: make(map[*Member]bool, 2*q.Want), nets: map[netip.Prefix]int{},
	}
	for _, k := range q.Except {
		if m := s.members[k]; m != nil {
			c.seen[m] = true
		}
	}
	c.seen[asker] = true
	if s.Len() <= SmallSwarm {
		return c.small()
	}
	return c.large()
}

// choice is one run of Select.
type choice struct {
	swarm  *Swarm
	asker  *Member
	facts  *Facts
	q      Query
	rng    *rand.Rand
	seen   map[*Member]bool // picked or excluded
	nets   map[netip.Prefix]int
	picked []*Member
	near   [SameNet + 1]int // picked from the asker's own network
	idle   int              // picked that have nothing for the asker yet
}

// option is a member that may be picked.
type option struct {
	m      *Member
	tier   Tier
	weight float64
	load   float64
	gives  bool // has or will have pieces for the asker
}

// small picks from all who are eligible.
func (c *choice) small() []*Member {
	var pool []option
	for _, uploads := range []bool{true, false} {
		c.swarm.walk(c.asker.Peer.Place, Elsewhere, uploads, SmallSwarm, c.rng, func(m *Member) bool {
			if o, ok := c.weigh(m); ok {
				pool = append(pool, o)
			}
			return true
		})
	}
	c.draw(pool, c.q.Want, func(option) bool { return true })
	return c.picked
}

func (c *choice) large() []*Member {
	want := c.q.Want
	own := scale(quota(SameNet), want)
	strict := c.limits(max(1, int(netShare*float64(want))), own)
	c.random(min(want, max(minRandom, int(math.Ceil(randomShare*float64(want))))), strict)
	spare := 0
	for t := range tiers {
		n := scale(quota(t), want)
		if t > SameNet {
			n += spare
		}
		got := c.from(t, true, min(n, want-len(c.picked)), strict)
		spare += max(0, scale(quota(t), want)-got)
	}
	// Short of candidates: let networks fill up, then the asker's own without
	// limit (a large office is one network), then whom the asker could serve.
	c.from(Elsewhere, true, want-len(c.picked), c.limits(maxPerNet, own))
	loose := c.limits(maxPerNet, want)
	c.from(SameSite, true, want-len(c.picked), loose)
	c.from(SameNet, true, want-len(c.picked), loose)
	c.from(Elsewhere, false, want-len(c.picked), loose)
	return c.picked
}

// limits caps the picks from one foreign network, and from each of the two
// tiers that make up the asker's own.
func (c *choice) limits(foreign, own int) func(option) bool {
	return func(o option) bool {
		if o.tier <= SameNet {
			return c.near[o.tier] < own
		}
		return c.nets[o.m.Peer.Place.Net] < foreign
	}
}

// scale is n for a full choice, cut down for a smaller one.
func scale(n, want int) int {
	return (n*want + wire.MaxCandidates - 1) / wire.MaxCandidates
}

// random picks n without regard to score, so that any member may be a long link.
func (c *choice) random(n int, ok func(option) bool) {
	c.swarm.walk(c.asker.Peer.Place, Elsewhere, true, look(n), c.rng, func(m *Member) bool {
		if len(c.picked) >= n {
			return false
		}
		if o, eligible := c.weigh(m); eligible && ok(o) {
			c.pick(o)
		}
		return true
	})
}

// from picks up to n from the list of tier t and returns how many it found.
func (c *choice) from(t Tier, uploads bool, n int, ok func(option) bool) int {
	if n <= 0 {
		return 0
	}
	var pool []option
	c.swarm.walk(c.asker.Peer.Place, t, uploads, look(n), c.rng, func(m *Member) bool {
		if o, eligible := c.weigh(m); eligible && (o.tier == t || t == Elsewhere) && ok(o) {
			pool = append(pool, o)
		}
		return len(pool) < poolFactor*n
	})
	return c.draw(pool, n, ok)
}

func look(n int) int { return lookLeast + lookFactor*n }

// draw picks up to n of pool: two at a time by weight, of which the less loaded
// one is taken, so that a good peer is not everybody's choice at once.
func (c *choice) draw(pool []option, n int, ok func(option) bool) int {
	got := 0
	for got < n && len(pool) > 0 {
		if c.idle >= (c.q.Want+1)/2 {
			pool = givers(pool)
		}
		i, j := c.byWeight(pool), c.byWeight(pool)
		if pool[j].load < pool[i].load {
			i = j
		}
		o := pool[i]
		pool[i] = pool[len(pool)-1]
		pool = pool[:len(pool)-1]
		if ok(o) {
			c.pick(o)
			got++
		}
	}
	return got
}

// givers are the options that have what the asker lacks, or all where none has:
// at least half of a choice is to be of use at once.
func givers(pool []option) []option {
	g := slices.DeleteFunc(slices.Clone(pool), func(o option) bool { return !o.gives })
	if len(g) == 0 {
		return pool
	}
	return g
}

func (c *choice) byWeight(pool []option) int {
	sum := 0.0
	for i := range pool {
		sum += pool[i].weight
	}
	x := c.rng.Float64() * sum
	for i := range pool {
		if x -= pool[i].weight; x < 0 {
			return i
		}
	}
	return len(pool) - 1
}

func (c *choice) pick(o option) {
	c.seen[o.m] = true
	c.picked = append(c.picked, o.m)
	c.nets[o.m.Peer.Place.Net]++
	if o.tier <= SameNet {
		c.near[o.tier]++
	}
	if !o.gives {
		c.idle++
	}
}

// weigh says whether a member is eligible, and what it is worth.
func (c *choice) weigh(m *Member) (option, bool) {
	if c.seen[m] || !c.q.Now.Before(m.Expires) || m.Peer.blamed.Load() >= Quarantine {
		return option{}, false
	}
	o := option{m: m, tier: TierOf(c.asker.Peer.Place, m.Peer.Place)}
	f := m.Peer.Facts()
	serves := f.Uploads && !c.asker.Seed()
	served := c.facts.Uploads && !m.Seed()
	if !serves && !served || !permits(c.asker.Policy, c.asker, m) || !permits(m.Policy, c.asker, m) {
		return option{}, false
	}
	nat := c.q.Odds.Connect(o.tier, c.facts, f)
	load, ready := m.Peer.Load(c.q.Now)
	if nat < minConnect || !ready || c.q.Allow != nil && !c.q.Allow(m) {
		return option{}, false
	}
	need := 0.0
	if serves {
		need = m.share()
		// Of have pieces some are likely to be news unless the asker has almost
		// all: enough that one is.
		o.gives = float64(m.Have)*(1-c.asker.share()) >= 1
	}
	o.load = load
	o.weight = math.Exp(4 * score(o.tier, f, nat, m.freshness(c.q.Now), need, load, int(m.Peer.blamed.Load())))
	return o, true
}

// Quarantine is the number of distinct reporters from which on a peer is not
// handed out, nor others to it.
const Quarantine = 2

func score(t Tier, f *Facts, nat, fresh, need, load float64, blamed int) float64 {
	capacity := 0.3 // not known
	switch {
	case !f.Uploads:
		capacity = 0
	case f.Uplink > 0:
		capacity = min(1, float64(f.Uplink)/fastUplink*float64(100-min(max(f.Load, 0), 100))/100)
	}
	return 0.35*nearness(t) + 0.30*capacity + 0.15*nat + 0.10*fresh + 0.10*need -
		0.3*min(1, load) - 1.0*float64(blamed)
}

// freshness is 1 for a membership just renewed, 0 for one that runs out.
func (m *Member) freshness(now time.Time) float64 {
	life := m.Expires.Sub(m.renewed)
	if life <= 0 {
		return 0
	}
	return min(1, max(0, float64(m.Expires.Sub(now))/float64(life)))
}

// permits says whether a publisher's policy lets two peers share. A country that
// is not known is no country.
func permits(p wire.P2P, a, b *Member) bool {
	x, y := a.Peer.Place, b.Peer.Place
	switch p {
	case "", wire.P2POn:
		return true
	case wire.P2PSameCountry:
		return x.Site == y.Site || x.Country != "" && x.Country == y.Country
	case wire.P2PLAN:
		return x.Site == y.Site
	default:
		return false
	}
}
