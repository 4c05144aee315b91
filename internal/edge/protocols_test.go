package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/tandem-cdn/tandem/internal/edge/listener"
)

// startTLS runs an edge behind a door with a development certificate, and returns
// its base URL with a client for each version of HTTP.
func startTLS(t *testing.T, cfg Config) (string, map[string]http.RoundTripper) {
	t.Helper()
	e, _ := start(t, cfg)
	data := t.TempDir()
	s, err := listener.Listen(listener.Config{Listen: "127.0.0.1:0", Handler: e.Handler(), DevCA: []string{"localhost"}, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	pem, err := os.ReadFile(filepath.Join(data, listener.DevCAFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conf := func() *tls.Config { return &tls.Config{RootCAs: roots} }
	h1 := &http.Transport{TLSClientConfig: conf()}
	h2 := &http.Transport{TLSClientConfig: conf(), ForceAttemptHTTP2: true}
	h3 := &http3.Transport{TLSClientConfig: conf()}
	t.Cleanup(func() {
		h1.CloseIdleConnections()
		h2.CloseIdleConnections()
		h3.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + s.Addr().String(), map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2.0": h2, "HTTP/3.0": h3}
}

func TestEveryHTTP(t *testing.T) {
	tmp := t.TempDir()
	data := random(5<<20 + 77)
	put(t, tmp, "f", data)
	put(t, tmp, "moving", make([]byte, 64<<20))
	base, clients := startTLS(t, Config{Origin: tmp})
	ask := func(rt http.RoundTripper, path string, fields ...string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "GET", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	for name, rt := range clients {
		t.Run(name, func(t *testing.T) {
			whole := ask(rt, "/f")
			defer whole.Body.Close()
			got, err := io.ReadAll(whole.Body)
			if err != nil || !bytes.Equal(got, data) || whole.Proto != name || whole.ContentLength != int64(len(data)) {
				t.Errorf("whole: %s, %d bytes, %v", whole.Proto, len(got), err)
			}
			part := ask(rt, "/f", "Range", "bytes=1000000-1999999", "If-Range", whole.Header.Get("Etag"))
			defer part.Body.Close()
			got, err = io.ReadAll(part.Body)
			if err != nil || part.StatusCode != 206 || !bytes.Equal(got, data[1000000:2000000]) {
				t.Errorf("range: status %d, %d bytes, %v", part.StatusCode, len(got), err)
			}
			same := ask(rt, "/f", "If-None-Match", whole.Header.Get("Etag"))
			defer same.Body.Close()
			if same.StatusCode != 304 {
				t.Errorf("If-None-Match: status %d", same.StatusCode)
			}
			moving := ask(rt, "/moving")
			defer moving.Body.Close()
			if _, err := io.CopyN(io.Discard, moving.Body, 1000); err != nil {
				t.Fatal(err)
			}
			put(t, tmp, "moving", bytes.Repeat([]byte(name[5:6]), 64<<20-1))
			if n, err := io.Copy(io.Discard, moving.Body); err == nil {
				t.Errorf("a file that changed was sent to its end, %d bytes", n)
			}
			put(t, tmp, "moving", make([]byte, 64<<20))
		})
	}
}
