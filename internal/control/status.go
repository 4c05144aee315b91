package control

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// counters count since the start.
type counters struct {
	logins, refused, slow  atomic.Int64
	messages, bad          atomic.Int64
	handouts, candidates   atomic.Int64
	grants, grantsRefused  atomic.Int64
	reportsRefused, blamed atomic.Int64
	links                  atomic.Int64
	expired                atomic.Int64
}

// Status is what GET /v1/status answers.
type Status struct {
	Started  time.Time `json:"started"`
	Now      time.Time `json:"now"`
	STUN     []string  `json:"stun"`
	Sessions int       `json:"sessions"`
	Swarms   int       `json:"swarms"`
	Members  int       `json:"members"`
	// States counts the swarms by what they are to one who joins; Largest are
	// those with most members.
	States  map[directory.State]int `json:"states"`
	Largest []SwarmStatus           `json:"largest"`
	// Quarantined counts installations that are not handed out.
	Quarantined int `json:"quarantined"`

	// Since the start.
	Logins         int64 `json:"logins"`
	Refused        int64 `json:"refused"` // connections that became no session
	Slow           int64 `json:"slow"`    // sessions dropped because they did not read
	Messages       int64 `json:"messages"`
	BadMessages    int64 `json:"bad_messages"`
	Handouts       int64 `json:"handouts"` // answers to join and find
	Candidates     int64 `json:"candidates"`
	Expired        int64 `json:"expired"` // memberships not renewed
	Grants         int64 `json:"grants"`
	GrantsRefused  int64 `json:"grants_refused"`
	ReportsRefused int64 `json:"reports_refused"`
	Links          int64 `json:"links"` // outcomes of pairs that counted
	Blames         int64 `json:"blames"`
	STUNAnswers    int64 `json:"stun_answers"`

	// Since ever, from the reports on disk.
	Totals     Totals            `json:"totals"`
	Publishers []PublisherTotals `json:"publishers"` // by bytes, the largest
	Objects    []ObjectTotals    `json:"objects"`    // by bytes, the largest
}

// SwarmStatus is a swarm as it is now.
type SwarmStatus struct {
	Publisher wire.Key          `json:"publisher"`
	Object    manifest.ObjectID `json:"object"`
	State     directory.State   `json:"state"`
	Members   int               `json:"members"`
	Seeds     int               `json:"seeds"`
	Uploaders int               `json:"uploaders"`
	Copies    float64           `json:"copies"` // of each piece on average, at members that upload
}

// Status gathers the state of the node.
func (c *Control) Status(ctx context.Context) (Status, error) {
	n := &c.counters
	s := Status{
		Started: c.started, Now: c.cfg.Now(), STUN: c.stunAddrs, Quarantined: c.blames.count(),
		Logins: n.logins.Load(), Refused: n.refused.Load(), Slow: n.slow.Load(),
		Messages: n.messages.Load(), BadMessages: n.bad.Load(),
		Handouts: n.handouts.Load(), Candidates: n.candidates.Load(), Expired: n.expired.Load(),
		Grants: n.grants.Load(), GrantsRefused: n.grantsRefused.Load(),
		ReportsRefused: n.reportsRefused.Load(), Links: n.links.Load(), Blames: n.blamed.Load(), STUNAnswers: c.stun.answered.Load(),
	}
	c.mu.Lock()
	s.Sessions = len(c.sessions)
	c.mu.Unlock()
	s.Swarms, s.Members = c.dir.Size()
	s.Largest, s.States = c.swarms()
	var errs [3]error
	s.Totals, errs[0] = c.reports.totals(ctx)
	s.Publishers, errs[1] = c.reports.byPublisher(ctx)
	s.Objects, errs[2] = c.reports.byObject(ctx)
	return s, errors.Join(errs[:]...)
}

func (c *Control) swarms() ([]SwarmStatus, map[directory.State]int) {
	largest, states := c.dir.Largest(maxTotals)
	out := make([]SwarmStatus, len(largest))
	for i, s := range largest {
		out[i] = SwarmStatus{
			Publisher: s.Scope.Publisher, Object: s.Scope.Object, State: s.State,
			Members: s.Members, Seeds: s.Seeds, Uploaders: s.Uploaders, Copies: s.Copies,
		}
	}
	return out, states
}

// serveStatus answers operators alone: what is downloaded here is nobody else's
// business. A request that a proxy brings is not from this machine, whatever its
// connection says.
func (c *Control) serveStatus(w http.ResponseWriter, r *http.Request) {
	from := c.clientAddr(r)
	proxied := from.Port() != 0 && (r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "")
	if proxied || !contains(c.cfg.Operators, from.Addr()) {
		c.fail(w, http.StatusForbidden, wire.CodeBadLogin, errors.New("the status is for operators"))
		return
	}
	s, err := c.Status(r.Context())
	if err != nil {
		c.log.Error("status", "error", err)
		c.fail(w, http.StatusInternalServerError, wire.CodeOverload, errors.New("status not available"))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	c.reply(w, http.StatusOK, s)
}
