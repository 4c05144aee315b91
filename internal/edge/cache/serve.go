package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
)

// serve answers a GET or HEAD with v, which the caller holds. An error means
// that nothing was sent.
func (c *Cache) serve(q *query, v *Version, st status) error {
	val := v.validators()
	if v.Status == http.StatusOK {
		switch policy.Evaluate(q.r.Header, val) {
		case policy.NotModified:
			c.writeHeader(q, v, st, http.StatusNotModified, nil)
			return nil
		case policy.Failed:
			c.writeHeader(q, v, st, http.StatusPreconditionFailed, func(h http.Header) { h.Set("Content-Length", "0") })
			return nil
		case policy.Proceed:
		}
	}
	if q.r.Method == http.MethodHead {
		c.writeHeader(q, v, st, v.Status, v.setLength)
		return nil
	}
	parts, err := c.parts(q, v, val)
	if errors.Is(err, policy.ErrUnsatisfiable) {
		c.writeHeader(q, v, st, http.StatusRequestedRangeNotSatisfiable, func(h http.Header) {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", v.Size))
			h.Set("Content-Length", "0")
		})
		return nil
	}
	return c.serveParts(q, v, st, parts)
}

// parts are the ranges of v the request asks for; none is all of it.
func (c *Cache) parts(q *query, v *Version, val policy.Validators) ([]policy.Range, error) {
	field := q.r.Header.Get("Range")
	if field == "" || v.Status != http.StatusOK || v.Size < 0 || !policy.RangeApplies(q.r.Header, val) {
		return nil, nil
	}
	return policy.ParseRange(field, v.Size)
}

// serveParts sends the header once the first bytes are there, so that an origin
// that fails before can still be reported as such, and then the body.
func (c *Cache) serveParts(q *query, v *Version, st status, parts []policy.Range) error {
	b := v.blob
	b.join()
	defer b.leave()
	r := &reader{c: c, v: v, ctx: q.r.Context(), client: q.r.Header}
	if b.mem == nil {
		var err error
		if r.file, err = os.Open(b.path); err != nil {
			c.drop(v) // its file is lost
			return errRestart
		}
		defer r.file.Close()
	}
	first := policy.Range{Start: 0, End: v.Size}
	if len(parts) > 0 {
		first = parts[0]
	}
	if err := c.await(q, r, first); err != nil {
		return err
	}
	if r.started && st.hit {
		st = status{fwd: "partial", stored: true, detail: st.detail}
	}
	switch len(parts) {
	case 0:
		c.writeHeader(q, v, st, v.Status, v.setLength)
		c.done(q, v, r.send(q.w, 0, v.Size))
	case 1:
		c.writeHeader(q, v, st, http.StatusPartialContent, func(h http.Header) {
			h.Set("Content-Range", first.ContentRange(v.Size))
			h.Set("Content-Length", strconv.FormatInt(first.Len(), 10))
		})
		c.done(q, v, r.send(q.w, first.Start, first.End))
	default:
		c.done(q, v, c.serveMultipart(q, v, st, r, parts))
	}
	return nil
}

// await waits until the first byte of what is to be sent is there.
func (c *Cache) await(q *query, r *reader, first policy.Range) error {
	if first.End == 0 {
		return nil
	}
	end := first.End
	if end < 0 {
		end = maxRun
	}
	err := r.v.blob.over()
	if err == nil {
		_, err = r.next(first.Start, end)
	}
	switch {
	case err == nil, q.r.Context().Err() != nil:
		return nil // or the client is gone, and sending will find out
	case isDiskError(err):
		if r.v.pin() == "" && !r.v.blob.hasTail(first.Start) {
			return errRestart
		}
		return nil // sent past the disk
	case errors.Is(err, ErrChanged), errors.Is(err, ErrAbandoned):
		return errRestart
	case errors.Is(err, context.Canceled):
		return nil
	}
	if r.v.Size < 0 && errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// done ends a response. One that is not whole is cut off, so that no client takes
// it for whole.
func (c *Cache) done(q *query, v *Version, err error) {
	if err == nil {
		return
	}
	if q.r.Context().Err() == nil {
		c.log.Warn("response broke off", "url", v.Key, "error", err)
	}
	panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to cut off a response
}

// serveMultipart sends several ranges as multipart/byteranges (RFC 9110 §14.6).
func (c *Cache) serveMultipart(q *query, v *Version, st status, r *reader, parts []policy.Range) error {
	ctype := v.meta.Load().resp.Header.Get("Content-Type")
	header := func(p policy.Range) textproto.MIMEHeader {
		h := textproto.MIMEHeader{"Content-Range": {p.ContentRange(v.Size)}}
		if ctype != "" {
			h.Set("Content-Type", ctype)
		}
		return h
	}
	mw := multipart.NewWriter(q.w)
	length, err := multipartLength(mw.Boundary(), header, parts)
	if err != nil {
		return err
	}
	c.writeHeader(q, v, st, http.StatusPartialContent, func(h http.Header) {
		h.Set("Content-Type", "multipart/byteranges; boundary="+mw.Boundary())
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	})
	for _, p := range parts {
		if _, err := mw.CreatePart(header(p)); err != nil {
			return err
		}
		if err := r.send(q.w, p.Start, p.End); err != nil {
			return err
		}
	}
	return mw.Close()
}

// multipartLength is the length in bytes of the body serveMultipart sends.
func multipartLength(boundary string, header func(policy.Range) textproto.MIMEHeader, parts []policy.Range) (int64, error) {
	var n counter
	mw := multipart.NewWriter(&n)
	if err := mw.SetBoundary(boundary); err != nil {
		return 0, err
	}
	for _, p := range parts {
		if _, err := mw.CreatePart(header(p)); err != nil {
			return 0, err
		}
		n += counter(p.Len())
	}
	err := mw.Close()
	return int64(n), err
}

type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// writeHeader sends the header of an answer with v. set adds what depends on the
// kind of the answer.
func (c *Cache) writeHeader(q *query, v *Version, st status, code int, set func(http.Header)) {
	h, m, now := q.w.Header(), v.meta.Load(), c.cfg.Now()
	copyHeader(h, m.resp.Header)
	h.Del("Content-Length")
	if v.Status == http.StatusOK {
		h.Set("ETag", v.ETag)
		if v.Size >= 0 {
			h.Set("Accept-Ranges", "bytes")
		}
	}
	age := m.facts.Age(now)
	if age >= time.Second || st.hit {
		h.Set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	}
	noSniffing(h)
	if set != nil {
		set(h)
	}
	if code == http.StatusNotModified || code >= 400 && v.Status == http.StatusOK {
		// No body, so nothing that describes one (RFC 9110 §15.4.5).
		h.Del("Content-Type")
		h.Del("Content-Encoding")
	}
	if code < 400 || v.Status != http.StatusOK {
		c.decorate(h, v)
	}
	ttl := int64(m.facts.TTL(now) / time.Second)
	st.ttl = &ttl
	c.mark(h, st)
	q.w.WriteHeader(code)
}

// setLength sets the length of the whole, where the status has a body.
func (v *Version) setLength(h http.Header) {
	if v.Size >= 0 && v.Status != http.StatusNoContent {
		h.Set("Content-Length", strconv.FormatInt(v.Size, 10))
	}
}

func (c *Cache) decorate(h http.Header, v *Version) {
	if c.cfg.Decorate != nil && v.Status == http.StatusOK {
		c.cfg.Decorate(h, v)
	}
}

// copyHeader sets the fields of from in to, keeping what to has besides. The values
// are shared; who appends to them makes a copy.
func copyHeader(to, from http.Header) {
	for name, values := range from {
		to[name] = values[:len(values):len(values)]
	}
}

// noSniffing keeps net/http from guessing a type the origin did not give.
func noSniffing(h http.Header) {
	if len(h.Values("Content-Type")) == 0 {
		h["Content-Type"] = nil
	}
}

// credentials are the fields without which the origin may refuse the rest of
// what it gave.
func credentials(h http.Header) http.Header {
	creds := make(http.Header)
	for _, name := range []string{"Authorization", "Cookie"} {
		if vs := h.Values(name); len(vs) > 0 {
			creds[name] = vs
		}
	}
	return creds
}
