package cache

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
)

const (
	// maxAttempts bounds how often a request starts over because what it was to
	// be answered with vanished meanwhile.
	maxAttempts = 4
	// maxHops is the number of proxies a request may have come through.
	maxHops = 16
)

// errRestart says that the version to answer with is gone before anything was
// sent, and that the request should be looked at anew.
var errRestart = errors.New("start over")

// query is one request that the cache may answer.
type query struct {
	w   http.ResponseWriter
	r   *http.Request
	key string
	ctl policy.Directives
}

func noDirectives() policy.Directives { return policy.ParseDirectives(nil) }

// ServeHTTP answers from the cache or from the origin.
func (c *Cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &query{w: w, r: r, key: Key(r.URL), ctl: policy.ParseDirectives(r.Header.Values("Cache-Control"))}
	if r.Header.Get("Cache-Control") == "" && strings.EqualFold(r.Header.Get("Pragma"), "no-cache") {
		q.ctl.NoCache = true // RFC 9111 §5.4
	}
	switch {
	case r.Method == http.MethodConnect, !strings.HasPrefix(r.URL.Path, "/"):
		c.refuse(q, http.StatusBadRequest, "request-target")
	case hasDotSegments(r.URL.Path):
		// The origin would resolve them, perhaps out of the base path.
		c.refuse(q, http.StatusBadRequest, "dot-segments")
	case len(r.Header.Values("Via")) > maxHops || strings.Count(r.Header.Get("Via"), ",") > maxHops:
		c.refuse(q, http.StatusLoopDetected, "loop")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		c.pass(q, "method")
	case r.ContentLength != 0 || r.Header.Get("Upgrade") != "" || len(q.key) > maxKeyBytes:
		c.pass(q, "bypass")
	case q.ctl.NoStore:
		c.pass(q, "request")
	default:
		c.answer(q)
	}
}

// Key is the key of a URL: path and query as in a request line.
func Key(u *url.URL) string {
	key := u.EscapedPath()
	if u.RawQuery != "" || u.ForceQuery {
		key += "?" + u.RawQuery
	}
	return key
}

func hasDotSegments(path string) bool {
	for s := range strings.SplitSeq(path, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return strings.Contains(path, `\`)
}

func (c *Cache) answer(q *query) {
	for range maxAttempts {
		err := c.attempt(q)
		if err == nil {
			return
		}
		if !errors.Is(err, errRestart) && !errors.Is(err, ErrChanged) {
			c.fail(q, err, status{fwd: "miss"})
			return
		}
	}
	c.pass(q, "bypass")
}

// attempt answers the request, or returns an error before anything was sent.
func (c *Cache) attempt(q *query) error {
	v, known := c.match(q.key, q.r.Header)
	if v == nil {
		return c.missing(q, known)
	}
	defer c.release(v)
	now := c.cfg.Now()
	m := v.meta.Load()
	use := m.facts.Decide(q.ctl, now)
	switch {
	case m.invalid:
	case use == policy.StaleRefresh:
		c.join(q.key, q.r.Header, v, false)
		return c.serve(q, v, status{hit: true, detail: "stale-while-revalidate"})
	case use == policy.Fresh, use == policy.Stale:
		return c.serve(q, v, status{hit: true})
	}
	if q.ctl.OnlyIfCached {
		c.refuse(q, http.StatusGatewayTimeout, "only-if-cached")
		return nil
	}
	why := "stale"
	if !m.invalid && !m.facts.Control.NoCache && m.facts.TTL(now) > 0 {
		why = "request"
	}
	if q.r.Method == http.MethodHead {
		return c.head(q, v, why)
	}
	return c.fetch(q, v, why)
}

// usable says whether v may answer a request with the directives ctl unasked.
func (c *Cache) usable(v *Version, ctl policy.Directives) bool {
	m := v.meta.Load()
	return !m.invalid && m.facts.Decide(ctl, c.cfg.Now()) != policy.Validate
}

// missing answers a request for what is not stored.
func (c *Cache) missing(q *query, known bool) error {
	why := "uri-miss"
	if known {
		why = "vary-miss"
	}
	switch {
	case q.ctl.OnlyIfCached:
		c.refuse(q, http.StatusGatewayTimeout, "only-if-cached")
		return nil
	case c.isDirect(q.key):
		c.pass(q, why)
		return nil
	case q.r.Method == http.MethodHead:
		return c.head(q, nil, why)
	}
	return c.fetch(q, nil, why)
}

// fetch answers with what the origin says to a GET: of a response not stored, or
// to the validation of prev.
func (c *Cache) fetch(q *query, prev *Version, why string) error {
	fl, leader := c.join(q.key, q.r.Header, prev, true)
	if err := fl.wait(q.r.Context()); err != nil {
		if leader {
			c.leave(fl)
		}
		return nil // the client is gone
	}
	st := status{fwd: why, fwdStatus: fl.status, collapsed: !leader}
	switch {
	case fl.v != nil:
		if !leader && !c.hold(fl.v) {
			return errRestart
		}
		defer c.release(fl.v)
		if !fl.v.matches(q.r.Header) {
			return errRestart
		}
		st.stored = fl.v != prev
		return c.serve(q, fl.v, st)
	case prev != nil && c.standsIn(prev, fl, q.ctl):
		if leader {
			c.leave(fl)
		}
		st.hit, st.detail = true, "stale-if-error"
		return c.serve(q, prev, st)
	case fl.err != nil:
		if prev != nil && fl.status == http.StatusNotModified {
			return errRestart
		}
		c.fail(q, fl.err, st)
		return nil
	case leader:
		st.detail = fl.reason
		return c.relay(q, fl.resp, st)
	}
	c.pass(q, why)
	return nil
}

// standsIn says whether prev, stale as it is, may answer because its validation
// failed.
func (c *Cache) standsIn(prev *Version, fl *flight, ctl policy.Directives) bool {
	failed := fl.err != nil && fl.status == 0 || fl.status >= 500
	return failed && prev.meta.Load().facts.StaleOnError(ctl, fl.status, c.cfg.Now())
}

// head answers a HEAD that the cache cannot answer alone. It is passed on as a
// HEAD, so that nobody downloads an object who only asked about it; what is
// stored is confirmed or invalidated by the answer (RFC 9111 §4.3.5).
func (c *Cache) head(q *query, prev *Version, why string) error {
	h := policy.ForUpstream(q.r.Header)
	if prev != nil {
		setConditions(h, prev)
	}
	sent := c.cfg.Now()
	resp, err := c.roundTrip(q.r.Context(), http.MethodHead, q.key, h)
	st := status{fwd: why}
	if err != nil {
		if prev != nil && prev.meta.Load().facts.StaleOnError(q.ctl, 0, c.cfg.Now()) {
			return c.serve(q, prev, status{hit: true, detail: "stale-if-error"})
		}
		c.fail(q, err, st)
		return nil
	}
	defer resp.Body.Close()
	st.fwdStatus = resp.StatusCode
	r := policy.Response{Status: resp.StatusCode, Header: resp.Header, Requested: sent, Received: c.cfg.Now()}
	if prev != nil {
		switch {
		case r.Status == http.StatusNotModified && prev.confirmedBy(r.Header),
			r.Status == http.StatusOK && prev.Status == http.StatusOK && prev.sameAs(r.Header, resp.ContentLength):
			prev.freshen(r)
			return c.serve(q, prev, st)
		case r.Status == http.StatusNotModified:
			c.drop(prev)
			return errRestart
		case r.Status < 500:
			prev.invalidate()
		case prev.meta.Load().facts.StaleOnError(q.ctl, r.Status, c.cfg.Now()):
			return c.serve(q, prev, status{hit: true, detail: "stale-if-error"})
		}
	}
	c.relayHead(q, resp, r, st)
	return nil
}

// relayHead passes on the answer to a HEAD. When a GET would be stored, the
// answer is decorated like one.
func (c *Cache) relayHead(q *query, resp *http.Response, r policy.Response, st status) {
	h := q.w.Header()
	copyHeader(h, policy.ForStorage(r.Header))
	if policy.Refusal(http.MethodGet, q.r.Header, r) == policy.NoReason {
		v := c.newVersion(q.key, q.r.Header, r, resp.ContentLength)
		if r.Header.Get("ETag") == "" {
			v.ETag = "" // it gets one when it is stored
		}
		c.decorate(h, v)
	}
	c.mark(h, st)
	q.w.WriteHeader(r.Status)
}

// fail answers that the origin failed.
func (c *Cache) fail(q *query, err error, st status) {
	code, detail := http.StatusBadGateway, "origin-failed"
	var se *StatusError
	switch {
	case q.r.Context().Err() != nil:
		return // nobody is there to be told
	case errors.Is(err, ErrTimeout):
		code, detail = http.StatusGatewayTimeout, "origin-timeout"
	case errors.As(err, &se):
		detail = "origin-status"
		st.fwdStatus = se.Code
	case errors.Is(err, ErrChanged):
		detail = "changed"
	case errors.Is(err, ErrClosed):
		code, detail = http.StatusServiceUnavailable, "closing"
	case isDiskError(err):
		detail = "disk"
	}
	c.log.Warn("request failed", "url", q.key, "status", code, "error", err)
	st.detail = detail
	c.errorPage(q, code, st)
}

// refuse answers without asking the origin.
func (c *Cache) refuse(q *query, code int, detail string) {
	c.errorPage(q, code, status{detail: detail})
}

func (c *Cache) errorPage(q *query, code int, st status) {
	h := q.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	c.mark(h, st)
	q.w.WriteHeader(code)
	if q.r.Method != http.MethodHead {
		q.w.Write([]byte(http.StatusText(code) + ": " + st.detail + "\n"))
	}
}
