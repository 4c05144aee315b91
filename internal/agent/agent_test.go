package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// site is a web server with one object, and habits.
type site struct {
	mu      sync.Mutex
	data    []byte
	etag    string
	header  map[string]string
	cut     int  // bytes after which the first response breaks off, 0: none
	whole   bool // no ranges
	deaf    bool // does not know If-Range
	chunked bool
	hold    chan struct{} // the well-known document waits for it
	empty   bool          // answers 416 to any range, as some do for what is empty
	next    []byte        // another version from the second response on
	asked   []string      // Range of each request
	url     string
}

func newSite(t *testing.T, n int) *site {
	s := &site{data: random(1, n), etag: `"one"`}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.url = h.URL + "/object"
	return s
}

// change puts another version in place.
func (s *site) change(data []byte, etag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.etag = data, etag
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/object" {
		if s.hold != nil {
			select {
			case <-s.hold:
			case <-r.Context().Done():
			}
		}
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	data, etag, cut := s.data, s.etag, s.cut
	s.cut = 0
	if s.next != nil {
		s.data, s.etag = s.next, `"next"`
	}
	s.asked = append(s.asked, r.Header.Get("Range"))
	s.mu.Unlock()
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	for k, v := range s.header {
		w.Header().Set(k, v)
	}
	switch {
	case s.chunked:
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(data[len(data)/2:])
		return
	case s.deaf:
		r.Header.Del("If-Range")
	}
	if s.whole {
		r.Header.Del("Range")
	}
	if s.empty && r.Header.Get("Range") != "" {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	if cut > 0 {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:cut])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func newEngine(t *testing.T) *Engine {
	e, err := New(Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// fetchTo downloads the site's object to file.
func fetchTo(t *testing.T, e *Engine, r Request) (Result, error) {
	t.Helper()
	d, err := e.Download(t.Context(), r)
	if err != nil {
		return Result{}, err
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return d.Wait(ctx)
}

func wantFile(t *testing.T, file string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, data) {
		t.Errorf("%d other bytes than the server's %d", len(got), len(data))
	}
	for _, suffix := range []string{".tandem-part", ".tandem-state"} {
		if _, err := os.Stat(file + suffix); err == nil {
			t.Errorf("%s is left", suffix)
		}
	}
}

func TestPlainDownload(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int
		set  func(s *site)
	}{
		{"small", 1000, func(*site) {}},
		{"empty", 0, func(*site) {}},
		{"large", 3<<20 + 1, func(*site) {}},
		{"chunked", 100_000, func(s *site) { s.chunked = true }},
		{"breaks off", 3 << 20, func(s *site) { s.cut = 1 << 20 }},
		{"breaks off, no ranges", 3 << 20, func(s *site) { s.cut, s.whole = 1<<20, true }},
		{"breaks off, by date", 3 << 20, func(s *site) {
			s.cut, s.etag = 1<<20, ""
			s.header = map[string]string{"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, tc.size)
			tc.set(s)
			file := filepath.Join(t.TempDir(), "f")
			r, err := fetchTo(t, newEngine(t), Request{URL: s.url, File: file})
			if err != nil {
				t.Fatal(err)
			}
			wantFile(t, file, s.data)
			if r.Size != int64(tc.size) || r.SHA256 != sha256.Sum256(s.data) || r.FromEdge != r.Size {
				t.Errorf("result %+v", r)
			}
		})
	}
}

func TestErrorsHaveCauses(t *testing.T) {
	s := newSite(t, 1000)
	sum := sha256.Sum256([]byte("other"))
	s.header = map[string]string{"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"}
	base := strings.TrimSuffix(s.url, "/object")
	status := func(code int) string {
		h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(h.Close)
		return h.URL + "/x"
	}
	secure := httptest.NewUnstartedServer(s)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t)
	for _, tc := range []struct {
		name, url, file string
		want            error
	}{
		{"scheme", "ftp://example.net/x", "f", ErrURL},
		{"no host", "http:///x", "f", ErrURL},
		{"missing", base + "/missing", "f", ErrNotFound},
		{"gone", status(410), "f", ErrNotFound},
		{"denied", status(403), "f", ErrDenied},
		{"broken", status(500), "f", ErrServer},
		{"half without asking", status(206), "f", ErrServer},
		{"not modified without asking", status(304), "f", ErrServer},
		{"nobody there", "http://127.0.0.1:1/x", "f", ErrNetwork},
		{"certificate", secure.URL + "/object", "f", ErrTLS},
		{"file exists", s.url, there, ErrExists},
		{"no directory", s.url, filepath.Join(dir, "no", "f"), ErrDisk},
		{"file for a directory", s.url, filepath.Join(there, "f"), ErrDisk},
		{"name too long", s.url, filepath.Join(dir, strings.Repeat("x", 300)), ErrDisk},
		{"digest", s.url, filepath.Join(dir, "g"), ErrVerify},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := tc.file
			if file == "f" {
				file = filepath.Join(t.TempDir(), "f")
			}
			_, err := fetchTo(t, e, Request{URL: tc.url, File: file})
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if fi, err := os.Lstat(file); err == nil && fi.Size() > 0 {
				t.Error("a file is there")
			}
		})
	}
}

// interrupted leaves a partial download of n bytes at file.
func interrupted(t *testing.T, s *site, file string, n int) {
	t.Helper()
	e := newEngine(t)
	s.mu.Lock()
	s.cut = n
	s.mu.Unlock()
	d, err := e.Download(t.Context(), Request{URL: s.url, File: file})
	if err != nil {
		t.Fatal(err)
	}
	for d.Progress().Done < int64(n) {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("no progress")
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestResumePlain(t *testing.T) {
	const size, part = 2 << 20, 1<<20 + 5
	other := random(2, size)
	for _, tc := range []struct {
		name   string
		change func(s *site)
		kept   int64
	}{
		{"same", func(*site) {}, part},
		{"whole already", func(s *site) { s.change(s.data[:part], s.etag) }, 0},
		{"other version", func(s *site) { s.change(other, `"two"`) }, 0},
		{"other version, If-Range unknown", func(s *site) { s.deaf = true; s.change(other, `"two"`) }, 0},
		{"no ranges", func(s *site) { s.whole = true }, 0},
		{"shorter now", func(s *site) { s.change(other[:1000], `"two"`) }, 0},
		{"shorter now, If-Range unknown", func(s *site) { s.deaf = true; s.change(other[:1000], `"two"`) }, 0},
		{"empty now", func(s *site) { s.change(nil, `"two"`) }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, size)
			file := filepath.Join(t.TempDir(), "f")
			interrupted(t, s, file, part)
			tc.change(s)
			r, err := fetchTo(t, newEngine(t), Request{URL: s.url, File: file, Resume: true})
			if err != nil {
				t.Fatal(err)
			}
			wantFile(t, file, s.data)
			if r.FromDisk != tc.kept || r.FromEdge != int64(len(s.data))-tc.kept {
				t.Errorf("%d bytes from disk and %d from the edge, want %d from disk", r.FromDisk, r.FromEdge, tc.kept)
			}
		})
	}
}

// TestResumeFailsAndLetsGo checks that a resume that the server refuses leaves
// the partial file to the next one, in the same process.
func TestResumeFailsAndLetsGo(t *testing.T) {
	s := newSite(t, 2<<20)
	file := filepath.Join(t.TempDir(), "f")
	interrupted(t, s, file, 1<<20)
	e := newEngine(t)
	good := s.url
	dead := httptest.NewServer(http.NotFoundHandler())
	at := strings.TrimPrefix(dead.URL, "http://")
	dead.Close()
	proxied, err := New(Config{Data: t.TempDir(), HTTP: &http.Client{Transport: rewrite(at)}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxied.Close() }()
	if _, err := fetchTo(t, proxied, Request{URL: good, File: file, Resume: true}); !errors.Is(err, ErrNetwork) {
		t.Errorf("error %v, want %v", err, ErrNetwork)
	}
	if _, err := fetchTo(t, e, Request{URL: good, File: file, Resume: true}); err != nil {
		t.Error(err)
	}
	wantFile(t, file, s.data)
}

// rewrite sends every request to another host.
type rewrite string

func (to rewrite) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = string(to)
	return http.DefaultTransport.RoundTrip(r)
}

// TestReaderNeverGetsTwoVersions changes the object while it is read.
func TestReaderNeverGetsTwoVersions(t *testing.T) {
	s := newSite(t, 2<<20)
	s.cut = 1 << 20
	e := newEngine(t)
	d, err := e.Download(t.Context(), Request{URL: s.url, Sequential: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	got := make([]byte, 0, 2<<20)
	buf := make([]byte, 64<<10)
	for {
		n, err := d.ReadAt(t.Context(), buf, int64(len(got)))
		if len(got) == 0 {
			s.change(random(2, 2<<20), `"two"`)
		}
		got = append(got, buf[:n]...)
		if err != nil {
			if !errors.Is(err, ErrChanged) {
				t.Errorf("error %v, want %v", err, ErrChanged)
			}
			break
		}
	}
	if !bytes.Equal(got, random(1, 2<<20)[:len(got)]) {
		t.Error("bytes of two versions")
	}
}

// TestReadWhileManifestIsSought has the response break off while it is not known
// yet whether there is a manifest.
func TestReadWhileManifestIsSought(t *testing.T) {
	s := newSite(t, 2<<20)
	s.cut, s.hold = 1<<20, make(chan struct{})
	e := newEngine(t)
	d, err := e.Download(t.Context(), Request{URL: s.url, Sequential: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	var got []byte
	for err == nil {
		var n int
		buf := make([]byte, 1<<20)
		n, err = d.ReadAt(t.Context(), buf, int64(len(got)))
		got = append(got, buf[:n]...)
	}
	if !errors.Is(err, io.EOF) || !bytes.Equal(got, s.data) {
		t.Errorf("read %d of %d bytes, error %v", len(got), len(s.data), err)
	}
}

func TestCloseAtAnyMoment(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Length", "2000000")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	for _, path := range []string{"/head", "/body"} {
		e, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Download(t.Context(), Request{URL: silent.URL + path})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := d.Wait(ctx); !errors.Is(err, ErrInterrupted) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want %v and the context's", err, ErrInterrupted)
		}
		cancel()
		began := time.Now()
		if err := errors.Join(d.Close(), d.Close(), e.Close()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: closing took %v", path, took)
		}
		if _, err := d.Wait(t.Context()); !errors.Is(err, ErrInterrupted) {
			t.Errorf("error %v, want %v", err, ErrInterrupted)
		}
		if _, err := os.Stat(e.data); err == nil {
			t.Error("the temporary directory is left")
		}
		if _, err := e.Download(t.Context(), Request{URL: silent.URL}); !errors.Is(err, ErrInterrupted) {
			t.Errorf("after Close: error %v, want %v", err, ErrInterrupted)
		}
	}
}

// TestHostIsAskedForOthersToo has the one who asks for a host's document give up
// while another waits for it.
func TestHostIsAskedForOthersToo(t *testing.T) {
	first := make(chan struct{})
	var asked atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			close(first)
			<-r.Context().Done()
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(h.Close)
	hosts := newHosts()
	u, err := parseURL(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	answers := make(chan error, 2)
	go func() {
		_, err := hosts.get(ctx, http.DefaultClient, u)
		answers <- err
	}()
	<-first
	go func() {
		_, err := hosts.get(t.Context(), http.DefaultClient, u)
		answers <- err
	}()
	time.AfterFunc(50*time.Millisecond, giveUp)
	<-answers
	if err := <-answers; errors.Is(err, context.Canceled) {
		t.Errorf("error %v of somebody else's", err)
	}
}
