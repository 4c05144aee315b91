package tandem_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tandem-cdn/tandem"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func newClient(t *testing.T, cfg tandem.Config) *tandem.Client {
	t.Helper()
	c, err := tandem.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// web is an ordinary server.
func web(t *testing.T, data []byte) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/object", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v"`)
		w.Header().Set("X-Say", "hello")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(data[:1000])
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(data[1000:])
	})
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "way", Value: "known"})
		http.Redirect(w, r, "/cookie", http.StatusFound)
	})
	mux.HandleFunc("/cookie", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("way")
		if err != nil {
			http.Error(w, "no cookie", http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, c.Value)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// TestTransportIsLikeTheDefault sends requests through the client's transport and
// through an ordinary one, and compares what comes back.
func TestTransportIsLikeTheDefault(t *testing.T) {
	data := random(2<<20 + 3)
	base := web(t, data)
	mine := newClient(t, tandem.Config{}).Transport()
	for _, tc := range []struct{ name, method, path, header, body string }{
		{"get", "GET", "/object", "", ""},
		{"head", "HEAD", "/object", "", ""},
		{"missing", "GET", "/missing", "", ""},
		{"empty", "GET", "/empty", "", ""},
		{"range", "GET", "/object", "Range: bytes=1000000-1000099", ""},
		{"range to the end", "GET", "/object", "Range: bytes=2097000-", ""},
		{"range past the end", "GET", "/object", "Range: bytes=2000000-9000000", ""},
		{"range behind the end", "GET", "/object", "Range: bytes=9000000-", ""},
		{"last bytes", "GET", "/object", "Range: bytes=-5", ""},
		{"not modified", "GET", "/object", `If-None-Match: "v"`, ""},
		{"redirect", "GET", "/moved", "", ""},
		{"post", "POST", "/echo", "", "what I say"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ask := func(rt http.RoundTripper) (*http.Response, []byte) {
				req, err := http.NewRequestWithContext(t.Context(), tc.method, base+tc.path, strings.NewReader(tc.body))
				if err != nil {
					t.Fatal(err)
				}
				if k, v, ok := strings.Cut(tc.header, ": "); ok {
					req.Header.Set(k, v)
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				if err = errors.Join(err, resp.Body.Close()); err != nil {
					t.Fatal(err)
				}
				return resp, b
			}
			got, body := ask(mine)                                           //nolint:bodyclose // ask closes it
			want, wantBody := ask(&http.Transport{DisableCompression: true}) //nolint:bodyclose // ask closes it
			if got.StatusCode != want.StatusCode || got.Status != want.Status {
				t.Errorf("status %q, want %q", got.Status, want.Status)
			}
			if !bytes.Equal(body, wantBody) {
				t.Errorf("%d bytes, not the %d wanted", len(body), len(wantBody))
			}
			if got.ContentLength != want.ContentLength {
				t.Errorf("length %d, want %d", got.ContentLength, want.ContentLength)
			}
			for _, k := range []string{"Content-Range", "ETag", "X-Say", "Location", "Set-Cookie"} {
				if g, w := got.Header.Get(k), want.Header.Get(k); g != w {
					t.Errorf("%s: %q, want %q", k, g, w)
				}
			}
		})
	}
}

// TestTransportInHTTPClient lets an http.Client follow redirects and keep cookies.
func TestTransportInHTTPClient(t *testing.T) {
	base := web(t, random(2000))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	hc := &http.Client{
		Transport: newClient(t, tandem.Config{HTTP: &http.Client{}}).Transport(), Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { seen++; return nil },
	}
	get := func(path string) (body, end string, status int) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), resp.Request.URL.Path, resp.StatusCode
	}
	if body, end, _ := get("/moved"); body != "known" || end != "/cookie" || seen != 1 {
		t.Errorf("%q from %s after %d redirects", body, end, seen)
	}
	if body, _, status := get("/missing"); status != http.StatusNotFound || !strings.Contains(body, "404") {
		t.Errorf("status %d, %q", status, body)
	}
	if body, _, _ := get("/chunked"); body != string(random(2000)) {
		t.Errorf("%d other bytes", len(body))
	}
}

func TestTransportLetsGo(t *testing.T) {
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 1000))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(stop) })
	rt := newClient(t, tandem.Config{}).Transport()
	ctx, cancel := context.WithCancel(t.Context())
	open := func() *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	resp := open()
	if err := resp.Body.Close(); err != nil { // unread
		t.Error(err)
	}
	resp = open()
	time.AfterFunc(50*time.Millisecond, cancel)
	n, err := io.Copy(io.Discard, resp.Body)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, tandem.ErrInterrupted) {
		t.Errorf("after %d bytes: error %v, want the context's", n, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestObjectKeepsTheContractsOfIO(t *testing.T) {
	data := random(300_000)
	base := web(t, data)
	o, err := newClient(t, tandem.Config{}).Open(t.Context(), base+"/object")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = o.Close() }()
	if err := iotest.TestReader(o, data); err != nil {
		t.Error(err)
	}
	if o.Size() != int64(len(data)) {
		t.Errorf("size %d", o.Size())
	}
}

func TestClosedClient(t *testing.T) {
	base := web(t, random(2000))
	c, err := tandem.New(tandem.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(t.Context(), base+"/object"); !errors.Is(err, tandem.ErrInterrupted) {
		t.Errorf("error %v, want %v", err, tandem.ErrInterrupted)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
