package policy

import (
	"net/http"
	"strings"
	"time"
)

// Response is a response as it was received.
type Response struct {
	Status int
	Header http.Header
	// Requested is when the request for it left, Received when its header came.
	Requested, Received time.Time
}

// Facts are what the reuse of a stored response depends on, worked out once.
type Facts struct {
	Control Directives
	// Lifetime is how long the response is fresh (RFC 9111 §4.2.1).
	Lifetime time.Duration
	// Explicit says that the origin gave the lifetime.
	Explicit bool
	// Date is when the origin made the response, or Received.
	Date     time.Time
	Received time.Time
	// InitialAge is the corrected initial age (RFC 9111 §4.2.3).
	InitialAge time.Duration
}

// heuristicFraction and maxHeuristic bound the guessed lifetime of a response
// whose origin gave none: a tenth of the time since its last change (RFC 9111
// §4.2.2), a day at most.
const (
	heuristicFraction = 10
	maxHeuristic      = 24 * time.Hour
)

// FactsOf works out the facts of a response.
func FactsOf(r Response) Facts {
	ctl, targeted := ControlOf(r.Header)
	f := Facts{Control: ctl, Received: r.Received, Date: r.Received}
	if d, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		f.Date = d
	}
	f.InitialAge = initialAge(r, f.Date)
	f.Lifetime, f.Explicit = explicitLifetime(r.Header, ctl, targeted, f.Date)
	if !f.Explicit && (ctl.Public || heuristicStatus(r.Status)) {
		f.Lifetime = guessedLifetime(r.Header, f.Date)
	}
	return f
}

func initialAge(r Response, date time.Time) time.Duration {
	apparent := max(0, r.Received.Sub(date).Truncate(time.Second))
	return max(apparent, ageValue(r.Header)+max(0, r.Received.Sub(r.Requested)))
}

// ageValue reads Age: its first member counts, an invalid one is ignored (RFC
// 9111 §5.1).
func ageValue(h http.Header) time.Duration {
	first, _, _ := strings.Cut(h.Get("Age"), ",")
	n, ok := digits(strings.TrimSpace(first))
	if !ok {
		return 0
	}
	return Seconds(min(n, int64(Forever))).Duration()
}

func explicitLifetime(h http.Header, ctl Directives, targeted bool, date time.Time) (time.Duration, bool) {
	switch {
	case ctl.SMaxAge != None:
		return ctl.SMaxAge.Duration(), true
	case ctl.MaxAge != None:
		return ctl.MaxAge.Duration(), true
	case targeted || len(h.Values("Expires")) == 0:
		return 0, false
	}
	// An Expires that cannot be read is in the past (RFC 9111 §5.3). Of several
	// fields one is enough to make the response stale.
	life := Forever.Duration()
	for _, v := range h.Values("Expires") {
		t, err := http.ParseTime(v)
		if err != nil {
			return 0, true
		}
		life = min(life, t.Sub(date))
	}
	return max(0, life), true
}

func guessedLifetime(h http.Header, date time.Time) time.Duration {
	lm, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil || !lm.Before(date) {
		return 0
	}
	return min(date.Sub(lm)/heuristicFraction, maxHeuristic)
}

// heuristicStatus tells the statuses that may be kept without explicit
// freshness (RFC 9110 §15.1), but for 206, which is never stored as such.
func heuristicStatus(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// Age is the current age (RFC 9111 §4.2.3).
func (f *Facts) Age(now time.Time) time.Duration {
	return f.InitialAge + max(0, now.Sub(f.Received))
}

// TTL is the freshness left; negative once the response is stale.
func (f *Facts) TTL(now time.Time) time.Duration { return f.Lifetime - f.Age(now) }
