package agent

import (
	"path/filepath"
	"slices"
	"testing"
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
