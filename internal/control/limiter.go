package control

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// sites bounds what comes from one public address (IPv6 /64).
type sites struct {
	mu sync.Mutex
	m  map[netip.Prefix]*site
}

type site struct {
	sessions int
	logins   *rate.Limiter
	grants   *rate.Limiter
	last     time.Time
}

func (s *sites) at(ip netip.Addr, now time.Time) *site {
	k := directory.PlaceOf(ip, 0, "").Site
	x := s.m[k]
	if x == nil {
		x = &site{logins: rate.NewLimiter(loginRate, loginBurst), grants: rate.NewLimiter(grantRate, grantBurst)}
		s.m[k] = x
	}
	x.last = now
	return x
}

var (
	errSiteSessions = errors.New("too many sessions from this address")
	errSiteLogins   = errors.New("too many logins from this address")
)

// enter counts a session; leave must follow when there is no error.
func (s *sites) enter(ip netip.Addr, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.at(ip, now)
	switch {
	case x.sessions >= siteSessions:
		return errSiteSessions
	case !x.logins.AllowN(now, 1):
		return errSiteLogins
	}
	x.sessions++
	return nil
}

func (s *sites) leave(ip netip.Addr, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at(ip, now).sessions--
}

func (s *sites) mayGrant(ip netip.Addr, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(ip, now).grants.AllowN(now, 1)
}

// sweep forgets addresses without sessions whose rates have recovered.
func (s *sites) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, x := range s.m {
		if x.sessions == 0 && now.Sub(x.last) > time.Minute {
			delete(s.m, k)
		}
	}
}

// learned bounds how many addresses of others an installation is shown in an
// hour: the list of a swarm's members is not to be harvested.
type learned struct {
	mu sync.Mutex
	m  map[wire.Key]map[netip.Prefix]time.Time
}

// may reports whether the installation may learn of a site, and notes that it
// does.
func (l *learned) may(installation wire.Key, site netip.Prefix, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.m[installation]
	if known == nil {
		known = map[netip.Prefix]time.Time{}
		l.m[installation] = known
	}
	if _, ok := known[site]; !ok && len(known) >= newAddrs {
		return false
	}
	known[site] = now
	return true
}

func (l *learned) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for inst, known := range l.m {
		for site, at := range known {
			if now.Sub(at) > time.Hour {
				delete(known, site)
			}
		}
		if len(known) == 0 {
			delete(l.m, inst)
		}
	}
}

// pair names a partner in one swarm.
type pair struct {
	key    wire.Key
	object manifest.ObjectID
}

// pairs remembers whom a session was brought together with, up to maxPairs.
type pairs struct {
	mu sync.Mutex
	m  map[pair]*meeting
}

// meeting is when two were brought together, and what became of it.
type meeting struct {
	at              time.Time
	settled, failed bool
}

func (p *pairs) add(x pair, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[pair]*meeting{}
	}
	if _, ok := p.m[x]; !ok && len(p.m) >= maxPairs {
		for old := range p.m { // any: which one is of no weight
			delete(p.m, old)
			break
		}
	}
	p.m[x] = &meeting{at: now}
}

func (p *pairs) has(x pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[x] != nil
}

// settle records what became of a pair and reports whether it is one, and was
// not settled before.
func (p *pairs) settle(x pair, made bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.m[x]
	if m == nil || m.settled {
		return false
	}
	m.settled, m.failed = true, !made
	return true
}

// may reports whether the two may be told of each other now: not when they just
// were, nor soon after it was in vain.
func (p *pairs) may(x pair, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.m[x]
	switch {
	case m == nil:
		return true
	case m.failed:
		return now.Sub(m.at) >= failedAgain
	default:
		return now.Sub(m.at) >= pairAgain
	}
}

// blames counts the distinct reporters that found fault with a peer.
type blames struct {
	mu  sync.Mutex
	m   map[pair]*fault
	bad map[wire.Key]time.Time // installations in quarantine, until when
}

type fault struct {
	by   map[reporter]bool
	last time.Time
}

// reporter tells reporters apart: by public address, since keys cost nothing,
// and by installation where all share one (a private network, one machine).
type reporter struct {
	site         netip.Prefix
	installation wire.Key
}

func reporterOf(s *session) reporter {
	if reachOf(s.addr.Addr()) == global {
		return reporter{site: s.peer.Place.Site}
	}
	return reporter{installation: s.installation}
}

// add counts by's complaint about t and returns the distinct reporters so far.
// From [directory.Quarantine] on t's installation is in quarantine. Complaints
// of those who are there do not count.
func (b *blames) add(t, by *session, o manifest.ObjectID, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := pair{t.peer.Key, o}
	f := b.m[k]
	if f == nil {
		f = &fault{by: map[reporter]bool{}}
		b.m[k] = f
	}
	if until, in := b.bad[by.installation]; !in || !now.Before(until) {
		f.by[reporterOf(by)] = true
		f.last = now
	}
	if len(f.by) >= directory.Quarantine {
		b.bad[t.installation] = now.Add(quarantineFor)
	}
	t.peer.Blame(max(len(f.by), t.peer.Blamed())) // here: of two at a time, the greater counts
	return len(f.by)
}

func (b *blames) quarantined(installation wire.Key, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Before(b.bad[installation])
}

func (b *blames) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.bad)
}

// sweep forgets what is old and returns the installations that leave quarantine.
func (b *blames) sweep(now time.Time) (released []wire.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, f := range b.m {
		if now.Sub(f.last) > quarantineFor {
			delete(b.m, k)
		}
	}
	for k, until := range b.bad {
		if !now.Before(until) {
			delete(b.bad, k)
			released = append(released, k)
		}
	}
	return released
}
