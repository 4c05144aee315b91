package e2e

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/store"
)

// An interrupt leaves what a later -C continues, and says so.
func TestInterruptedClientResumes(t *testing.T) {
	t.Parallel()
	const size = 16 * mib
	path := file(t, "a.bin", size)
	url, _ := serve(t, filepath.Dir(path))
	d := get(t, url+"/a.bin", "--limit-rate", "4M")
	d.reached(t, size, 0.3)
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Skip("no interrupts on this system:", err)
	}
	if code := d.wait(t); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if !strings.Contains(d.stderr.String(), "tandem get -C") {
		t.Errorf("it does not say how to continue: %q", d.stderr)
	}
	if o := getTo(t, d.file, url+"/a.bin", "-C").done(t, read(t, path)); o.fromDisk() < size/4 {
		t.Errorf("only %d of %d bytes were kept", o.fromDisk(), size)
	}
}

// Losing control in the middle is not noticed by those who download.
func TestControlDies(t *testing.T) {
	t.Parallel()
	const size = 24 * mib
	path := file(t, "a.bin", size)
	want := read(t, path)
	url, _, control := cell(t, filepath.Dir(path))
	seed(t, url+"/a.bin", want)
	clients := []*download{
		get(t, url+"/a.bin", "--limit-rate", "6M", "--linger", "1h"),
		get(t, url+"/a.bin", "--limit-rate", "6M", "--linger", "1h"),
	}
	for _, d := range clients {
		d.reached(t, size, 0.2)
	}
	control.kill()
	for _, d := range clients {
		o := d.done(t, want)
		if o.FromPeers == 0 {
			t.Error("nothing from peers")
		}
	}
	// Who comes now finds no peers and does not mind.
	get(t, url+"/a.bin").done(t, want)
}

// Once the swarm is complete, those who are in it need the edge no more.
func TestEdgeDies(t *testing.T) {
	t.Parallel()
	const size = 24 * mib
	path := file(t, "a.bin", size)
	want := read(t, path)
	url, edge, _ := cell(t, filepath.Dir(path))
	seed(t, url+"/a.bin", want)
	d := get(t, url+"/a.bin", "--limit-rate", "4M")
	d.reached(t, size, 0.2)
	edge.kill()
	// What the edge had answered is still read from the socket, several MiB on
	// loopback; more than the fifth from before its end can only have come after it.
	if o := d.done(t, want); o.FromPeers < size/3 {
		t.Errorf("from_peers %d of %d", o.FromPeers, size)
	}
}

// versions is an origin whose object changes when told to.
type versions struct {
	now  atomic.Pointer[version]
	rate int // bytes per second, 0 is no limit
}

type version struct {
	tag     string
	content []byte
}

func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := v.now.Load()
	w.Header().Set("ETag", now.tag)
	w.Header().Set("Cache-Control", "no-cache")
	if v.rate > 0 {
		w = &slow{w, r.Context(), v, now, v.rate}
	}
	http.ServeContent(w, r, "a.bin", time.Time{}, bytes.NewReader(now.content))
}

// slow writes at a rate and breaks the connection once the object has changed.
type slow struct {
	http.ResponseWriter
	ctx  context.Context
	v    *versions
	now  *version
	rate int
}

func (s *slow) Write(b []byte) (int, error) {
	const step = 64 * kib
	for n := 0; n < len(b); n += step {
		if s.v.now.Load() != s.now {
			panic(http.ErrAbortHandler)
		}
		if _, err := s.ResponseWriter.Write(b[n:min(n+step, len(b))]); err != nil {
			return n, err
		}
		select {
		case <-time.After(step * time.Second / time.Duration(s.rate)):
		case <-s.ctx.Done():
			return n, s.ctx.Err()
		}
	}
	return len(b), nil
}

// An object that changes during the download gives an error or the new version,
// never some of both: with an edge between and without.
func TestObjectChanges(t *testing.T) {
	t.Parallel()
	const size = 16 * mib
	for _, tt := range []struct {
		name string
		edge bool
		rate int // of the origin
	}{
		{"plain origin", false, 4 * mib},
		{"edge, filling", true, 4 * mib},
		{"edge, filled", true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			origin := &versions{rate: tt.rate}
			old, renewed := random(size), random(size+5*kib)
			origin.now.Store(&version{`"one"`, old})
			server := httptest.NewServer(origin)
			t.Cleanup(server.Close)
			url := server.URL
			if tt.edge {
				url, _, _ = cell(t, server.URL)
			}
			d := get(t, url+"/a.bin", "--limit-rate", "4M")
			until(t, "first bytes", func() bool { return allocated(d.file+store.PartSuffix) > size/4 })
			origin.now.Store(&version{`"two"`, renewed})
			// Another client makes the edge look at the origin again.
			get(t, url+"/a.bin").done(t, renewed)
			whole(t, d, old, renewed)
		})
	}
}

// whole checks that a download ended with one of the versions, or with an error
// that says the object changed.
func whole(t *testing.T, d *download, versions ...[]byte) {
	t.Helper()
	switch code := d.wait(t); code {
	case 0:
		got := read(t, d.file)
		for _, v := range versions {
			if bytes.Equal(got, v) {
				return
			}
		}
		t.Error("the file is none of the versions")
	case 9:
		if !strings.Contains(d.stderr.String(), "changed") {
			t.Errorf("the error does not say that the object changed: %q", d.stderr)
		}
		if _, err := os.Stat(d.file); !os.IsNotExist(err) {
			t.Errorf("an error, and yet a file: %v", err)
		}
	default:
		t.Errorf("exit code %d: %q", code, d.stderr)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
