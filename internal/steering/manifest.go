package steering

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Steers reports whether a URL is one of the steering server's, whatever players have
// added to its query.
func (p *Presentation) Steers(u string) bool {
	bare := func(s string) string { s, _, _ = strings.Cut(s, "?"); return s }
	return slices.ContainsFunc([]string{p.l.server, p.server, p.moved}, func(s string) bool { return s != "" && bare(u) == bare(s) })
}

// Moved records that the steering server has sent somebody elsewhere for its manifest.
func (p *Presentation) Moved(to *url.URL) { p.moved = media.Location(to) }

// Told takes a steering manifest, whoever has asked for it.
func (p *Presentation) Told(now time.Time, m *media.Steering) {
	if len(m.Priority) > 0 {
		p.order = slices.Clone(m.Priority)
	}
	p.clones = m.Clones
	p.groups = p.l.clone(p.clones)
	p.ttl = max(m.TTL, leastTTL)
	p.next = now.Add(p.ttl + slack)
	if m.Reload != "" {
		p.server = m.Reload
	}
}

// Ask returns the URL to get a steering manifest from if one is due that nobody else has
// asked for, and takes it to be asked for.
func (p *Presentation) Ask(now time.Time) (u *url.URL, due bool) {
	if p.server == "" || p.gone || now.Before(p.next) || !p.allowed[hostOf(p.server)] || len(p.groups) == 0 || inClear(p.l.host, p.server) {
		return nil, false
	}
	p.next = now.Add(p.ttl + slack)
	u, err := url.Parse(p.server)
	if err != nil {
		return nil, false
	}
	if len(p.order) > 0 {
		// No throughput is told: that of peers says nothing of a pathway.
		name, value := "_HLS_pathway", p.order[0]
		if p.l.dash {
			name, value = "_DASH_pathway", `"`+value+`"`
		}
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
	}
	return u, true
}

// Refused records that there was no steering manifest, for good if the server says so
// (410). What it said last holds. retry is how long it asks to be left alone.
func (p *Presentation) Refused(now time.Time, gone bool, retry time.Duration) {
	p.gone = p.gone || gone
	p.next = now.Add(max(p.ttl, retry))
}
