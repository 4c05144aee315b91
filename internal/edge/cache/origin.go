package cache

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
)

// newTransport is HTTP/1.1: for bulk, several connections beat one multiplexed.
func newTransport(headerTimeout time.Duration) *http.Transport {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: policy.MaxHeaderBytes,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true, // bytes are stored as the origin codes them
		ReadBufferSize:         32 << 10,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t
}

// upstream is the URL at the origin of a URL key's path and query.
func (c *Cache) upstream(u *url.URL) *url.URL {
	o := *c.cfg.Origin
	base := strings.TrimSuffix(o.Path, "/")
	escaped := strings.TrimSuffix(o.EscapedPath(), "/")
	o.Path, o.RawPath = base+u.Path, escaped+u.EscapedPath()
	o.RawQuery, o.ForceQuery = u.RawQuery, u.ForceQuery
	return &o
}

// roundTrip makes a request to the origin in this cache's own name. ctx bounds
// the whole exchange, HeaderTimeout the wait for the header, StallTimeout each
// wait for bytes of the body.
func (c *Cache) roundTrip(ctx context.Context, method, key string, h http.Header) (*http.Response, error) {
	u, err := url.ParseRequestURI(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, c.upstream(u).String(), nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header = h
	if h.Get("Accept-Encoding") == "" {
		h.Set("Accept-Encoding", "identity")
	}
	if _, ok := h["User-Agent"]; !ok {
		h.Set("User-Agent", "tandem-edge")
	}
	h.Add("Via", "1.1 "+c.cfg.Name)
	timer := time.AfterFunc(c.cfg.HeaderTimeout, func() { cancel(ErrTimeout) })
	resp, err := c.cfg.Transport.RoundTrip(req)
	timer.Stop()
	if err != nil {
		err = originError(ctx, method+" "+key, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, stall: c.cfg.StallTimeout, what: method + " " + key}
	return resp, nil
}

// body is a response body that fails when its sender stalls, and whose errors
// are of this package's kinds.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	stall  time.Duration
	what   string
}

func (b *body) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.stall, func() { b.cancel(ErrTimeout) })
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader returns io.EOF bare
		err = originError(b.ctx, b.what, err)
	}
	return n, err
}

func (b *body) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// askPart requests the bytes [start,end) of v, pinned to it by its validator.
// The answer is a 206 with exactly these bytes, or a 200 with the whole of v.
func (c *Cache) askPart(ctx context.Context, v *Version, start, end int64, creds http.Header) (*http.Response, error) {
	h := v.selecting.Clone()
	for name, values := range creds {
		h[name] = values
	}
	h.Set("Range", fmt.Sprintf("bytes=%d-%d", start, end-1))
	h.Set("If-Range", v.pin())
	resp, err := c.roundTrip(ctx, http.MethodGet, v.Key, h)
	if err != nil {
		return nil, err
	}
	if err := v.checkPart(resp, policy.Range{Start: start, End: end}); err != nil {
		resp.Body.Close()
		return nil, fmt.Errorf("fill %s: %w", v.Key, err)
	}
	return resp, nil
}

// checkPart refuses every answer that might mix versions.
func (v *Version) checkPart(resp *http.Response, want policy.Range) error {
	size := resp.ContentLength
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		got, total, ok := policy.ParseContentRange(resp.Header.Get("Content-Range"))
		if !ok || got.Start != want.Start || got.End > want.End {
			return fmt.Errorf("%w: asked for bytes %d-%d, got %.60q", ErrOrigin, want.Start, want.End-1, resp.Header.Get("Content-Range"))
		}
		if size = total; size < 0 {
			size = v.Size
		}
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", ErrOrigin, &StatusError{resp.StatusCode})
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return &StatusError{resp.StatusCode}
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %w", ErrChanged, &StatusError{resp.StatusCode})
	}
	if resp.StatusCode == http.StatusOK && size < 0 {
		return fmt.Errorf("%w: the length is not given any more", ErrChanged)
	}
	// A 206 that honours If-Range need not repeat the validators.
	tagless := resp.StatusCode == http.StatusPartialContent && resp.Header.Get("ETag") == "" && resp.Header.Get("Last-Modified") == ""
	if size != v.Size || !tagless && !v.sameAs(resp.Header, size) {
		return ErrChanged
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != v.meta.Load().resp.Header.Get("Content-Encoding") {
		return ErrChanged
	}
	return nil
}
