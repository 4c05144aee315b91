package cache

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// chill leaves all small versions that nobody uses to the pack.
func (l *lab) chill() {
	l.t.Helper()
	c := l.cache
	eventually(l.t, "the pack", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hotBytes += maxHot
		c.chillLocked()
		c.hotBytes -= maxHot
		return c.hot.Len() == 0
	})
}

// A small version has no file, and is the same whether it is in memory, in the pack,
// or was there when the process began.
func TestSmallVersions(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Foo")
		l.object([]byte("body of "+r.Header.Get("Foo")+r.URL.RequestURI()), `"v`+r.Header.Get("Foo")+`"`,
			"Cache-Control", "max-age=60", "Last-Modified", monday)(w, r)
	})
	check := func(when string) {
		t.Helper()
		for _, foo := range []string{"1", "2"} {
			for _, path := range []string{"/a", "/a?q", "/b"} {
				a := l.get(path, "Foo", foo)
				if a.body != "body of "+foo+path || a.Header.Get("ETag") != `"v`+foo+`"` || a.Header.Get("Last-Modified") != monday {
					t.Errorf("%s: %s %s: %q, %v", when, path, foo, a.body, a.Header)
				}
				a = l.get(path, "Foo", foo, "Range", "bytes=5-6")
				if a.StatusCode != http.StatusPartialContent || a.body != "of" {
					t.Errorf("%s: %s %s: range: %s %q", when, path, foo, a.Status, a.body)
				}
				if a = l.get(path, "Foo", foo, "If-None-Match", `"v`+foo+`"`); a.StatusCode != http.StatusNotModified {
					t.Errorf("%s: %s %s: condition: %s", when, path, foo, a.Status)
				}
				v, _ := l.cache.match(path, http.Header{"Foo": {foo}})
				eventually(t, "the manifest", func() bool { return v.Manifest() != nil })
				if m := v.Manifest(); m.Size != int64(len("body of 1"+path)) || !m.Verify(0, []byte("body of "+foo+path)) {
					t.Errorf("%s: %s %s: manifest of %d bytes", when, path, foo, m.Size)
				}
				l.cache.release(v)
			}
		}
	}
	check("filled")
	l.chill()
	if n := files(t, l.cache.cfg.Dir); n != 0 {
		t.Errorf("%d files", n)
	}
	check("in the pack")
	l.chill()
	l.reopen()
	check("after a restart")
	if n := len(l.requests()); n != 6 {
		t.Errorf("origin was asked %d times", n)
	}
	if bytes, n := l.cache.Usage(); n != 6 || bytes == 0 {
		t.Errorf("%d bytes in %d versions", bytes, n)
	}
}

// A response without Content-Length loses its file when it turns out to be small.
func TestSmallOfUnknownLength(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v"`)
		w.(http.Flusher).Flush()
		w.Write([]byte("small after all"))
	})
	for range 2 {
		if a := l.get("/o"); a.body != "small after all" {
			t.Errorf("%s %q", a.Status, a.body)
		}
		l.chill()
	}
	eventually(t, "the file to go", func() bool { return files(t, l.cache.cfg.Dir) == 0 })
	l.reopen()
	if a := l.get("/o"); a.body != "small after all" || len(l.requests()) != 1 {
		t.Errorf("%q after %d requests", a.body, len(l.requests()))
	}
}

// What a validation confirmed stays so in the pack, and what it replaced is gone.
func TestSmallVersionsAreValidated(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(l.object([]byte("one"), `"1"`, "Cache-Control", "max-age=60"))
	l.get("/o")
	l.chill()
	l.clock.advance(61e9)
	if a := l.get("/o"); a.body != "one" || len(l.requests()) != 2 {
		t.Errorf("%q after %d requests", a.body, len(l.requests()))
	}
	l.chill()
	l.reopen()
	if a := l.get("/o"); a.body != "one" || len(l.requests()) != 2 {
		t.Errorf("%q after %d requests: the validation is forgotten", a.body, len(l.requests()))
	}
	l.chill()
	l.clock.advance(61e9)
	l.setHandler(l.object([]byte("two"), `"2"`, "Cache-Control", "max-age=60"))
	if a := l.get("/o"); a.body != "two" {
		t.Errorf("%q", a.body)
	}
	l.chill()
	l.reopen()
	if a := l.get("/o"); a.body != "two" {
		t.Errorf("%q: an old version is back", a.body)
	}
	if _, n := l.cache.Usage(); n != 1 {
		t.Errorf("%d versions", n)
	}
}

// Files and records are evicted in one order of use, also after a restart, and the
// disk does not fill with what was dropped.
func TestEvictionOfBothKinds(t *testing.T) {
	l := newLab(t, nil, func(c *Config) { c.MaxBytes = 7 * slice })
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		size := slice / 4
		if r.URL.Query().Has("big") {
			size = 2 * slice
		}
		l.object(content(size, 1), `"v"`, "Cache-Control", "max-age=60")(w, r)
	})
	has := func(key string) bool { _, ok := l.cache.Lookup(key); return ok }
	l.get("/1?big")
	for i := range 6 {
		l.get("/small/" + strconv.Itoa(i))
		l.chill()
	}
	l.get("/2?big")
	l.get("/1?big")
	l.get("/small/0")
	l.chill()
	l.reopen()
	l.get("/3?big") // makes more than 7 slices
	if !has("/small/0") || !has("/1?big") || !has("/2?big") || !has("/3?big") || has("/small/1") {
		t.Error("not the least recently used ones were evicted")
	}
	if bytes, _ := l.cache.Usage(); bytes > l.cache.cfg.MaxBytes {
		t.Errorf("%d bytes stored", bytes)
	}
}

// Many clients ask, purge and have versions chilled and replaced at the same time.
func TestSmallVersionsUnderLoad(t *testing.T) {
	l := newLab(t, nil, func(c *Config) { c.MaxBytes = 40 * slice })
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		l.object([]byte("body of "+r.URL.Path), `"v"`, "Cache-Control", "max-age=60")(w, r)
	})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 150 {
				path := fmt.Sprintf("/%d", (i*7+g)%20)
				if i%40 == 39 {
					if _, err := l.cache.Purge("/1*"); err != nil {
						t.Error(err)
					}
				}
				c := l.cache
				c.mu.Lock()
				c.hotBytes += maxHot
				c.chillLocked()
				c.hotBytes -= maxHot
				c.mu.Unlock()
				if a, err := l.try("GET", path); err != nil || a.body != "body of "+path {
					t.Errorf("%q, %v", a.body, err)
				}
			}
		})
	}
	wg.Wait()
	l.cache.mu.Lock()
	defer l.cache.mu.Unlock()
	var heat int64
	for e := l.cache.hot.Front(); e != nil; e = e.Next() {
		heat += e.Value.(*Version).heat()
	}
	if heat != l.cache.hotBytes {
		t.Errorf("%d bytes in memory, counted %d", heat, l.cache.hotBytes)
	}
}

// BenchmarkSmallHit is the cost of a small hit without the connection.
func BenchmarkSmallHit(b *testing.B) {
	u, err := url.Parse("http://127.0.0.1:1")
	if err != nil {
		b.Fatal(err)
	}
	tr := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, ContentLength: 10000, Body: &zeroBody{left: 10000},
			Header: http.Header{"Etag": {`"v"`}, "Cache-Control": {"max-age=86400"}, "Content-Type": {"text/plain"}},
		}, nil
	})
	c, err := New(Config{Origin: u, Dir: b.TempDir(), Transport: tr})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://edge/o", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.ServeHTTP(&nowhere{h: http.Header{}}, r)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type zeroBody struct{ left int }

func (z *zeroBody) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	z.left -= n
	return n, nil
}

func (*zeroBody) Close() error { return nil }

type nowhere struct{ h http.Header }

func (n *nowhere) Header() http.Header         { return n.h }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}
func (n *nowhere) Flush()                      {}
