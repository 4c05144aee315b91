package cache

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// reopen closes the cache and opens its directory anew.
func (l *lab) reopen(between ...func()) {
	l.t.Helper()
	cfg := l.cache.cfg
	cfg.Transport = nil
	l.edge.Close()
	if err := l.cache.Close(); err != nil {
		l.t.Fatal(err)
	}
	for _, do := range between {
		do()
	}
	l.open(cfg)
}

func (l *lab) dataFile(key string) string {
	l.t.Helper()
	v, ok := l.cache.Lookup(key)
	if !ok {
		l.t.Fatalf("%s is not stored", key)
	}
	return v.blob.path
}

// damage overwrites a few bytes of a stored object on the disk.
func (l *lab) damage(key string, at int64) {
	l.t.Helper()
	f, err := os.OpenFile(l.dataFile(key), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("garbage"), at)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// files counts what is in the cache's directory, but for the pack.
func files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == packFolder {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRestart(t *testing.T) {
	data := content(5*slice+1, 30)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60", "Vary", "Foo"))
	l.get("/o", "Foo", "1")
	v, _ := l.cache.match("/o", http.Header{"Foo": {"1"}})
	eventually(t, "the manifest", func() bool { return v.Manifest() != nil })
	before := v.Manifest().ID()
	l.cache.release(v)
	l.reopen()
	l.clock.advance(10 * time.Second)
	a := l.get("/o", "Foo", "1")
	if a.body != string(data) || a.Header.Get("Age") != "10" || a.Header.Get("ETag") != `"v"` {
		t.Errorf("%s, %d bytes, %v", a.Status, len(a.body), a.Header)
	}
	v, _ = l.cache.match("/o", http.Header{"Foo": {"1"}})
	defer l.cache.release(v)
	if m := v.Manifest(); m == nil || m.ID() != before {
		t.Error("the manifest is not there after a restart")
	}
	if bytes, n := l.cache.Usage(); bytes != int64(len(data)) || n != 1 {
		t.Errorf("%d bytes in %d versions", bytes, n)
	}
	if n := len(l.requests()); n != 1 {
		t.Errorf("origin was asked %d times", n)
	}
	l.get("/o", "Foo", "2")
	if n := len(l.requests()); n != 2 {
		t.Error("another variant was taken from the cache")
	}
}

// After a restart a damaged slice is fetched again, and only that one.
func TestRestartWithDamage(t *testing.T) {
	data := content(5*slice+1, 31)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	l.get("/o")
	checkManifest(t, l, "/o", data)
	l.damage("/o", 3*slice+77)
	l.reopen()
	if a := l.get("/o"); a.body != string(data) {
		t.Error("wrong bytes")
	}
	got := sentRanges(t, l.requests()[1:], len(data))
	if len(got) != 1 || got[0].Start != 3*slice || got[0].End != 4*slice {
		t.Errorf("origin was asked for %v", got)
	}
	checkManifest(t, l, "/o", data)
}

// What the origin sends for a slice that was known must be what it was.
func TestRefetchedSliceMustAgree(t *testing.T) {
	data := content(5*slice+1, 32)
	l := newLab(t, nil, nil)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	l.get("/o")
	checkManifest(t, l, "/o", data)
	path := l.dataFile("/o")
	if err := os.WriteFile(path+".x", nil, 0o600); err != nil { // belongs to nothing: removed
		t.Fatal(err)
	}
	l.damage("/o", 3*slice+77)
	l.reopen()
	if _, err := os.Stat(path + ".x"); !errors.Is(err, os.ErrNotExist) {
		t.Error("a stray file stays")
	}
	l.setHandler(l.object(content(5*slice+1, 33), `"v"`, "Cache-Control", "max-age=60"))
	if _, err := l.try("GET", "/o"); !isCut(err) {
		t.Errorf("error %v, want a cut", err)
	}
	if a := l.get("/o"); a.body != string(content(5*slice+1, 33)) {
		t.Error("a later request does not get the new object")
	}
}

func TestRestartWithPart(t *testing.T) {
	data := content(6*slice, 34)
	l := newLab(t, nil, nil)
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		if len(l.requests()) > 1 {
			l.object(data, `"v"`)(w, r)
			return
		}
		l.headerOf(w, data, `"v"`)
		w.Write(data[:2*slice+5])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	l.do("GET", "/o", "Range", rangeOf(0, 2*slice))
	l.reopen()
	if a := l.get("/o"); a.body != string(data) {
		t.Error("wrong bytes")
	}
	got := sentRanges(t, l.requests(), len(data))
	if len(got) != 2 || got[1].Start != 2*slice {
		t.Errorf("origin was asked for %v", got)
	}
	checkManifest(t, l, "/o", data)
}

func TestRestartWithRubbish(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(l.object(content(slice+1, 35), `"v"`, "Cache-Control", "max-age=60"))
	l.get("/a")
	l.get("/b")
	dir := l.cache.cfg.Dir
	record, data := strings.TrimSuffix(l.dataFile("/a"), ".data")+".json", l.dataFile("/b")
	l.reopen(func() { // when all is written
		if n := files(t, dir); n != 5 {
			t.Fatalf("%d files, want two of each and the order of use", n)
		}
		if err := errors.Join(os.WriteFile(record, []byte("{"), 0o600), os.Truncate(data, 100)); err != nil {
			t.Fatal(err)
		}
	})
	if bytes, n := l.cache.Usage(); bytes != 0 || n != 0 {
		t.Errorf("%d bytes in %d versions", bytes, n)
	}
	if n := files(t, dir); n != 1 { // the order of use
		t.Errorf("%d files are left", n)
	}
}

func TestEviction(t *testing.T) {
	data := content(2*slice, 36)
	l := newLab(t, nil, func(c *Config) { c.MaxBytes = 7 * slice })
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	for _, p := range []string{"/a", "/b", "/c", "/a", "/d"} { // b is the least recently used
		l.get(p)
		eventually(t, p, func() bool { v, ok := l.cache.Lookup(p); return ok && v.Complete() })
	}
	for p, want := range map[string]bool{"/a": true, "/b": false, "/c": true, "/d": true} {
		if _, ok := l.cache.Lookup(p); ok != want {
			t.Errorf("%s stored: %t", p, ok)
		}
	}
	bytes, n := l.cache.Usage()
	if bytes != 6*slice || n != 3 {
		t.Errorf("%d bytes in %d versions", bytes, n)
	}
	l.reopen() // the order of use survives
	l.get("/e")
	if _, ok := l.cache.Lookup("/c"); ok {
		t.Error("/c was used least recently and is still stored")
	}
	if a := l.get("/big"); a.body != string(data) {
		t.Error("wrong bytes")
	}
}

// What is being read is not evicted; what does not fit is streamed past.
func TestEvictionSparesWhatIsRead(t *testing.T) {
	small, large := content(2*slice, 37), content(9*slice, 38)
	l := newLab(t, nil, func(c *Config) { c.MaxBytes = 4 * slice })
	gate := make(chan struct{})
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/held":
			l.headerOf(w, small, `"h"`)
			w.Write(small[:10])
			w.(http.Flusher).Flush()
			<-gate
			w.Write(small[10:])
		case "/large":
			l.object(large, `"l"`, "Cache-Control", "max-age=60")(w, r)
		case "/stream":
			w.Header().Set("Cache-Control", "max-age=60")
			w.(http.Flusher).Flush()
			w.Write(large)
		default:
			l.object(small, `"s"`, "Cache-Control", "max-age=60")(w, r)
		}
	})
	held, err := http.Get(l.edge.URL + "/held")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/a", "/b", "/c"} {
		if a := l.get(p); a.body != string(small) {
			t.Errorf("%s: wrong bytes", p)
		}
	}
	if a := l.get("/large"); a.body != string(large) || !strings.Contains(a.Header.Get("Cache-Status"), "disk") {
		t.Errorf("large: %d bytes, Cache-Status %q", len(a.body), a.Header.Get("Cache-Status"))
	}
	if a := l.get("/stream"); a.body != string(large) {
		t.Errorf("stream: %d bytes", len(a.body))
	}
	close(gate)
	b, err := io.ReadAll(held.Body)
	if err != nil || string(b) != string(small) {
		t.Errorf("held: %d bytes, %v", len(b), err)
	}
	held.Body.Close()
	if bytes, _ := l.cache.Usage(); bytes > 4*slice {
		t.Errorf("%d bytes stored", bytes)
	}
}

func TestPurge(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "with files": slice + 1} {
		t.Run(name, func(t *testing.T) { purge(t, size) })
	}
}

func purge(t *testing.T, size int) {
	l := newLab(t, nil, nil)
	l.setHandler(l.object(content(size, 39), `"v"`, "Cache-Control", "max-age=60"))
	for _, p := range []string{"/d/a", "/d/b", "/d/b?q", "/e"} {
		l.get(p)
	}
	for _, tc := range []struct {
		key string
		n   int
	}{{"/none", 0}, {"/e", 1}, {"/d/b*", 2}, {"*", 1}, {"*", 0}} {
		if n, err := l.cache.Purge(tc.key); err != nil || n != tc.n {
			t.Errorf("purge of %q: %d, %v, want %d", tc.key, n, err, tc.n)
		}
	}
	dir := l.cache.cfg.Dir
	eventually(t, "the files to go", func() bool { return files(t, dir) == 0 })
	if bytes, n := l.cache.Usage(); bytes != 0 || n != 0 {
		t.Errorf("%d bytes in %d versions", bytes, n)
	}
	l.reopen()
	l.get("/e")
	if n := len(l.requests()); n != 5 {
		t.Errorf("origin was asked %d times", n)
	}
}

// The answer to a request that left before a purge is not stored.
func TestPurgeDuringFetch(t *testing.T) {
	l := newLab(t, nil, nil)
	in, gate := make(chan struct{}, 2), make(chan struct{})
	l.setHandler(func(w http.ResponseWriter, r *http.Request) {
		in <- struct{}{}
		<-gate
		l.object([]byte("answer"), `"v"`, "Cache-Control", "max-age=60")(w, r)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if a, err := l.try("GET", "/o"); err != nil || a.body != "answer" {
			t.Errorf("%q, %v", a.body, err)
		}
	}()
	<-in
	if _, err := l.cache.Purge("/o"); err != nil {
		t.Fatal(err)
	}
	close(gate)
	<-done
	if _, ok := l.cache.Lookup("/o"); ok {
		t.Error("the old answer is stored")
	}
	dir := l.cache.cfg.Dir
	eventually(t, "the files to go", func() bool { return files(t, dir) == 0 })
}

// smallDisk mounts a file system of size on a directory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs Linux and root")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", dir, err, out)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	data := content(40*slice, 40) // 2.5 MiB
	for name, etag := range map[string]string{"resumable": `"v"`, "not resumable": `W/"v"`, "of unknown length": ""} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, "1m")
			l := newLab(t, nil, func(c *Config) { c.Dir = dir })
			l.setHandler(func(w http.ResponseWriter, r *http.Request) {
				if etag == "" {
					w.Header().Set("Cache-Control", "max-age=60")
					w.(http.Flusher).Flush()
					w.Write(data)
					return
				}
				l.object(data, etag, "Cache-Control", "max-age=60")(w, r)
			})
			for range 2 {
				if a := l.get("/o"); a.body != string(data) {
					t.Errorf("%s, %d bytes of %d", a.Status, len(a.body), len(data))
				}
			}
		})
	}
}

func TestReadOnlyDisk(t *testing.T) {
	l := newLab(t, nil, nil)
	data := content(2*slice, 41)
	l.setHandler(l.object(data, `"v"`, "Cache-Control", "max-age=60"))
	// A file where the folders should be: nothing can be created.
	if err := os.RemoveAll(l.cache.cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.cache.cfg.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := l.get("/o")
	if a.body != string(data) || !strings.Contains(a.Header.Get("Cache-Status"), "detail=disk") {
		t.Errorf("%s, %d bytes, Cache-Status %q", a.Status, len(a.body), a.Header.Get("Cache-Status"))
	}
	os.Remove(l.cache.cfg.Dir)
	if err := os.MkdirAll(l.cache.cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if a := l.get("/o"); a.body != string(data) {
		t.Error("wrong bytes")
	}
}
