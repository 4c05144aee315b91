package cache

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
)

// flight is one GET of a whole response, under way to the origin: for a URL that
// is not stored, or to validate what is. All who want the same wait for its
// header; then they read the version that it fills.
type flight struct {
	key    string
	prev   *Version
	done   chan struct{}
	purged bool // guarded by c.mu: the answer is older than a purge

	// Set before done is closed.
	v      *Version // stored, or confirmed; nil when the response is not stored
	status int      // of the origin's answer; 0 without one
	reason string   // why it is not stored
	err    error
	resp   *http.Response // not stored; the leader closes it

	relay bool // guarded by c.mu: the leader will take resp, or a hold on v
}

// join returns the flight for a request with header h, starting it when there is
// none; leader says that the caller started it. With relay the leader promises
// to take what comes: a response that is not stored, a hold on the version; or to
// say that it left.
func (c *Cache) join(key string, h http.Header, prev *Version, relay bool) (fl *flight, leader bool) {
	fkey := flightKey(key, h, prev)
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl := c.flights[fkey]; fl != nil {
		return fl, false
	}
	fl = &flight{key: key, prev: prev, done: make(chan struct{}), relay: relay}
	if v := c.findLocked(key, h); v != nil && v != prev && !v.meta.Load().invalid { // landed since the caller looked
		fl.v, fl.status = v, v.Status
		close(fl.done)
		return fl, false
	}
	if c.closed {
		fl.err = ErrClosed
		close(fl.done)
		return fl, true
	}
	c.flights[fkey] = fl
	up := policy.ForUpstream(h)
	if prev != nil {
		prev.refs++ // until the flight has landed
	}
	c.work.Go(func() {
		c.fly(fl, fkey, up)
		c.releaseIf(prev)
	})
	return fl, true
}

// flightKey tells requests apart that can not share an answer.
func flightKey(key string, h http.Header, prev *Version) string {
	var b strings.Builder
	b.WriteString(key)
	fmt.Fprintf(&b, "\n%t", h.Get("Authorization") != "")
	if prev != nil {
		b.WriteByte('\n')
		b.WriteString(prev.ID)
	}
	return b.String()
}

// wait waits for the header.
func (fl *flight) wait(ctx context.Context) error {
	select {
	case <-fl.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave is for a leader that will take neither response nor version.
func (c *Cache) leave(fl *flight) {
	c.mu.Lock()
	fl.relay = false
	landed := false
	select {
	case <-fl.done:
		landed = true
	default:
	}
	c.mu.Unlock()
	if !landed {
		return // and the flight sees that nobody takes it
	}
	if fl.resp != nil {
		fl.resp.Body.Close()
	}
	c.releaseIf(fl.v)
}

// fly makes the request, publishes what its header means, and then fills.
func (c *Cache) fly(fl *flight, fkey string, h http.Header) {
	asked := h.Clone()
	if fl.prev != nil {
		setConditions(h, fl.prev)
	}
	sent := c.cfg.Now()
	resp, err := c.roundTrip(c.base, http.MethodGet, fl.key, h)
	var f *fill
	if err != nil {
		fl.err = err
	} else {
		fl.status = resp.StatusCode
		f = c.judge(fl, asked, resp, policy.Response{
			Status: resp.StatusCode, Header: resp.Header, Requested: sent, Received: c.cfg.Now(),
		})
	}
	c.land(fl, fkey)
	if f != nil {
		f.finish(f.pour(resp.Body))
		if !f.keepBody {
			resp.Body.Close()
		}
		c.release(f.v)
	}
}

// setConditions makes h a request to validate v (RFC 9111 §4.3.1).
func setConditions(h http.Header, v *Version) {
	if v.originTag != "" {
		h.Set("If-None-Match", v.originTag)
	}
	if !v.LastModified.IsZero() {
		h.Set("If-Modified-Since", v.LastModified.UTC().Format(http.TimeFormat))
	}
}

// land publishes the flight.
func (c *Cache) land(fl *flight, fkey string) {
	c.mu.Lock()
	delete(c.flights, fkey)
	var unused *http.Response
	switch {
	case !fl.relay:
		unused, fl.resp = fl.resp, nil
	case fl.v != nil:
		fl.v.refs++ // for the leader
	}
	close(fl.done)
	c.mu.Unlock()
	if unused != nil {
		unused.Body.Close()
	}
}

// judge decides what becomes of a response, and returns the fill that stores it
// if it is to be stored.
func (c *Cache) judge(fl *flight, asked http.Header, resp *http.Response, r policy.Response) *fill {
	prev := fl.prev
	if r.Header.Get("Date") == "" {
		r.Header.Set("Date", r.Received.UTC().Format(http.TimeFormat)) // RFC 9110 §6.6.1
	}
	confirmed := prev != nil && (r.Status == http.StatusNotModified && prev.confirmedBy(r.Header) ||
		r.Status == http.StatusOK && prev.Status == http.StatusOK && prev.sameAs(r.Header, resp.ContentLength))
	if confirmed {
		resp.Body.Close()
		prev.freshen(r)
		fl.v = prev
		c.saveLater(prev)
		return nil
	}
	if r.Status == http.StatusNotModified {
		resp.Body.Close()
		fl.err = fmt.Errorf("%w: 304 for another version", ErrOrigin)
		if prev != nil {
			c.drop(prev) // the next attempt asks without conditions
		}
		return nil
	}
	if prev != nil && r.Status < 500 {
		defer c.drop(prev)
	}
	if fl.reason = policy.Refusal(http.MethodGet, asked, r); fl.reason != policy.NoReason {
		c.remember(fl, r.Status)
		fl.resp = resp
		return nil
	}
	f, err := c.store(fl, asked, resp, r)
	if err != nil {
		c.log.Warn("response is not stored", "url", fl.key, "error", err)
		fl.reason, fl.resp = "disk", resp
		return nil
	}
	fl.v = f.v
	return f
}

// confirmedBy says whether a 304 speaks of v: a strong tag in it must be v's
// (RFC 9111 §4.3.4).
func (v *Version) confirmedBy(h http.Header) bool {
	tag := h.Get("ETag")
	return tag == "" || v.originTag == "" || policy.WeakMatch(tag, v.originTag)
}

// store makes the version for a response and the fill that will bring its bytes.
// The fill holds the version.
func (c *Cache) store(fl *flight, asked http.Header, resp *http.Response, r policy.Response) (*fill, error) {
	size := resp.ContentLength
	if r.Status == http.StatusNoContent {
		size = 0
	}
	if size > c.cfg.MaxBytes {
		return nil, ErrNoSpace
	}
	r.Header = policy.ForStorage(r.Header)
	v := c.newVersion(fl.key, asked, r, size)
	if err := v.blob.create(); err != nil {
		return nil, err
	}
	v.refs = 1
	f := &fill{v: v, began: time.Now(), cur: -1, last: -1, end: size}
	f.sole = v.pin() == "" || strings.EqualFold(r.Header.Get("Accept-Ranges"), "none")
	v.blob.fills = []*fill{f}
	v.blob.claim(f, 0)
	v.blob.settle()
	if c.insert(v, asked, fl) && (v.blob.mem == nil || size == 0) { // else when it is whole
		c.saveLater(v)
	}
	return f, nil
}

// settle makes the manifest of an object without bytes, which no slice completes.
func (b *blob) settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size == 0 && b.made == nil {
		b.setManifest(emptyDigest())
	}
}

// remember notes that the URL is not cacheable, so that for a while requests for
// it do not wait for each other.
func (c *Cache) remember(fl *flight, status int) {
	if status >= 500 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.direct) >= maxDirect {
		clear(c.direct)
	}
	c.direct[fl.key] = c.cfg.Now().Add(directTTL)
}

func (c *Cache) isDirect(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.direct[key]
	if ok && c.cfg.Now().After(until) {
		delete(c.direct, key)
		return false
	}
	return ok
}
