package directory

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/wire"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// key makes distinct keys from numbers.
func key(n int) (k wire.Key) {
	k[0], k[1], k[2] = byte(n), byte(n>>8), byte(n>>16)
	return k
}

type who struct {
	n       int
	ip      string
	as      uint32
	country string
	facts   Facts
	have    int
}

const total = 1000

func (w who) peer() *Peer {
	p := NewPeer(key(w.n), PlaceOf(netip.MustParseAddr(w.ip), w.as, w.country))
	f := w.facts
	p.Set(&f)
	return p
}

func (w who) membership() Membership {
	return Membership{Have: w.have, Total: total, Expires: start.Add(5 * time.Minute)}
}

func join(s *Swarm, w who) *Member { return s.Put(w.peer(), w.membership(), start) }

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

var uploader = Facts{NAT: wire.NATCone, Uploads: true, Uplink: 10_000}

// world is a swarm of n uploading peers in countries of 4 AS of 16 networks.
func world(n int, r *rand.Rand) *Swarm {
	s := NewSwarm()
	for i := range n {
		country := r.IntN(8)
		as := country*4 + r.IntN(4)
		network := r.IntN(16)
		join(s, who{
			n: i, as: uint32(as + 1), country: string([]byte{'A' + byte(country), 'X'}),
			ip:    fmt.Sprintf("%d.%d.%d.%d", 20+country, as, network, r.IntN(250)+1),
			facts: uploader, have: r.IntN(total + 1),
		})
	}
	return s
}

var asker = who{n: 1 << 20, ip: "20.0.0.251", as: 1, country: "AX", facts: uploader}

func TestSelectProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rng(rapid.Uint64().Draw(t, "seed"))
		s := NewSwarm()
		kinds := []wire.NAT{"", wire.NATOpen, wire.NATCone, wire.NATSymmetric, wire.NATBlocked}
		policies := []wire.P2P{"", wire.P2POn, wire.P2PSameCountry, wire.P2PLAN, wire.P2POff}
		n := rapid.IntRange(0, 200).Draw(t, "members")
		nets := rapid.IntRange(1, 30).Draw(t, "nets")
		var first *Member
		for i := range n + 1 {
			w := who{
				n: i, as: uint32(r.IntN(4)), country: []string{"", "AX", "BX"}[r.IntN(3)],
				ip: fmt.Sprintf("20.0.%d.%d", r.IntN(nets), r.IntN(4)), have: r.IntN(total + 1),
				facts: Facts{NAT: kinds[r.IntN(len(kinds))], TCP: r.IntN(4) == 0, Uploads: r.IntN(3) > 0, Uplink: uint32(r.IntN(50_000))},
			}
			p, ms := w.peer(), w.membership()
			p.Blame(max(0, r.IntN(8)-5))
			if r.IntN(10) == 0 {
				ms.Expires = start
			}
			ms.Policy = policies[min(r.IntN(20), len(policies)-1)%len(policies)*r.IntN(2)]
			m := s.Put(p, ms, start)
			if i == 0 {
				first = m
			}
		}
		q := Query{Want: rapid.IntRange(0, 60).Draw(t, "want"), Now: start}
		for range rapid.IntRange(0, 5).Draw(t, "except") {
			q.Except = append(q.Except, key(r.IntN(n+1)))
		}
		checkChoice(t, s, first, q, s.Select(first, q, r))
	})
}

// checkChoice holds for every choice.
func checkChoice(t *rapid.T, s *Swarm, a *Member, q Query, got []*Member) {
	if len(got) > min(max(0, q.Want), wire.MaxCandidates) {
		t.Fatalf("%d candidates for %d wanted", len(got), q.Want)
	}
	seen := map[wire.Key]bool{a.Peer.Key: true}
	for _, k := range q.Except {
		seen[k] = true
	}
	nets := map[netip.Prefix]int{}
	for _, m := range got {
		if seen[m.Peer.Key] {
			t.Fatal("the asker, an exception or a double was picked")
		}
		seen[m.Peer.Key] = true
		if why := ineligible(a, m); why != "" {
			t.Fatalf("picked although %s", why)
		}
		if tier := TierOf(a.Peer.Place, m.Peer.Place); tier > SameNet {
			nets[m.Peer.Place.Net]++
		}
	}
	for n, k := range nets {
		if s.Len() > SmallSwarm && k > maxPerNet {
			t.Fatalf("%d candidates of %v", k, n)
		}
	}
	if s.Len() <= SmallSwarm && len(got) < q.Want {
		for _, m := range s.members {
			if !seen[m.Peer.Key] && ineligible(a, m) == "" && a.Policy != wire.P2POff {
				t.Fatal("an eligible member of a small swarm was left out")
			}
		}
	}
}

// ineligible says the rules in other words than weigh does.
func ineligible(a, m *Member) string {
	f, g := a.Peer.Facts(), m.Peer.Facts()
	x, y := a.Peer.Place, m.Peer.Place
	site := x.Site == y.Site
	country := x.Country != "" && x.Country == y.Country
	none := func(h, i *Facts) bool {
		return h.NAT == wire.NATBlocked && (i.NAT == wire.NATOpen || i.NAT == wire.NATSymmetric)
	}
	tcp := f.TCP || g.TCP
	switch {
	case !m.Expires.After(start):
		return "it has expired"
	case m.Peer.Blamed() >= 2 || a.Peer.Blamed() >= 2:
		return "one is in quarantine"
	case (!g.Uploads || a.Have >= a.Total) && (!f.Uploads || m.Have >= m.Total):
		return "neither can serve the other"
	case a.Policy == wire.P2POff || m.Policy == wire.P2POff:
		return "the policy is off"
	case (a.Policy == wire.P2PLAN || m.Policy == wire.P2PLAN) && !site:
		return "the policy is lan"
	case (a.Policy == wire.P2PSameCountry || m.Policy == wire.P2PSameCountry) && !site && !country:
		return "the policy is same-country"
	case site || tcp:
		return ""
	case none(f, g) || none(g, f):
		return "UDP is blocked, and TCP has no port to go to"
	case f.NAT == wire.NATSymmetric && g.NAT == wire.NATSymmetric:
		return "both have symmetric NAT"
	}
	return ""
}

func TestQuotas(t *testing.T) {
	r := rng(1)
	s := world(20_000, r)
	a := join(s, asker)
	for range 50 {
		got := s.Select(a, Query{Want: wire.MaxCandidates, Now: start}, r)
		if len(got) != wire.MaxCandidates {
			t.Fatalf("%d candidates of a large swarm", len(got))
		}
		var by [tiers]int
		nets := map[netip.Prefix]int{}
		idle := 0
		for _, m := range got {
			tier := TierOf(a.Peer.Place, m.Peer.Place)
			by[tier]++
			if tier > SameNet {
				nets[m.Peer.Place.Net]++
			}
			if m.Have == 0 {
				idle++
			}
		}
		if by[SameSite] > 8 || by[SameNet] > 8 {
			t.Errorf("%v candidates by tier: more than 8 of the asker's own network", by)
		}
		if by[SameNet] < 6 || by[SameAS] < 10 {
			t.Errorf("%v candidates by tier: near ones are missing", by)
		}
		if by[SameCountry]+by[Elsewhere] < 4 {
			t.Errorf("%v candidates by tier: no long links", by)
		}
		for n, k := range nets {
			if k > 4 {
				t.Errorf("%d of %d candidates are of %v", k, len(got), n)
			}
		}
		if idle > len(got)/2 {
			t.Errorf("%d of %d candidates have nothing", idle, len(got))
		}
	}
}

// A choice of one large office is filled from it although quotas are spent.
func TestOneNetworkFills(t *testing.T) {
	s := NewSwarm()
	for i := range 100 {
		join(s, who{n: i, as: 1, ip: fmt.Sprintf("20.0.0.%d", i+1), facts: uploader})
	}
	a := join(s, asker)
	if got := s.Select(a, Query{Want: 40, Now: start}, rng(2)); len(got) != 40 {
		t.Errorf("%d candidates, want 40", len(got))
	}
}

// One hostile network does not surround a peer, however many it runs there.
func TestEclipse(t *testing.T) {
	s := NewSwarm()
	for i := range 5000 {
		join(s, who{n: i, ip: fmt.Sprintf("66.6.6.%d", i%250+1), facts: Facts{NAT: wire.NATOpen, Uploads: true, Uplink: 1 << 31}, have: total})
	}
	for i := range 100 {
		join(s, who{n: 10_000 + i, ip: fmt.Sprintf("30.%d.0.1", i), facts: uploader, have: 10})
	}
	a := join(s, asker)
	hostile := 0
	for _, m := range s.Select(a, Query{Want: 40, Now: start}, rng(3)) {
		if m.Peer.Place.IP.As4()[0] == 66 {
			hostile++
		}
	}
	if hostile > maxPerNet {
		t.Errorf("%d of 40 candidates are of one foreign network", hostile)
	}
}

// Everybody is somebody's candidate: load spreads instead of herding.
func TestLoadSpreads(t *testing.T) {
	r := rng(4)
	s := world(2000, r)
	picks := map[wire.Key]int{}
	for i := range 2000 {
		w := asker
		w.n += i
		a := join(s, w)
		for _, m := range s.Select(a, Query{Want: 40, Now: start.Add(time.Duration(i) * 50 * time.Millisecond)}, r) {
			m.Peer.Assign(start.Add(time.Duration(i) * 50 * time.Millisecond))
			picks[m.Peer.Key]++
		}
		s.Remove(a.Peer)
	}
	// The asker's own network and AS are small: compare among the rest.
	most, n, sum := 0, 0, 0
	for _, m := range s.members {
		if TierOf(PlaceOf(netip.MustParseAddr(asker.ip), 1, "AX"), m.Peer.Place) == Elsewhere {
			n++
			sum += picks[m.Peer.Key]
			most = max(most, picks[m.Peer.Key])
		}
	}
	if mean := float64(sum) / float64(n); float64(most) > 8*mean+8 {
		t.Errorf("one peer was picked %d times, the mean is %.1f", most, mean)
	}
}

// Whoever joins a crowd last gets as many useful candidates as the first, and
// nobody is worn out by the crowd.
func TestLastOfACrowd(t *testing.T) {
	r := rng(6)
	s := NewSwarm()
	ask := func(m *Member, now time.Time) []*Member {
		got := s.Select(m, Query{Want: wire.MaxCandidates, Now: now}, r)
		for _, c := range got {
			c.Peer.Assign(now)
		}
		return got
	}
	for i := range 1000 {
		now := start.Add(time.Duration(i) * time.Millisecond) // within a second
		m := join(s, who{n: i, as: uint32(i%50 + 1), ip: fmt.Sprintf("20.%d.%d.1", i%50, i/50), facts: uploader, have: r.IntN(total / 2)})
		ask(m, now)
	}
	last := join(s, who{n: 5000, as: 7, ip: "20.6.99.1", facts: uploader})
	got := ask(last, start.Add(time.Second))
	gives, near := 0, 0
	for _, m := range got {
		if m.Have > 0 {
			gives++
		}
		if TierOf(last.Peer.Place, m.Peer.Place) == SameAS {
			near++
		}
	}
	if len(got) != wire.MaxCandidates || gives < len(got)/2 || near < 12 {
		t.Errorf("the last has %d candidates, %d with pieces, %d of its AS", len(got), gives, near)
	}
}

// With twenty or more holders in the asker's AS, most of them are handed out:
// enough to have most bytes from there.
func TestEnoughOfTheSameAS(t *testing.T) {
	for _, holders := range []int{20, 40, 200} {
		r := rng(8)
		s := world(2000, r)
		for i := range holders {
			join(s, who{n: 1<<18 + i, as: 999, ip: fmt.Sprintf("99.%d.%d.1", i>>8, i&0xff), facts: uploader, have: total})
		}
		a := join(s, who{n: 1 << 19, as: 999, ip: "99.250.0.1", facts: uploader})
		near, far := 0, 0
		for _, m := range s.Select(a, Query{Want: wire.MaxCandidates, Now: start}, r) {
			if m.Peer.Place.AS == 999 {
				near++
			} else {
				far++
			}
		}
		if near < min(holders*9/10, 28) || far < minRandom {
			t.Errorf("%d holders: %d candidates of the same AS, %d others", holders, near, far)
		}
	}
}

// Those with more uplink to spare are picked more often, and load says what is
// to spare.
func TestSpareUplinkIsUsed(t *testing.T) {
	r := rng(9)
	s := NewSwarm()
	classes := []Facts{
		{NAT: wire.NATCone, Uploads: true, Uplink: 1000},
		{NAT: wire.NATCone, Uploads: true, Uplink: 20_000, Load: 100},
		{NAT: wire.NATCone, Uploads: true, Uplink: 20_000},
	}
	for i := range 900 {
		join(s, who{n: i, ip: fmt.Sprintf("20.%d.%d.1", i%30, i/30), facts: classes[i%3], have: 500})
	}
	var picks [3]int
	for i := range 600 {
		now := start.Add(time.Duration(i) * 100 * time.Millisecond)
		a := join(s, who{n: 10_000 + i, ip: fmt.Sprintf("50.%d.%d.1", i%30, i/30), facts: uploader})
		for _, m := range s.Select(a, Query{Want: 40, Now: now}, r) {
			m.Peer.Assign(now)
			if m.Peer.Key[2] == 0 && m.Have == 500 {
				n := int(m.Peer.Key[0]) | int(m.Peer.Key[1])<<8
				picks[n%3]++
			}
		}
		s.Remove(a.Peer)
	}
	if picks[2] < picks[1]*13/10 || picks[1] < picks[0] || picks[0] == 0 {
		t.Errorf("picked %v times: slow, busy, fast and free", picks)
	}
}

func TestSignalBudget(t *testing.T) {
	p := who{n: 1, ip: "20.0.0.1"}.peer()
	told := 0
	for range 1000 {
		if _, ready := p.Load(start); ready {
			p.Assign(start)
			told++
		}
	}
	if told != signalBurst {
		t.Errorf("told %d times at once, want %v", told, signalBurst)
	}
	if _, ready := p.Load(start.Add(time.Second)); !ready {
		t.Error("not ready a second later")
	}
}

func TestDirectory(t *testing.T) {
	d := New(1)
	scope := Scope{Publisher: key(1)}
	other := Scope{Publisher: key(2)}
	p, q := who{n: 1, ip: "20.0.0.1", facts: uploader}, who{n: 2, ip: "30.0.0.1", facts: uploader}
	a, b := p.peer(), q.peer()
	ask := Query{Want: 40, Now: start}
	if got := d.Join(scope, a, p.membership(), ask); len(got) != 0 {
		t.Fatalf("%d candidates in an empty swarm", len(got))
	}
	if got := d.Join(other, b, q.membership(), ask); len(got) != 0 {
		t.Fatal("a swarm of one publisher was shown to a grant of another")
	}
	if got := d.Join(scope, b, q.membership(), ask); len(got) != 1 || got[0].Peer != a {
		t.Fatalf("candidates %v, want the first peer", got)
	}
	if got, ok := d.Find(scope, a, 5, ask); !ok || len(got) != 1 || got[0].Peer != b {
		t.Fatalf("find: %v %v", got, ok)
	}
	if swarms, members := d.Size(); swarms != 2 || members != 3 {
		t.Fatalf("%d swarms, %d members", swarms, members)
	}
	// A newer session with the same key takes over; the old one cannot remove it.
	a2 := p.peer()
	d.Join(scope, a2, p.membership(), ask)
	d.Leave(scope, a)
	if _, ok := d.Find(scope, a2, 0, ask); !ok {
		t.Fatal("the newer session was removed with the older")
	}
	d.Leave(other, b)
	if n := d.Expire(start.Add(5 * time.Minute)); n != 2 {
		t.Fatalf("%d expired, want 2", n)
	}
	if swarms, _ := d.Size(); swarms != 0 {
		t.Fatalf("%d swarms are left", swarms)
	}
}

// The lists of a swarm always hold exactly its members.
func TestListsStayWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSwarm()
		peers := map[int]*Peer{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n := rapid.IntRange(0, 20).Draw(t, "n")
				w := who{n: n, ip: fmt.Sprintf("20.0.%d.%d", n%3, n%5), as: uint32(n % 3), facts: Facts{Uploads: n%2 == 0}}
				if peers[n] == nil || n%7 == 0 {
					peers[n] = w.peer()
				}
				s.Put(peers[n], w.membership(), start)
			},
			"remove": func(t *rapid.T) {
				if p := peers[rapid.IntRange(0, 20).Draw(t, "n")]; p != nil {
					s.Remove(p)
				}
			},
			"refile": func(t *rapid.T) {
				if p := peers[rapid.IntRange(0, 20).Draw(t, "n")]; p != nil {
					p.Set(&Facts{Uploads: rapid.Bool().Draw(t, "uploads")})
					s.Refile(p)
				}
			},
			"": func(t *rapid.T) {
				all := 0
				for _, l := range s.lists {
					if len(l.members) == 0 {
						t.Fatal("an empty list is kept")
					}
					for i, m := range l.members {
						if m.in[l.key.tier] != (slot{l, i}) || s.members[m.Peer.Key] != m {
							t.Fatal("a list and its members disagree")
						}
					}
					if l.key.tier == Elsewhere {
						all += len(l.members)
					}
				}
				if all != s.Len() {
					t.Fatalf("%d members in lists, %d in the swarm", all, s.Len())
				}
			},
		})
	})
}

func BenchmarkSelect(b *testing.B) {
	for _, n := range []int{40, 1000, 100_000} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			r := rng(5)
			s := world(n, r)
			a := join(s, asker)
			for b.Loop() {
				s.Select(a, Query{Want: 40, Now: start}, r)
			}
		})
	}
}
