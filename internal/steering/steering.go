// Package steering knows where a presentation can be had at more than one place, and
// which place to ask first: pathways of HLS (draft-pantos-hls-rfc8216bis §7), service
// locations of DASH (ETSI TS 103 998), and what is listed twice with other hosts
// (redundant variants; alternative base URLs, ISO/IEC 23009-1 §5.6). What a publisher
// says of places need not be true: bytes are verified by whoever gets them, and a place
// that has others rests.
//
// It is a state machine without goroutine, clock or I/O. Steering manifests are read by
// package media; who has them told here has fetched them.
package steering

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

const (
	// firstAsk is how long the player has to ask for the first steering manifest, and
	// slack how much longer than the TTL for the next. Then it seems not to, and whoever
	// wants to be steered asks.
	firstAsk = 10 * time.Second
	slack    = 5 * time.Second
	// leastTTL bounds how often a steering server is asked, whatever it says.
	leastTTL   = 10 * time.Second
	defaultTTL = 300 * time.Second // as the standards have it
	// A place that fails rests for leastRest, twice as long every time up to mostRest; one
	// that has other bytes for wrongRest.
	leastRest, mostRest = 2 * time.Second, time.Minute
	wrongRest           = 10 * time.Minute
	maxRests            = 256
	// leastSilence is how long a place may bring nothing while there is another, or
	// silenceTimes what it ordinarily takes to answer, mostSilence at most: else one that
	// takes ever longer would be given ever longer.
	leastSilence, mostSilence = 1500 * time.Millisecond, 6 * time.Second
	silenceTimes              = 4
)

// Presentation is one multivariant playlist or MPD, with its places. A pathway is either
// a pathway of HLS or a service location.
type Presentation struct {
	l       *layout
	groups  map[string][]group // of l, with pathway clones
	order   []string           // of pathways, the best first
	clones  []media.Clone
	server  string // to be asked for the next manifest; "": none
	moved   string // where that has redirected to
	gone    bool   // the server does not want to be asked any more
	ttl     time.Duration
	next    time.Time // not asked before
	allowed map[string]bool
	hosts   map[string]*host
	rests   map[string]time.Time // of places that have other bytes of a rendition
}

// host is what is known of a host.
type host struct {
	rest    time.Time // it is not the first to be asked before
	strikes int
	took    time.Duration // to answer; 0: not known
}

// Place is where a segment is.
type Place struct {
	URL     string
	Pathway string
	Silence time.Duration // how long it may bring nothing while there is another
	host    string
	of      string // it and the rendition
}

// New returns what a playlist that came from at says of places; nil if that is nothing.
func New(now time.Time, text []byte, at *url.URL) *Presentation {
	l := read(text, at)
	if l == nil {
		return nil
	}
	p := &Presentation{next: now.Add(firstAsk), ttl: defaultTTL, allowed: map[string]bool{}, hosts: map[string]*host{}, rests: map[string]time.Time{}}
	p.take(l)
	p.order = l.first
	return p
}

// Renew takes over what a later version of the playlist says. Hosts that were not allowed
// are to be told of again.
func (p *Presentation) Renew(next *Presentation) {
	p.take(next.l)
	maps.DeleteFunc(p.allowed, func(_ string, ok bool) bool { return !ok })
}

func (p *Presentation) take(l *layout) {
	if p.l == nil || p.l.server != l.server {
		p.server, p.gone = l.server, false
	}
	p.l, p.groups = l, l.clone(p.clones)
}

// Has reports whether anything is said of a rendition: the URL of its media playlist, or
// that of the MPD with # and the ID.
func (p *Presentation) Has(rendition string) bool { return len(p.groups[rendition]) > 0 }

// Hosts are the hosts of all places and of the steering server, with their schemes, which
// [Presentation.Allow] has not been told of.
func (p *Presentation) Hosts() (hosts []string) {
	add := func(u string) {
		h := hostOf(u)
		if _, told := p.allowed[h]; u != "" && !told && len(hosts)+len(p.allowed) < maxHosts && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	add(p.server)
	for _, groups := range p.groups {
		for _, g := range groups {
			for _, m := range g {
				add(m.url)
			}
		}
	}
	return hosts
}

// Allow says whether a host may be asked. None is before it is allowed.
func (p *Presentation) Allow(host string, ok bool) { p.allowed[host] = ok }

// Places are where a segment of a rendition is to be had, the best first; none where
// there is no choice.
func (p *Presentation) Places(now time.Time, rendition, segment string) []Place {
	for _, g := range p.groups[rendition] {
		own := g.own(rendition, segment)
		if own < 0 {
			continue
		}
		places := p.places(g, own, rendition, segment)
		if len(places) < 2 {
			continue
		}
		slices.SortStableFunc(places, func(a, b Place) int {
			return cmp.Or(cmp.Compare(p.resting(now, a), p.resting(now, b)), cmp.Compare(p.rank(a.Pathway), p.rank(b.Pathway)))
		})
		return places
	}
	return nil
}

// places are those of a group that may be asked, the segment's own before the others.
func (p *Presentation) places(g group, own int, rendition, segment string) []Place {
	places := []Place{p.place(Place{URL: segment, Pathway: g[own].pathway, host: hostOf(segment), of: dir(g[own].url) + " " + rendition})}
	for i, m := range g {
		u, ok := there(segment, g[own].url, m.url)
		if i == own || !ok || !p.allowed[hostOf(u)] || inClear(segment, u) {
			continue
		}
		places = append(places, p.place(Place{URL: u, Pathway: m.pathway, host: hostOf(u), of: dir(m.url) + " " + rendition}))
	}
	return places
}

// inClear reports whether a URL is not secure, though that of home is.
func inClear(home, u string) bool {
	return strings.HasPrefix(home, "https:") && !strings.HasPrefix(u, "https:")
}

func (p *Presentation) place(at Place) Place {
	at.Silence = leastSilence
	if h := p.hosts[at.host]; h != nil {
		at.Silence = min(max(at.Silence, silenceTimes*h.took), mostSilence)
	}
	return at
}

// rank is how good a pathway is by what the steering server says, less being better.
func (p *Presentation) rank(pathway string) int {
	if i := slices.Index(p.order, pathway); i >= 0 {
		return i
	}
	return len(p.order)
}

// resting is how long a place is still to be spared.
func (p *Presentation) resting(now time.Time, at Place) time.Duration {
	until := p.rests[at.of]
	if h := p.hosts[at.host]; h != nil && h.rest.After(until) {
		until = h.rest
	}
	return max(0, until.Sub(now))
}

// Answered records that a place has begun to answer, and how long that took.
func (p *Presentation) Answered(at Place, took time.Duration) {
	h := p.host(at.host)
	if h.took == 0 {
		h.took = took
	}
	h.took += (took - h.took) / 8
}

// Served records that a place has brought all that it was asked for.
func (p *Presentation) Served(at Place) {
	h := p.host(at.host)
	h.strikes, h.rest = 0, time.Time{}
}

// Failed records that a place could not be reached, answered otherwise or fell silent;
// retry is how long it asks to be left alone, if it does.
func (p *Presentation) Failed(now time.Time, at Place, retry time.Duration) {
	h := p.host(at.host)
	h.rest = now.Add(max(min(retry, mostRest), min(leastRest<<min(h.strikes, 8), mostRest)))
	h.strikes++
}

// Wrong records that a place has other bytes.
func (p *Presentation) Wrong(now time.Time, at Place) {
	if len(p.rests) == maxRests {
		clear(p.rests)
	}
	p.rests[at.of] = now.Add(wrongRest)
}

func (p *Presentation) host(name string) *host {
	h := p.hosts[name]
	if h == nil {
		if len(p.hosts) == maxRests {
			clear(p.hosts)
		}
		h = &host{}
		p.hosts[name] = h
	}
	return h
}

// Same are the URLs on a host that what is at u may have there: of an MPD of that host, by
// whose standard segments are identical at all its base URLs. Variants of HLS promise the
// same content, not the same bytes.
func (p *Presentation) Same(u, host string) (urls []string) {
	if !p.l.dash || p.l.host != host || !p.allowed[hostOf(u)] {
		return nil
	}
	for _, groups := range p.groups {
		for _, g := range groups {
			i := slices.IndexFunc(g, func(m member) bool { return strings.HasPrefix(u, dir(m.url)+"/") })
			for k := range g {
				if i < 0 || k == i {
					continue
				}
				if o, ok := there(u, g[i].url, g[k].url); ok && hostOf(o) == host && len(urls) < maxPlaces && !slices.Contains(urls, o) {
					urls = append(urls, o)
				}
			}
		}
	}
	return urls
}
