package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"golang.org/x/time/rate"
)

// throttled is a proxy in front of an edge that sends at most bytesPerSecond, to
// all clients together. It returns the proxy's URL.
func throttled(t *testing.T, edge string, bytesPerSecond int) string {
	t.Helper()
	at, err := url.Parse(edge)
	if err != nil {
		t.Fatal(err)
	}
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), bytesPerSecond/4) // a busy machine catches up
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(at)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(&paced{w, r.Context(), limit}, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// paced writes no faster than the limiter allows.
type paced struct {
	http.ResponseWriter
	ctx   context.Context
	limit *rate.Limiter
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
		if err != nil {
			return done, err
		}
	}
	return len(b), nil
}
