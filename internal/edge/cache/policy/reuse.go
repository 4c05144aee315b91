package policy

import "time"

// Use is what may be done with a stored response.
type Use int

// The uses of a stored response.
const (
	// Validate: ask the origin first.
	Validate Use = iota
	// Fresh: answer with it.
	Fresh
	// Stale: answer with it, the client accepts staleness (max-stale).
	Stale
	// StaleRefresh: answer with it and validate in the background (RFC 5861 §3).
	StaleRefresh
)

// Decide says how a stored response may answer a request with the directives
// req (RFC 9111 §4 and §5.2.1).
func (f *Facts) Decide(req Directives, now time.Time) Use {
	if f.Control.NoCache || req.NoCache {
		return Validate
	}
	age, ttl := f.Age(now), f.TTL(now)
	if req.MinFresh != None && ttl < req.MinFresh.Duration() {
		return Validate
	}
	// A reload asks for max-age=0; what is immutable does not change while it is
	// fresh (RFC 8246 §2).
	pinned := f.Control.Immutable && ttl > 0
	if req.MaxAge != None && !pinned && (req.MaxAge == 0 || age > req.MaxAge.Duration()) {
		return Validate
	}
	switch {
	case ttl > 0:
		return Fresh
	case !f.mayBeStale():
		return Validate
	case req.MaxStale != None && -ttl <= req.MaxStale.Duration():
		return Stale
	case f.Control.StaleWhileRevalidate != None && -ttl <= f.Control.StaleWhileRevalidate.Duration():
		return StaleRefresh
	}
	return Validate
}

// mayBeStale says that nothing forbids stale use (RFC 9111 §4.2.4).
func (f *Facts) mayBeStale() bool {
	c := &f.Control
	return !c.MustRevalidate && !c.ProxyRevalidate && !c.NoCache && c.SMaxAge == None
}

// StaleOnError says whether the stored response may stand in for a failed
// validation. status is the origin's answer, 0 when it could not be reached. A
// server error needs leave by stale-if-error (RFC 5861 §4); a cache that is cut
// off needs none, but respects a limit (RFC 9111 §4.2.4).
func (f *Facts) StaleOnError(req Directives, status int, now time.Time) bool {
	if !f.mayBeStale() || req.NoCache {
		return false
	}
	stale := -f.TTL(now)
	for _, leave := range []Seconds{f.Control.StaleIfError, req.StaleIfError} {
		if leave != None && stale <= leave.Duration() {
			return status == 0 || serverError(status)
		}
	}
	return status == 0 && f.Control.StaleIfError == None
}

func serverError(status int) bool {
	return status == 500 || status == 502 || status == 503 || status == 504
}
