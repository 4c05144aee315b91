package dir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandem-cdn/tandem/internal/filehash"
)

// A response that was begun with one version of a file never ends as if it were
// whole with bytes of another.
func TestChangeWhileSent(t *testing.T) {
	const n = 64 << 20 // more than socket buffers hold
	for name, change := range map[string]func(path string) error{
		"rewritten": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(bytes.Repeat([]byte{0xee}, 1<<20), n-1<<20)
			return err
		},
		"truncated": func(path string) error { return os.Truncate(path, n/2) },
	} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			put(t, tmp, map[string][]byte{"f": make([]byte, n)})
			d := open(t, Config{Path: tmp})
			resp := begin(t, serve(t, d)+"/f")
			defer resp.Body.Close()
			if err := change(filepath.Join(tmp, "f")); err != nil {
				t.Fatal(err)
			}
			got, err := io.Copy(io.Discard, resp.Body)
			if err == nil {
				t.Fatalf("the response ended well after %d bytes", got)
			}
		})
	}
}

// A file that is replaced by another under its name, as careful programs do, is
// sent to its end.
func TestReplaceWhileSent(t *testing.T) {
	const n = 64 << 20
	tmp := t.TempDir()
	put(t, tmp, map[string][]byte{"f": make([]byte, n), "g": random(100)})
	d := open(t, Config{Path: tmp})
	resp := begin(t, serve(t, d)+"/f")
	defer resp.Body.Close()
	if err := os.Rename(filepath.Join(tmp, "g"), filepath.Join(tmp, "f")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.Copy(io.Discard, resp.Body); err != nil || got != n {
		t.Errorf("%d bytes of %d: %v", got, n, err)
	}
}

func begin(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// A file that does not stand still gets no manifest.
func TestNoManifestOfMovingFile(t *testing.T) {
	tmp := t.TempDir()
	path := filepath.Join(tmp, "f")
	put(t, tmp, map[string][]byte{"f": random(8 << 20)})
	d := open(t, Config{Path: tmp})
	ctx, cancel := context.WithCancel(t.Context())
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for i := byte(0); ctx.Err() == nil; i++ {
			if err := os.WriteFile(path, bytes.Repeat([]byte{i}, 8<<20), 0o600); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	v, err := d.Manifest(t.Context(), "/f")
	cancel()
	<-writing
	if err == nil {
		t.Errorf("manifest of %d bytes of a file being written", v.Size)
	} else if !errors.Is(err, filehash.ErrChanged) {
		t.Errorf("error is %v", err)
	}
	if v, err := d.Manifest(t.Context(), "/f"); err != nil || v.Manifest == nil {
		t.Errorf("no manifest once it stands still: %v", err)
	}
}

func TestManifestWaitEnds(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, map[string][]byte{"f": random(1 << 20)})
	d := open(t, Config{Path: tmp})
	for range maxHashing { // every slot taken
		d.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Manifest(ctx, "/f"); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	<-d.hashing
	if _, err := d.Manifest(t.Context(), "/f"); err != nil {
		t.Fatalf("the work did not go on: %v", err)
	}
}

func TestPurge(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, map[string][]byte{"a/x": random(10), "a/y": random(10), "b": random(10)})
	d := open(t, Config{Path: tmp, Cache: t.TempDir()})
	known := func(path string) bool { v, err := d.Lookup(path); return err == nil && v.Manifest != nil }
	for _, p := range []string{"/a/x", "/a/y", "/b"} {
		if _, err := d.Manifest(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.Purge("/a/x"); n != 1 || err != nil || known("/a/x") || !known("/a/y") {
		t.Errorf("purge of one: %d, %v", n, err)
	}
	if n, err := d.Purge("/a/*"); n != 1 || err != nil || known("/a/y") || !known("/b") {
		t.Errorf("purge of a folder: %d, %v", n, err)
	}
	if n, err := d.Purge("/none"); n != 0 || err != nil {
		t.Errorf("purge of nothing: %d, %v", n, err)
	}
	if _, err := d.Purge("nonsense"); err == nil {
		t.Error("purge of nonsense is no error")
	}
}
