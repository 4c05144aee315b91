package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/cache/policy"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const slice = manifest.MinPieceSize

// sentRanges is what the origin was asked for, as ranges of an object of size.
func sentRanges(t *testing.T, reqs []*http.Request, size int) []policy.Range {
	t.Helper()
	var rs []policy.Range
	for _, r := range reqs {
		f := r.Header.Get("Range")
		if f == "" {
			rs = append(rs, policy.Range{Start: 0, End: int64(size)})
			continue
		}
		p, err := policy.ParseRange(f, int64(size))
		if err != nil || len(p) != 1 {
			t.Fatalf("origin was asked for %q: %v", f, err)
		}
		rs = append(rs, p[0])
	}
	return rs
}

func TestConcurrentClientsShareOneFill(t *testing.T) {
	data := content(8*slice+123, 1)
	l := newLab(t, nil, nil)
	gate := make(chan struct{})
	serve := l.object(data, `"v"`, "Cache-Control", "max-age=60")
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		<-gate
		serve(w, r)
	})
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			var a answer
			var err error
			want := data
			if i%3 == 0 {
				from := i * 1000
				want = data[from : from+5*slice]
				a, err = l.try("GET", "/o", "Range", rangeOf(from, from+5*slice))
			} else {
				a, err = l.try("GET", "/o")
			}
			if err != nil || a.body != string(want) {
				t.Errorf("client %d: %d bytes, %v", i, len(a.body), err)
			}
		})
	}
	eventually(t, "the first request", func() bool { return len(l.requests()) > 0 })
	close(gate)
	wg.Wait()
	if got := sentRanges(t, l.requests(), len(data)); len(got) != 1 {
		t.Errorf("origin was asked %d times: %v", len(got), got)
	}
}

func TestMissingRunIsOneRequest(t *testing.T) {
	data := content(8*slice, 2)
	l := newLab(t, nil, nil)
	hold := make(chan struct{})
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" { // the first response stops after one slice
			l.headerOf(w, data, `"v"`)
			w.Write(data[:slice])
			w.(http.Flusher).Flush()
			<-hold
			panic(http.ErrAbortHandler)
		}
		l.object(data, `"v"`)(w, r)
	})
	t.Cleanup(sync.OnceFunc(func() { close(hold) }))
	a := l.do("GET", "/o", "Range", rangeOf(3*slice+5, 7*slice-5))
	if a.body != string(data[3*slice+5:7*slice-5]) {
		t.Fatal("wrong bytes")
	}
	got := sentRanges(t, l.requests(), len(data))
	if len(got) != 2 || got[1] != (policy.Range{Start: 3 * slice, End: 7 * slice}) {
		t.Errorf("origin was asked for %v", got)
	}
	if v := l.requests()[1].Header.Get("If-Range"); v != `"v"` {
		t.Errorf("If-Range is %q", v)
	}
}

func (l *lab) headerOf(w http.ResponseWriter, data []byte, etag string) {
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Date", l.clock.now().UTC().Format(http.TimeFormat))
}

// A reader that wants the end of an object does not wait for its beginning.
func TestSeekAheadOfFill(t *testing.T) {
	data := content(64*slice, 3)
	l := newLab(t, nil, nil)
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			l.object(data, `"v"`)(w, r)
			return
		}
		l.headerOf(w, data, `"v"`)
		w.Write(data[:100])
		w.(http.Flusher).Flush()
		<-release
	})
	a := l.do("GET", "/o", "Range", "bytes=-10")
	if a.StatusCode != 206 || a.body != string(data[len(data)-10:]) {
		t.Fatalf("%s, %d bytes", a.Status, len(a.body))
	}
}

func TestFirstByteBeforeLast(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("length known %t", known), func(t *testing.T) {
			data := content(3*slice, 4)
			l := newLab(t, nil, nil)
			step := make(chan int)
			l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
				l.headerOf(w, data, `"v"`)
				if !known {
					w.Header().Del("Content-Length")
				}
				at := 0
				for n := range step {
					w.Write(data[at : at+n])
					w.(http.Flusher).Flush()
					at += n
				}
				w.Write(data[at:])
			})
			read := make([]io.ReadCloser, 3)
			step0 := sync.OnceFunc(func() { step <- 10 })
			for i := range read {
				done := make(chan struct{})
				go func() {
					defer close(done)
					resp, err := http.Get(l.edge.URL + "/o") //nolint:bodyclose // closed by the reader below
					if err != nil {
						t.Error(err)
						return
					}
					read[i] = resp.Body
				}()
				step0()
				<-done
				if read[i] == nil {
					t.FailNow()
				}
			}
			for i, r := range read {
				buf := make([]byte, 10)
				if _, err := io.ReadFull(r, buf); err != nil || !bytes.Equal(buf, data[:10]) {
					t.Fatalf("reader %d: %v", i, err)
				}
			}
			step <- slice
			for i, r := range read {
				buf := make([]byte, slice)
				if _, err := io.ReadFull(r, buf); err != nil || !bytes.Equal(buf, data[10:10+slice]) {
					t.Fatalf("reader %d: %v", i, err)
				}
			}
			close(step)
			for i, r := range read {
				rest, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(rest, data[10+slice:]) {
					t.Fatalf("reader %d: %d bytes, %v", i, len(rest), err)
				}
				r.Close()
			}
			if n := len(l.requests()); n != 1 {
				t.Errorf("origin was asked %d times", n)
			}
		})
	}
}

// A reader that does not read holds up neither the fill nor another reader.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	data := content(24<<20, 5)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	slow, err := http.Get(l.edge.URL + "/o")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	if a := l.get("/o"); a.body != string(data) {
		t.Fatal("wrong bytes for the fast reader")
	}
	rest, err := io.ReadAll(slow.Body)
	if err != nil || !bytes.Equal(rest, data) {
		t.Fatalf("slow reader: %d bytes, %v", len(rest), err)
	}
	if n := len(l.requests()); n != 1 {
		t.Errorf("origin was asked %d times", n)
	}
}

func TestFillGoesOnWhenClientLeaves(t *testing.T) {
	data := content(16*slice, 6)
	l := newLab(t, nil, nil)
	gate := make(chan struct{})
	l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		l.headerOf(w, data, `"v"`)
		w.Write(data[:slice])
		w.(http.Flusher).Flush()
		<-gate
		w.Write(data[slice:])
	})
	resp, err := http.Get(l.edge.URL + "/o")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	v, ok := l.cache.Lookup("/o")
	if !ok {
		t.Fatal("not stored")
	}
	eventually(t, "the client's leaving", func() bool { v.blob.mu.Lock(); defer v.blob.mu.Unlock(); return v.blob.readers == 0 })
	close(gate)
	eventually(t, "the whole object", v.Complete)
	if a := l.get("/o"); a.body != string(data) || !strings.Contains(a.Header.Get("Cache-Status"), "hit") {
		t.Errorf("%d bytes, Cache-Status %q", len(a.body), a.Header.Get("Cache-Status"))
	}
}

func TestFillNobodyWantsEnds(t *testing.T) {
	l := newLab(t, nil, func(c *Config) { c.Linger = time.Millisecond })
	gone := make(chan struct{})
	once := sync.OnceFunc(func() { close(gone) })
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		l.headerOf(w, make([]byte, 1<<30), `"v"`)
		defer once()
		block := make([]byte, slice/4)
		for {
			if _, err := w.Write(block); err != nil || r.Context().Err() != nil {
				return
			}
		}
	})
	resp, err := http.Get(l.edge.URL + "/o")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the fill goes on though nobody wants it")
	}
}

func TestResumeAfterShortBody(t *testing.T) {
	data := content(6*slice+7, 7)
	l := newLab(t, nil, nil)
	var mu sync.Mutex
	n := 0
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		first := n == 1
		mu.Unlock()
		if !first {
			l.object(data, `"v"`)(w, r)
			return
		}
		l.headerOf(w, data, `"v"`)
		w.Write(data[:2*slice+100])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if a := l.get("/o"); a.body != string(data) {
		t.Fatalf("%d bytes of %d", len(a.body), len(data))
	}
	got := sentRanges(t, l.requests(), len(data))
	if len(got) != 2 || got[1].Start != 2*slice {
		t.Errorf("origin was asked for %v", got)
	}
	checkManifest(t, l, "/o", data)
}

func checkManifest(t *testing.T, l *lab, key string, data []byte) {
	t.Helper()
	v, m, err := l.cache.WaitManifest(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := manifest.NewBuilder(int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	b.Write(data)
	want, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if m.ID() != want.ID() {
		t.Errorf("manifest of %s differs from the builder's", key)
	}
	if v.Manifest() == nil {
		t.Error("version has no manifest")
	}
}

// isCut reports that a response ended before its length.
func isCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || err != nil && strings.Contains(err.Error(), "EOF")
}

// Without a strong validator the rest cannot be asked for: the response is cut
// off and nothing is kept.
func TestShortBodyWithoutValidator(t *testing.T) {
	for _, known := range []bool{true, false} {
		data := content(3*slice, 8)
		l := newLab(t, nil, nil)
		broken := func(w http.ResponseWriter, _ *http.Request) {
			l.headerOf(w, data, `W/"v"`)
			if !known {
				w.Header().Del("Content-Length")
			}
			w.Write(data[:slice+100])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		l.setHandler(broken)
		a, err := l.try("GET", "/o")
		early := a.Response != nil && a.StatusCode == http.StatusBadGateway // nothing had been sent yet
		if !early && (!isCut(err) || !strings.HasPrefix(string(data), a.body)) {
			t.Errorf("length known %t: %d bytes, error %v", known, len(a.body), err)
		}
		eventually(t, "the version to go", func() bool { _, ok := l.cache.Lookup("/o"); return !ok })
		l.setHandler(l.object(data, `W/"v"`, "Cache-Control", "max-age=60"))
		if a := l.get("/o"); a.body != string(data) {
			t.Errorf("length known %t: later request got %d bytes", known, len(a.body))
		}
	}
}

func TestChangeMidFill(t *testing.T) {
	older, newer := content(6*slice, 9), content(6*slice, 10)
	longer := content(7*slice, 11)
	bare := func(l *lab, data []byte, etag string) http.HandlerFunc { // ignores If-Range
		return func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			l.object(data, etag)(w, r)
		}
	}
	for name, tc := range map[string]struct {
		later func(l *lab) http.HandlerFunc
		data  []byte
	}{
		"if-range answered with the new object": {func(l *lab) http.HandlerFunc { return l.object(newer, `"new"`) }, newer},
		"206 with another tag":                  {func(l *lab) http.HandlerFunc { return bare(l, newer, `"new"`) }, newer},
		"206 of another size":                   {func(l *lab) http.HandlerFunc { return bare(l, longer, `"old"`) }, longer},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil, nil)
			l.setHandler(func(w http.ResponseWriter, r *http.Request) {
				if len(l.requests()) > 1 {
					tc.later(l)(w, r)
					return
				}
				l.headerOf(w, older, `"old"`)
				w.Write(older[:slice+100])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			a, err := l.try("GET", "/o")
			if !isCut(err) {
				t.Errorf("error %v, want a cut", err)
			}
			if !strings.HasPrefix(string(older), a.body) {
				t.Error("the response mixes versions")
			}
			if a := l.get("/o"); a.body != string(tc.data) {
				t.Error("a later request does not get the new object")
			}
			checkManifest(t, l, "/o", tc.data)
		})
	}
}

// A change that is noticed before anything was sent is no error for the client.
func TestChangeBeforeFirstByte(t *testing.T) {
	older, newer := content(6*slice, 9), content(6*slice, 10)
	l := newLab(t, nil, func(c *Config) { c.Linger = time.Millisecond })
	l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		l.headerOf(w, older, `"old"`)
		w.Write(older[:slice])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	l.do("GET", "/o", "Range", "bytes=0-9")
	l.setHandler(l.object(newer, `"new"`))
	if a := l.do("GET", "/o", "Range", rangeOf(4*slice, 5*slice)); a.body != string(newer[4*slice:5*slice]) {
		t.Errorf("%s %q", a.Status, a.Header)
	}
}

// An origin without ranges is read through once more.
func TestOriginWithoutRanges(t *testing.T) {
	data := content(5*slice+9, 12)
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		l.headerOf(w, data, `"v"`)
		if len(l.requests()) > 1 {
			w.Write(data)
			return
		}
		w.Write(data[:2*slice+10])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	if a := l.get("/o"); a.body != string(data) {
		t.Fatalf("%d bytes", len(a.body))
	}
	if n := len(l.requests()); n != 2 {
		t.Errorf("origin was asked %d times", n)
	}
	checkManifest(t, l, "/o", data)
}

func TestUnknownLength(t *testing.T) {
	data := content(5*slice+9, 13)
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		for b := data; len(b) > 0; {
			n := min(len(b), 10000)
			w.Write(b[:n])
			w.(http.Flusher).Flush()
			b = b[n:]
		}
	})
	if a := l.get("/o"); a.body != string(data) {
		t.Fatalf("%d bytes", len(a.body))
	}
	checkManifest(t, l, "/o", data)
	a := l.do("GET", "/o", "Range", "bytes=-5")
	if a.StatusCode != 206 || a.body != string(data[len(data)-5:]) {
		t.Errorf("%s %q", a.Status, a.body)
	}
	if len(l.requests()) != 1 {
		t.Errorf("origin was asked %d times", len(l.requests()))
	}
}

func TestMultipart(t *testing.T) {
	data := content(3*slice, 14)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	a := l.do("GET", "/o", "Range", fmt.Sprintf("bytes=0-9,%d-%d,-7", slice-5, slice+5))
	if a.StatusCode != 206 {
		t.Fatal(a.Status)
	}
	if int64(len(a.body)) != a.ContentLength {
		t.Errorf("Content-Length %d, body %d", a.ContentLength, len(a.body))
	}
	parts := readParts(t, a)
	for i, want := range [][]byte{data[:10], data[slice-5 : slice+6], data[len(data)-7:]} {
		if i >= len(parts) || parts[i] != string(want) {
			t.Errorf("part %d is wrong", i)
		}
	}
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("%d-%d", i*10, i*10+1))
	}
	if a := l.do("GET", "/o", "Range", "bytes="+strings.Join(many, ",")); a.StatusCode != 416 {
		t.Errorf("%d parts: %s", len(many), a.Status)
	}
}
