package cache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
)

// pass forwards a request as it is and streams the answer without storing it.
func (c *Cache) pass(q *query, why string) {
	st := status{fwd: why}
	rp := &httputil.ReverseProxy{
		Transport: c.cfg.Transport,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL = c.upstream(pr.In.URL)
			pr.Out.Host = ""
			pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
			pr.SetXForwarded()
			pr.Out.Header.Add("Via", "1.1 "+c.cfg.Name)
			if pr.Out.Header.Get("Accept-Encoding") == "" {
				pr.Out.Header.Set("Accept-Encoding", "identity") // of the client, not of the transport
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			st.fwdStatus = resp.StatusCode
			c.mark(resp.Header, st)
			c.invalidateBy(q, resp)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			c.fail(q, originError(q.r.Context(), q.r.Method+" "+q.key, err), st)
		},
		FlushInterval: -1,
		BufferPool:    passBuffers{c},
		ErrorLog:      slog.NewLogLogger(c.log.Handler(), slog.LevelWarn),
	}
	rp.ServeHTTP(q.w, q.r)
}

// passBuffers lends the cache's buffers to the proxy.
type passBuffers struct{ c *Cache }

func (p passBuffers) Get() []byte  { return *p.c.buffers.Get().(*[]byte) }
func (p passBuffers) Put(b []byte) { p.c.buffers.Put(&b) }

// relay streams the origin's answer, which is not stored, to the client that
// caused it.
func (c *Cache) relay(q *query, resp *http.Response, st status) error {
	defer resp.Body.Close()
	stop := context.AfterFunc(q.r.Context(), func() { resp.Body.Close() })
	defer stop()
	h := q.w.Header()
	hdr := resp.Header.Clone()
	policy.StripHopByHop(hdr)
	copyHeader(h, hdr)
	noSniffing(h)
	if notModified(q.r.Header, resp) {
		h.Del("Content-Length")
		c.mark(h, st)
		q.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	c.mark(h, st)
	q.w.WriteHeader(resp.StatusCode)
	flush := http.NewResponseController(q.w)
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	for {
		n, err := resp.Body.Read(*buf)
		if n > 0 {
			if _, werr := q.w.Write((*buf)[:n]); werr != nil {
				return nil
			}
			if ferr := flush.Flush(); ferr != nil {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			c.log.Warn("response broke off", "url", q.key, "error", err)
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to cut off a response
		}
	}
}

// notModified applies the client's conditions, which were not sent to the
// origin, to an answer that is not stored.
func notModified(req http.Header, resp *http.Response) bool {
	if resp.StatusCode != http.StatusOK || req.Get("If-None-Match") == "" {
		return false
	}
	val := policy.Validators{ETag: resp.Header.Get("ETag")}
	only := http.Header{"If-None-Match": req.Values("If-None-Match")}
	return policy.Evaluate(only, val) == policy.NotModified
}

// invalidateBy invalidates what an unsafe method changed (RFC 9111 §4.4).
func (c *Cache) invalidateBy(q *query, resp *http.Response) {
	switch q.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return
	}
	c.invalidate(q.key)
	for _, name := range []string{"Location", "Content-Location"} {
		ref, err := url.Parse(resp.Header.Get(name))
		if err != nil || resp.Header.Get(name) == "" {
			continue
		}
		if policy.SameOrigin(q.r.Host, ref.Host) || policy.SameOrigin(c.cfg.Origin.Host, ref.Host) {
			c.invalidate(Key(q.r.URL.ResolveReference(ref)))
		}
	}
}

func (c *Cache) invalidate(key string) {
	c.mu.Lock()
	var vs []*Version
	if e := c.entries[key]; e != nil {
		vs = append(vs, e.variants...)
	}
	for _, fl := range c.flights {
		fl.purged = fl.purged || fl.key == key
	}
	c.mu.Unlock()
	for _, v := range vs {
		v.invalidate()
		c.background(func() { c.save(v) })
	}
}
