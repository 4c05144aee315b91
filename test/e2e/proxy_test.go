package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// throttled is a proxy in front of an edge that sends at most bytesPerSecond, to
// all clients together. It returns the proxy's URL.
func throttled(t *testing.T, edge string, bytesPerSecond int) string {
	t.Helper()
	return newProxy(t, edge, bytesPerSecond).url
}

// proxy is a throttled one that knows what it is sending of objects.
type proxy struct {
	url     string
	mu      sync.Mutex
	sending map[*paced]int64 // responses under way, and their first byte
}

// open are the responses under way: the first byte of each, and how many follow.
func (p *proxy) open() map[int64]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := map[int64]int64{}
	for w, from := range p.sending {
		open[from] = max(open[from], w.sent.Load())
	}
	return open
}

// begin notes a response, until the function that it returns is called.
func (p *proxy) begin(w *paced, rangeHeader string) (end func()) {
	var from int64
	_, _ = fmt.Sscanf(rangeHeader, "bytes=%d-", &from) // else all of it
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending[w] = from
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.sending, w)
	}
}

func newProxy(t *testing.T, edge string, bytesPerSecond int) *proxy {
	t.Helper()
	at, err := url.Parse(edge)
	if err != nil {
		t.Fatal(err)
	}
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), bytesPerSecond/4) // a busy machine catches up
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(at)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p := &proxy{sending: map[*paced]int64{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &paced{ResponseWriter: w, ctx: r.Context(), limit: limit}
		if !strings.HasPrefix(r.URL.Path, wire.WellKnownPath) {
			defer p.begin(out, r.Header.Get("Range"))()
		}
		forward.ServeHTTP(out, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	p.url = s.URL
	return p
}

// paced writes no faster than the limiter allows.
type paced struct {
	http.ResponseWriter
	ctx   context.Context
	limit *rate.Limiter
	sent  atomic.Int64 // bytes
}

func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *paced) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n := min(len(b)-done, 64*kib)
		if err := p.limit.WaitN(p.ctx, n); err != nil {
			return done, err
		}
		m, err := p.ResponseWriter.Write(b[done : done+n])
		done += m
		p.sent.Add(int64(m))
		if err != nil {
			return done, err
		}
	}
	return len(b), nil
}
