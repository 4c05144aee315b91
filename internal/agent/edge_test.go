package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// realEdge serves the files given by name and content, and returns its URL and
// the count of object requests but those for the first byte.
func realEdge(t *testing.T, files map[string][]byte) (base string, gets *atomic.Int64) {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	e, err := edge.New(edge.Config{Origin: dir, Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	gets = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/.well-known/") && r.Header.Get("Range") != "bytes=0-0" {
			gets.Add(1)
		}
		e.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.URL, gets
}

// slow is an engine whose downloads take a while.
func slow(t *testing.T) *Engine {
	t.Helper()
	e, err := New(Config{Data: t.TempDir(), DownloadLimit: 4 << 20})
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

// until polls for something that happens soon.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%s does not happen", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// TestSameObjectTwice downloads one object under two names, at once, with one
// engine: only one of them can be the member of the swarm.
func TestSameObjectTwice(t *testing.T) {
	data := random(4, 3<<20)
	base, _ := realEdge(t, map[string][]byte{"a": data, "b": data})
	e := slow(t)
	var ds []*Download
	for _, name := range []string{"a", "b", "a"} {
		d, err := e.Download(t.Context(), Request{URL: base + "/" + name, File: filepath.Join(t.TempDir(), name)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		ds = append(ds, d)
	}
	first := Result{}
	for i, d := range ds {
		r, err := d.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, r.File, data)
		if i == 0 {
			first = r
		}
		if r.Object == (manifest.ObjectID{}) || r.Object != first.Object || r.SHA256 != first.SHA256 {
			t.Errorf("object %v, the first has %v", r.Object, first.Object)
		}
	}
}

// TestResumeWithManifest interrupts a download of an object with a manifest and
// goes on with another engine.
func TestResumeWithManifest(t *testing.T) {
	data := random(5, 6<<20)
	base, _ := realEdge(t, map[string][]byte{"a": data})
	file := filepath.Join(t.TempDir(), "a")
	e := slow(t)
	d, err := e.Download(t.Context(), Request{URL: base + "/a", File: file})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "progress with a manifest", func() bool {
		p := d.Progress()
		return p.Done > 2<<20 && p.Object != (manifest.ObjectID{})
	})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := fetchTo(t, newEngine(t), Request{URL: base + "/a", File: file, Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, file, data)
	if r.FromDisk < 2<<20 || r.FromDisk+r.FromEdge != r.Size {
		t.Errorf("%d from disk, %d from the edge of %d", r.FromDisk, r.FromEdge, r.Size)
	}
}

// TestSeedTellsWhyNot shares files that are and are not what the URL has now.
func TestSeedTellsWhyNot(t *testing.T) {
	data := random(6, 2<<20)
	base, gets := realEdge(t, map[string][]byte{"a": data})
	dir := t.TempDir()
	good, short := filepath.Join(dir, "good"), filepath.Join(dir, "short")
	for file, b := range map[string][]byte{good: data, short: data[1:]} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := newEngine(t)
	for _, tc := range []struct {
		url, file string
		want      error
	}{
		{base + "/a", good, nil},
		{base + "/a", short, ErrChanged},
		{base + "/a", filepath.Join(dir, "none"), ErrDisk},
		{base + "/none", good, ErrNotFound},
	} {
		d, err := e.Seed(t.Context(), Request{URL: tc.url, File: tc.file})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		r, err := d.Wait(ctx)
		cancel()
		if !errors.Is(err, tc.want) {
			t.Errorf("%s as %s: error %v, want %v", filepath.Base(tc.file), tc.url, err, tc.want)
		}
		if err == nil && (r.Object == (manifest.ObjectID{}) || r.FromDisk != r.Size) {
			t.Errorf("result %+v", r)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if gets.Load() != 0 {
		t.Errorf("%d downloads to share", gets.Load())
	}
}

// TestEdgeFileChanges replaces an object while it is downloaded: the file is of
// one version.
func TestEdgeFileChanges(t *testing.T) {
	one, two := random(7, 4<<20), random(8, 4<<20)
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write := func(b []byte, age time.Duration) {
		if err := errors.Join(os.WriteFile(path+".new", b, 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Now().Add(-age), time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	write(one, time.Hour)
	e, err := edge.New(edge.Config{Origin: dir, Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(e.Handler())
	t.Cleanup(func() {
		s.Close()
		_ = e.Close()
	})
	file := filepath.Join(t.TempDir(), "a")
	d, err := slow(t).Download(t.Context(), Request{URL: s.URL + "/a", File: file})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	until(t, "progress", func() bool { return d.Progress().Done > 1<<20 })
	write(two, time.Minute)
	r, err := d.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(one) && string(got) != string(two) {
		t.Error("the file is of neither version")
	}
	if r.Size != int64(len(got)) {
		t.Errorf("size %d, the file has %d", r.Size, len(got))
	}
}
