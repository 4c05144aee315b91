package cache

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawOrigin answers every connection with the same bytes and closes it.
func rawOrigin(t *testing.T, answer string) *url.URL {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					io.WriteString(conn, answer)
				}
			})
		}
	})
	return &url.URL{Scheme: "http", Host: ln.Addr().String()}
}

func TestOriginLies(t *testing.T) {
	big := strings.Repeat("x", 200<<10)
	for name, tc := range map[string]struct {
		answer string
		status int
		body   string
		cut    bool // or 502, when it was noticed before anything was sent
	}{
		"body longer than announced":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\n0123456789", 200, "01234", false},
		"body shorter than announced": {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nCache-Control: max-age=60\r\n\r\n0123456789", 200, "0123456789", true},
		"chunked and cut off":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n5\r\n01234\r\n", 200, "01234", true},
		"no HTTP":                     {"SSH-2.0-x\r\n", 502, "", false},
		"two lengths":                 {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n012345", 502, "", false},
		"negative length":             {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n012345", 502, "", false},
		"absurd length":               {"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\nCache-Control: max-age=60\r\n\r\n01", 200, "01", true},
		"header without end":          {"HTTP/1.1 200 OK\r\nX: " + big, 502, "", false},
		"304 to a plain GET":          {"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", 502, "", false},
		"206 to a plain GET":          {"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\n01234", 206, "01234", false},
		"nothing":                     {"", 502, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil, func(c *Config) { c.Origin = rawOrigin(t, tc.answer) })
			for range 2 {
				a, err := l.try("GET", "/o")
				if a.Response == nil {
					t.Fatal(err)
				}
				if tc.cut && a.StatusCode == 502 {
					continue
				}
				if a.StatusCode != tc.status || isCut(err) != tc.cut {
					t.Errorf("%s, error %v", a.Status, err)
				}
				if tc.status < 500 && !strings.HasPrefix(tc.body, a.body) {
					t.Errorf("body %q", a.body)
				}
				if tc.status == 502 && !strings.Contains(a.Header.Get("Cache-Status"), "detail=origin-failed") {
					t.Errorf("Cache-Status %q", a.Header.Get("Cache-Status"))
				}
			}
		})
	}
}

func TestOriginDown(t *testing.T) {
	l := newLab(t, nil, nil)
	l.origin.Close()
	for _, m := range []string{"GET", "HEAD", "POST"} {
		a := l.do(m, "/o")
		if a.StatusCode != http.StatusBadGateway || !strings.Contains(a.Header.Get("Cache-Status"), "origin-failed") {
			t.Errorf("%s: %s, Cache-Status %q", m, a.Status, a.Header.Get("Cache-Status"))
		}
	}
	if _, _, err := l.cache.WaitManifest(t.Context(), "/o"); !errors.Is(err, ErrOrigin) {
		t.Errorf("WaitManifest: %v", err)
	}
}

func TestOriginSlow(t *testing.T) {
	data := content(2*slice, 20)
	hang := make(chan struct{})
	l := newLab(t, nil, func(c *Config) { c.HeaderTimeout, c.StallTimeout = 50*time.Millisecond, 50*time.Millisecond })
	t.Cleanup(func() { close(hang) })
	l.setHandler(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	a := l.get("/header")
	if a.StatusCode != http.StatusGatewayTimeout || !strings.Contains(a.Header.Get("Cache-Status"), "origin-timeout") {
		t.Errorf("no header: %s, Cache-Status %q", a.Status, a.Header.Get("Cache-Status"))
	}
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		l.headerOf(w, data, `"v"`)
		if r.Header.Get("Range") == "" {
			w.Write(data[:1000])
		}
		w.(http.Flusher).Flush()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	b, err := l.try("GET", "/body")
	if !isCut(err) || b.body != string(data[:1000]) {
		t.Errorf("stalled body: %d bytes, %v", len(b.body), err)
	}
}

// An origin that is down takes nothing away that may be used stale.
func TestOriginDownLater(t *testing.T) {
	data := content(2*slice, 25)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=5"))
	l.get("/o")
	checkManifest(t, l, "/o", data)
	l.origin.Close()
	l.clock.advance(time.Minute)
	for _, m := range []string{"GET", "HEAD"} {
		a := l.do(m, "/o")
		if a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Status"), "detail=stale-if-error") {
			t.Errorf("%s: %s, Cache-Status %q", m, a.Status, a.Header.Get("Cache-Status"))
		}
	}
	checkManifest(t, l, "/o", data)
}

func TestErrorsOfManifests(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/404":
			http.NotFound(w, r)
		case "/404-cached":
			w.Header().Set("Cache-Control", "max-age=60")
			http.NotFound(w, r)
		case "/private":
			w.Header().Set("Cache-Control", "private")
		case "/500":
			w.WriteHeader(500)
		}
	})
	for path, code := range map[string]int{"/404": 404, "/404-cached": 404, "/500": 500} {
		var se *StatusError
		if _, _, err := l.cache.WaitManifest(t.Context(), path); !errors.As(err, &se) || se.Code != code {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := l.cache.WaitManifest(t.Context(), "/private"); !errors.Is(err, ErrNotCacheable) {
		t.Errorf("private: %v", err)
	}
}

func TestWaitManifestFetches(t *testing.T) {
	data := content(9*slice+1, 21)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { checkManifest(t, l, "/o", data) })
	}
	wg.Wait()
	if n := len(l.requests()); n != 1 {
		t.Errorf("origin was asked %d times", n)
	}
	if a := l.get("/o"); a.body != string(data) {
		t.Error("wrong bytes")
	}
	l.setHandler(l.object(nil, `"e"`, "Cache-Control", "max-age=60"))
	checkManifest(t, l, "/empty", nil)
}

// Slices that came out of order make the same manifest.
func TestManifestOutOfOrder(t *testing.T) {
	data := content(6*slice+5, 22)
	l := newLab(t, nil, func(c *Config) { c.Linger = time.Millisecond })
	serve := l.object(data, `"v"`, "Cache-Control", "max-age=60")
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			l.headerOf(w, data, `"v"`)
			w.Write(data[:10])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		serve(w, r)
	})
	for _, i := range []int{6, 2, 4, 0, 5, 1, 3} {
		end := min((i+1)*slice, len(data))
		if a := l.do("GET", "/o", "Range", rangeOf(i*slice, end)); a.body != string(data[i*slice:end]) {
			t.Fatalf("slice %d: %s", i, a.Status)
		}
	}
	v, _ := l.cache.Lookup("/o")
	eventually(t, "the manifest", func() bool { return v.Manifest() != nil })
	checkManifest(t, l, "/o", data)
}

func TestDecorateAndMarks(t *testing.T) {
	data := content(slice, 23)
	l := newLab(t, nil, func(c *Config) {
		c.Name = "edge 1"
		c.Decorate = func(h http.Header, v *Version) { h.Set("Link", fmt.Sprintf("<%s>", v.Key)) }
	})
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	for i, tc := range []struct {
		method string
		send   []string
		status int
		cache  string
	}{
		{"HEAD", nil, 200, `"edge 1";fwd=uri-miss;fwd-status=200`},
		{"GET", nil, 200, `"edge 1";fwd=uri-miss;fwd-status=200;ttl=60;stored`},
		{"GET", nil, 200, `"edge 1";hit;ttl=60`},
		{"HEAD", nil, 200, `"edge 1";hit;ttl=60`},
		{"GET", []string{"Range", "bytes=0-0"}, 206, `"edge 1";hit;ttl=60`},
		{"GET", []string{"If-None-Match", `"v"`}, 304, `"edge 1";hit;ttl=60`},
	} {
		a := l.do(tc.method, "/o?x", tc.send...)
		if a.StatusCode != tc.status || a.Header.Get("Link") != "</o?x>" || a.Header.Get("Cache-Status") != tc.cache {
			t.Errorf("%d: %s, Link %q, Cache-Status %q", i, a.Status, a.Header.Get("Link"), a.Header.Get("Cache-Status"))
		}
		if a.Header.Get("Via") != "1.1 edge 1" {
			t.Errorf("%d: Via %q", i, a.Header.Get("Via"))
		}
	}
	if via := l.requests()[0].Header.Get("Via"); via != "1.1 edge 1" {
		t.Errorf("origin saw Via %q", via)
	}
	if a := l.get("/a/%2e%2e/b"); a.StatusCode != 400 {
		t.Errorf("dot segments: %s", a.Status)
	}
}

// The tag made for an object whose origin gives none is good for conditions.
func TestOwnTag(t *testing.T) {
	data := content(2*slice, 24)
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", l.clock.now().UTC().Format(http.TimeFormat))
		w.Header().Set("Cache-Control", "max-age=5")
		http.ServeContent(w, r, "", l.clock.now().Add(-time.Hour), bytes.NewReader(data))
	})
	tag := l.get("/o").Header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	if a := l.get("/o", "If-None-Match", tag); a.StatusCode != 304 {
		t.Errorf("If-None-Match: %s", a.Status)
	}
	if a := l.get("/o", "Range", "bytes=0-1", "If-Range", tag); a.StatusCode != 206 {
		t.Errorf("If-Range: %s", a.Status)
	}
	if got := l.requests()[0].Header.Get("If-None-Match"); got != "" {
		t.Errorf("origin was sent %q", got)
	}
}

func TestStaleWhileRevalidate(t *testing.T) {
	l := newLab(t, nil, nil)
	gate := make(chan struct{})
	l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", l.clock.now().UTC().Format(http.TimeFormat))
		w.Header().Set("Cache-Control", "max-age=5, stale-while-revalidate=60")
		n := len(l.requests())
		if n > 1 {
			<-gate
		}
		fmt.Fprintf(w, "answer %d", n)
	})
	l.get("/o")
	l.clock.advance(10 * time.Second)
	for range 3 {
		if a := l.get("/o"); a.body != "answer 1" {
			t.Errorf("got %q while the origin is slow", a.body)
		}
	}
	close(gate)
	eventually(t, "the new version", func() bool { return l.get("/o").body == "answer 2" })
	if n := len(l.requests()); n != 2 {
		t.Errorf("origin was asked %d times", n)
	}
}

// Requests for one URL that is not cacheable do not wait for each other.
func TestUncacheableIsNotSerial(t *testing.T) {
	l := newLab(t, nil, nil)
	gate, in := make(chan struct{}), make(chan struct{}, 4)
	l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if len(l.requests()) > 1 {
			in <- struct{}{}
			<-gate
		}
		io.WriteString(w, "x")
	})
	l.get("/o")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { l.get("/o") })
	}
	for range 4 {
		<-in
	}
	close(gate)
	wg.Wait()
}
