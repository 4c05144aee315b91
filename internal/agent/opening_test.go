package agent

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFirstBytes: a download asks for the first bytes and then for the rest, where
// the server lets it, and otherwise for everything.
func TestFirstBytes(t *testing.T) {
	const first = "bytes=0-1048575"
	for _, tc := range []struct {
		name string
		size int
		set  func(s *site)
		want []string // Range of each request
	}{
		{"small", 1000, func(*site) {}, []string{first}},
		{"just that", firstBytes, func(*site) {}, []string{first}},
		{"one more", firstBytes + 1, func(*site) {}, []string{first, "bytes=1048576-1048576"}},
		{"large", 3 << 20, func(*site) {}, []string{first, "bytes=1048576-3145727"}},
		{"no ranges", 3 << 20, func(s *site) { s.whole = true }, []string{first}},
		{"small, no way to tell versions", 1000, func(s *site) { s.etag = "" }, []string{first}},
		{"no way to tell versions", 3 << 20, func(s *site) { s.etag = "" }, []string{first, ""}},
		{"weak", 3 << 20, func(s *site) { s.etag = `W/"one"` }, []string{first, ""}},
		{"empty", 0, func(s *site) { s.empty = true }, []string{first, ""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, tc.size)
			tc.set(s)
			file := filepath.Join(t.TempDir(), "f")
			if _, err := fetchTo(t, newEngine(t), Request{URL: s.url, File: file}); err != nil {
				t.Fatal(err)
			}
			wantFile(t, file, s.data)
			if !slices.Equal(s.asked, tc.want) {
				t.Errorf("asked for %q, want %q", s.asked, tc.want)
			}
		})
	}
}

// TestFirstBytesWithoutPeers: who wants no peers asks for everything.
func TestFirstBytesWithoutPeers(t *testing.T) {
	s := newSite(t, 3<<20)
	e, err := New(Config{Data: t.TempDir(), NoP2P: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := fetchTo(t, e, Request{URL: s.url, File: filepath.Join(t.TempDir(), "f")}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.asked, []string{""}) {
		t.Errorf("asked for %q", s.asked)
	}
}

// TestRestIsNotGathered: what the first response has is given before the rest is asked
// for, which there may be no need of by then.
func TestRestIsNotGathered(t *testing.T) {
	s := newSite(t, 3<<20)
	src := &source{client: http.DefaultClient, url: s.url, etag: `"one"`, size: 3 << 20}
	resp := &http.Response{ContentLength: fullRecord, Body: io.NopCloser(bytes.NewReader(s.data[:fullRecord]))}
	o := newOpening(t.Context(), src, resp, 0)
	defer o.Close()
	m := (&Download{}).newIntake()
	if b, err := m.read(o); !bytes.Equal(b, s.data[:fullRecord]) || err != nil || len(s.asked) > 0 {
		t.Errorf("%d bytes and error %v after requests for %q", len(b), err, s.asked)
	}
	rest := s.data[fullRecord:]
	for err := error(nil); err == nil; {
		var b []byte
		if b, err = m.read(o); !bytes.HasPrefix(rest, b) {
			t.Fatal("something else follows")
		}
		rest = rest[len(b):]
	}
	if len(rest) > 0 || !slices.Equal(s.asked, []string{"bytes=16384-3145727"}) {
		t.Errorf("%d bytes are missing after requests for %q", len(rest), s.asked)
	}
}

// TestChangedBehindFirstBytes: the rest of another version is not put behind the
// first bytes; that version is fetched instead.
func TestChangedBehindFirstBytes(t *testing.T) {
	s := newSite(t, 3<<20)
	s.next = random(2, 3<<20)
	file := filepath.Join(t.TempDir(), "f")
	if _, err := fetchTo(t, newEngine(t), Request{URL: s.url, File: file}); err != nil {
		t.Fatal(err)
	}
	wantFile(t, file, s.next)
}

// TestHeaderOfFirstBytes: users see the header of the object, not of a part of it.
func TestHeaderOfFirstBytes(t *testing.T) {
	s := newSite(t, 3<<20)
	e := newEngine(t)
	d, err := e.Download(t.Context(), Request{URL: s.url, File: filepath.Join(t.TempDir(), "f")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := d.Header(); h.Get("Content-Range") != "" || h.Get("Content-Length") != "3145728" || h.Get("ETag") != `"one"` {
		t.Errorf("header %v", h)
	}
}

// TestOddServers: what a single request brings, a download brings also where asking
// for a part, or for the rest, does not work.
func TestOddServers(t *testing.T) {
	data := random(3, 6<<20)
	serve := func(w http.ResponseWriter, r *http.Request, etag string) {
		w.Header().Set("ETag", etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	for _, tc := range []struct {
		name  string
		serve func(n int, w http.ResponseWriter, r *http.Request) // n is which request it is
	}{
		{"parts are capped", func(_ int, w http.ResponseWriter, r *http.Request) {
			var from, to int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err == nil {
				r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, min(to, from+(2<<20)-1)))
			}
			serve(w, r, `"one"`)
		}},
		{"every node has its own versions", func(n int, w http.ResponseWriter, r *http.Request) {
			serve(w, r, fmt.Sprintf(`"node %d"`, n%4))
		}},
		{"a date that parts do not repeat", func(_ int, w http.ResponseWriter, r *http.Request) {
			const date = "Mon, 02 Jan 2006 15:04:05 GMT"
			var from, to int
			_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
			if err != nil || r.Header.Get("If-Range") != date {
				at, _ := http.ParseTime(date)
				http.ServeContent(w, r, "", at, bytes.NewReader(data))
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[from : to+1])
		}},
		{"no Range, please", func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				http.Error(w, "no", http.StatusBadRequest)
				return
			}
			serve(w, r, `"one"`)
		}},
		{"no parts of the rest", func(_ int, w http.ResponseWriter, r *http.Request) {
			if rng := r.Header.Get("Range"); rng != "" && !strings.HasPrefix(rng, "bytes=0-") {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			serve(w, r, `"one"`)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/object" {
					http.NotFound(w, r)
					return
				}
				tc.serve(int(n.Add(1)), w, r)
			}))
			defer h.Close()
			for _, sequential := range []bool{false, true} {
				d, err := newEngine(t).Download(t.Context(), Request{URL: h.URL + "/object", File: filepath.Join(t.TempDir(), "f"), Sequential: sequential})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				if sequential {
					got := make([]byte, len(data))
					for at, err := 0, error(nil); err == nil && at < len(got); {
						var n int
						n, err = d.ReadAt(t.Context(), got[at:], int64(at))
						at += n
					}
					if !bytes.Equal(got, data) {
						t.Error("read in order it is something else")
					}
					continue
				}
				if r, err := d.Wait(t.Context()); err != nil || r.SHA256 != sha256.Sum256(data) {
					t.Errorf("%d bytes, %v", r.Size, err)
				}
			}
		})
	}
}
