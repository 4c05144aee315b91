package directory

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Scope names a swarm. An object that two publishers have in common is two
// swarms, since a grant of one says nothing about the other.
type Scope struct {
	Publisher wire.Key
	Object    manifest.ObjectID
}

// Membership is what a peer says about itself in one swarm.
type Membership struct {
	Have, Total int // pieces
	Policy      wire.P2P
	Expires     time.Time
}

// Member is a peer in a swarm.
type Member struct {
	Peer *Peer
	Membership
	renewed time.Time
	uploads bool // the lists the member is in
	in      [tiers]slot
}

// slot is a member's place in one list.
type slot struct {
	list *list
	pos  int
}

// Seed reports whether the member has the whole object.
func (m *Member) Seed() bool { return m.Total > 0 && m.Have >= m.Total }

// share is the part of the object the member has, 0..1.
func (m *Member) share() float64 {
	if m.Total <= 0 {
		return 0
	}
	return min(1, float64(m.Have)/float64(m.Total))
}

// list holds members in no order, so that one is removed in constant time.
type list struct {
	key     listKey
	members []*Member
}

// listKey tells lists apart: members that upload and that do not are never in
// one list, since few of the second kind are of use to anyone.
type listKey struct {
	tier    Tier
	uploads bool
	net     netip.Prefix
	as      uint32
	country string
}

func keyFor(p Place, tier Tier, uploads bool) (listKey, bool) {
	k := listKey{tier: tier, uploads: uploads}
	switch tier {
	case SameSite:
		k.net = p.Site
	case SameNet:
		k.net, k.as = p.Net, p.AS
	case SameAS:
		k.as = p.AS
		return k, p.AS != 0
	case SameCountry:
		k.country = p.Country
		return k, p.Country != ""
	default: // Elsewhere: everybody
	}
	return k, true
}

// Swarm holds the members of one swarm. It is not safe for concurrent use.
type Swarm struct {
	members map[wire.Key]*Member
	lists   map[listKey]*list
	duties  duties
	shares  shares
}

// NewSwarm returns an empty swarm.
func NewSwarm() *Swarm {
	return &Swarm{members: map[wire.Key]*Member{}, lists: map[listKey]*list{}}
}

// Len is the number of members.
func (s *Swarm) Len() int { return len(s.members) }

// Put adds a peer or renews its membership. A session that takes the key of an
// older one replaces it.
func (s *Swarm) Put(p *Peer, ms Membership, now time.Time) *Member {
	m := s.members[p.Key]
	if m != nil && m.Peer != p {
		s.remove(m)
		m = nil
	}
	if m == nil {
		m = &Member{Peer: p}
		s.members[p.Key] = m
		s.file(m)
	}
	m.Membership, m.renewed = ms, now
	s.duties.assign(m)
	return m
}

// Get returns the membership of a peer, or nil.
func (s *Swarm) Get(p *Peer) *Member {
	if m := s.members[p.Key]; m != nil && m.Peer == p {
		return m
	}
	return nil
}

// Remove ends the membership of a peer.
func (s *Swarm) Remove(p *Peer) {
	if m := s.Get(p); m != nil {
		s.remove(m)
	}
}

// Refile puts a peer into the right lists after it began or ceased to upload.
func (s *Swarm) Refile(p *Peer) {
	if m := s.Get(p); m != nil && m.uploads != p.Facts().Uploads {
		s.unfile(m)
		s.file(m)
		s.duties.assign(m)
	}
}

// Expire ends the memberships that have run out and returns their number.
func (s *Swarm) Expire(now time.Time) int {
	n := 0
	for _, m := range s.members {
		if !now.Before(m.Expires) {
			s.remove(m)
			n++
		}
	}
	return n
}

func (s *Swarm) remove(m *Member) {
	delete(s.members, m.Peer.Key)
	s.unfile(m)
	s.duties.release(m)
}

func (s *Swarm) file(m *Member) {
	m.uploads = m.Peer.Facts().Uploads
	for t := range tiers {
		k, ok := keyFor(m.Peer.Place, t, m.uploads)
		if !ok {
			continue
		}
		l := s.lists[k]
		if l == nil {
			l = &list{key: k}
			s.lists[k] = l
		}
		m.in[t] = slot{l, len(l.members)}
		l.members = append(l.members, m)
	}
}

func (s *Swarm) unfile(m *Member) {
	for t := range tiers {
		l, pos := m.in[t].list, m.in[t].pos
		m.in[t] = slot{}
		if l == nil {
			continue
		}
		last := len(l.members) - 1
		l.members[pos] = l.members[last]
		l.members[pos].in[t].pos = pos
		l.members[last] = nil
		l.members = l.members[:last]
		if last == 0 {
			delete(s.lists, l.key)
		}
	}
}

// walk visits members of the list of tier that fits place, each once, in an
// order of chance, until visit returns false or limit were visited.
func (s *Swarm) walk(place Place, tier Tier, uploads bool, limit int, rng *rand.Rand, visit func(*Member) bool) {
	k, ok := keyFor(place, tier, uploads)
	l := s.lists[k]
	if !ok || l == nil {
		return
	}
	n := len(l.members)
	// A stride without common divisor comes by every member once: a sample
	// without repetition that needs no memory.
	at, stride := rng.IntN(n), 1+rng.IntN(n)
	for gcd(stride, n) != 1 {
		stride++
	}
	for range min(n, limit) {
		if !visit(l.members[at]) {
			return
		}
		at = (at + stride) % n
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
