package cache

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is the time of the cache and the origin in a test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// lab is an origin and a cache in front of it, over real connections.
type lab struct {
	t      *testing.T
	clock  *clock
	origin *httptest.Server
	edge   *httptest.Server
	cache  *Cache

	mu      sync.Mutex
	handler http.HandlerFunc
	asked   []*http.Request
}

// newLab starts the two; change may adjust the configuration.
func newLab(t *testing.T, handler http.HandlerFunc, change func(*Config)) *lab {
	t.Helper()
	l := &lab{t: t, clock: newClock(), handler: handler}
	l.origin = httptest.NewServer(http.HandlerFunc(l.serveOrigin))
	t.Cleanup(l.origin.Close)
	u, err := url.Parse(l.origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Origin: u, Dir: t.TempDir(), Now: l.clock.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&cfg)
	}
	l.open(cfg)
	return l
}

// open starts the cache, again with the same directory after a close.
func (l *lab) open(cfg Config) {
	l.t.Helper()
	c, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.cache = c
	l.edge = httptest.NewServer(c)
	edge := l.edge
	l.t.Cleanup(func() {
		edge.Close()
		if err := c.Close(); err != nil {
			l.t.Errorf("close: %v", err)
		}
	})
}

func (l *lab) serveOrigin(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked = append(l.asked, r.Clone(r.Context()))
	h := l.handler
	l.mu.Unlock()
	h(w, r)
}

func (l *lab) setHandler(h http.HandlerFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handler = h
}

func (l *lab) requests() []*http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*http.Request(nil), l.asked...)
}

type answer struct {
	*http.Response
	body string
}

// do makes a request to the edge; header is pairs of name and value.
func (l *lab) do(method, path string, header ...string) answer {
	l.t.Helper()
	a, err := l.try(method, path, header...)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (l *lab) try(method, path string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.edge.URL+path, nil)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp, string(b)}, err
}

func (l *lab) get(path string, header ...string) answer {
	l.t.Helper()
	return l.do(http.MethodGet, path, header...)
}

// eventually polls until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited too long: %s", what)
		}
	}
}

// content is n bytes that differ everywhere.
func content(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// object is a handler that serves data like a good file server: ETag, ranges,
// If-Range.
func (l *lab) object(data []byte, etag string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Type", "application/octet-stream")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Date", l.clock.now().UTC().Format(http.TimeFormat))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}
}

func rangeOf(start, end int) string {
	return "bytes=" + strconv.Itoa(start) + "-" + strconv.Itoa(end-1)
}

func readParts(t *testing.T, a answer) (parts []string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	mr := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	for {
		p, err := mr.NextPart()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(b))
	}
}
