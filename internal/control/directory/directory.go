package directory

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"
)

// shards is how many parts lock on their own. A swarm lives in one shard, so
// this bounds how much one crowded swarm holds up the others.
const shards = 64

// Directory holds the swarms of one cell. It is safe for concurrent use.
type Directory struct {
	shards [shards]shard
	odds   *Odds
}

type shard struct {
	mu     sync.Mutex
	swarms map[Scope]*Swarm
	rng    *rand.Rand
}

// New returns an empty directory whose choices follow from seed.
func New(seed uint64) *Directory {
	d := &Directory{odds: NewOdds()}
	for i := range d.shards {
		d.shards[i].swarms = map[Scope]*Swarm{}
		d.shards[i].rng = rand.New(rand.NewPCG(seed, uint64(i)))
	}
	return d
}

func (d *Directory) shard(s Scope) *shard {
	// Object IDs are digests: any of their bits are as good as a hash.
	return &d.shards[binary.BigEndian.Uint64(s.Object[:8])%shards]
}

// Join adds p to the swarm or renews it, and picks candidates for it.
func (d *Directory) Join(s Scope, p *Peer, ms Membership, q Query) []*Candidate {
	sh := d.shard(s)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sw := sh.swarms[s]
	if sw == nil {
		sw = NewSwarm()
		sh.swarms[s] = sw
	}
	m := sw.Put(p, ms, q.Now)
	q.Odds = d.odds
	return candidates(sw.Select(m, q, sh.rng))
}

// Find picks candidates for a member, whose number of pieces it brings up to
// date. It reports whether p is a member.
func (d *Directory) Find(s Scope, p *Peer, have int, q Query) ([]*Candidate, bool) {
	sh := d.shard(s)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sw := sh.swarms[s]
	if sw == nil {
		return nil, false
	}
	m := sw.Get(p)
	if m == nil {
		return nil, false
	}
	m.Have = max(0, min(have, m.Total))
	q.Odds = d.odds
	return candidates(sw.Select(m, q, sh.rng)), true
}

// Learn takes in whether two peers that were brought together could link, as one
// of them says. It reports whether that counts; see [Odds.Learn].
func (d *Directory) Learn(a, b *Peer, made bool, now time.Time) bool {
	return d.odds.Learn(a, b, made, now)
}

// Candidate is a member as it was when it was picked.
type Candidate struct {
	Peer *Peer
	Seed bool
}

func candidates(ms []*Member) []*Candidate {
	cs := make([]*Candidate, len(ms))
	for i, m := range ms {
		cs[i] = &Candidate{Peer: m.Peer, Seed: m.Seed()}
	}
	return cs
}

// Leave ends the membership of p.
func (d *Directory) Leave(s Scope, p *Peer) {
	d.with(s, func(sw *Swarm) { sw.Remove(p) })
}

// Refile puts p into the right lists of the swarm after it began or ceased to
// upload.
func (d *Directory) Refile(s Scope, p *Peer) {
	d.with(s, func(sw *Swarm) { sw.Refile(p) })
}

func (d *Directory) with(s Scope, f func(*Swarm)) {
	sh := d.shard(s)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sw := sh.swarms[s]; sw != nil {
		f(sw)
		if sw.Len() == 0 {
			delete(sh.swarms, s)
		}
	}
}

// Expire ends the memberships that have run out and returns their number.
func (d *Directory) Expire(now time.Time) int {
	d.odds.Sweep(now)
	n := 0
	for i := range d.shards {
		n += d.shards[i].expire(now)
	}
	return n
}

func (sh *shard) expire(now time.Time) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := 0
	for s, sw := range sh.swarms {
		n += sw.Expire(now)
		if sw.Len() == 0 {
			delete(sh.swarms, s)
		}
	}
	return n
}

// Size counts swarms and memberships.
func (d *Directory) Size() (swarms, members int) {
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		swarms += len(sh.swarms)
		for _, sw := range sh.swarms {
			members += sw.Len()
		}
		sh.mu.Unlock()
	}
	return swarms, members
}
