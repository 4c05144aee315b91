package cache

import (
	"context"
	"crypto/tls"
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
