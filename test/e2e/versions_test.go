package e2e

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sdk "github.com/tandem-cdn/tandem"
	"github.com/tandem-cdn/tandem/internal/chunkmap"
)

func mapOf(content []byte) *chunkmap.Map {
	b := chunkmap.NewBuilder(int64(len(content)))
	_, _ = b.Write(content)
	return b.Finish(manifestOf(content).ID())
}

// next is content with an edit in every 4 MiB, a third of them insertions, and how
// many bytes of it are new.
func next(content []byte) (changed []byte, fresh int64) {
	const size = 20 * kib
	var parts [][]byte
	for i := 0; len(content) > 0; i++ {
		part := content[:min(4*mib, len(content))]
		content = content[len(part):]
		at, gone := min(mib/3*(i%7), len(part)), []int{size, 0, size / 2}[i%3]
		parts = append(parts, part[:at], random(size), part[min(at+gone, len(part)):])
		fresh += size
	}
	return bytes.Join(parts, nil), fresh
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// thrifty fails when more than what changed was fetched, and a few chunks for each
// change.
func thrifty(t *testing.T, o outcome, fresh int64) {
	t.Helper()
	changes := fresh / (20 * kib)
	if o.fromDisk() != 0 || o.FromEdge+o.FromPeers > fresh+changes*100*kib {
		t.Errorf("%d bytes from the edge, %d from peers, %d from the old version; %d were new", o.FromEdge, o.FromPeers, o.FromOld, fresh)
	}
}

// However the old version is found, and whoever serves the new one, only what changed
// is fetched. The old one is there until it is replaced.
func TestNextVersion(t *testing.T) {
	t.Parallel()
	www, kept := t.TempDir(), t.TempDir()
	path := filepath.Join(www, "a.bin")
	first := random(40 * mib)
	second, fresh := next(first)
	write(t, path, first)
	url, _ := serve(t, www)
	old := filepath.Join(t.TempDir(), "old.bin")
	// The query is no part of what is remembered.
	getTo(t, old, url+"/a.bin?token=1", "--data", kept).done(t, first)
	write(t, path, second)

	t.Run("named", func(t *testing.T) {
		thrifty(t, get(t, url+"/a.bin", "--from", old).done(t, second), fresh)
	})
	t.Run("of the same URL", func(t *testing.T) {
		thrifty(t, get(t, url+"/a.bin?token=2", "--data", kept).done(t, second), fresh)
	})
	t.Run("fresh", func(t *testing.T) {
		if o := get(t, url+"/a.bin", "--data", kept, "--fresh").done(t, second); o.FromOld != 0 {
			t.Errorf("%d bytes from an old version", o.FromOld)
		}
	})
	t.Run("by the SDK", func(t *testing.T) {
		c, err := sdk.New(sdk.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		file := filepath.Join(t.TempDir(), "file")
		r, err := c.Get(t.Context(), url+"/a.bin", file, &sdk.GetOptions{From: []string{old}})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "the file", read(t, file), second)
		thrifty(t, outcome{Bytes: r.Size, FromEdge: r.FromEdge, FromPeers: r.FromPeers, FromOld: r.FromOld}, fresh)
	})
	t.Run("replaced", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, first)
		if code := getTo(t, file, url+"/a.bin").wait(t); code == 0 {
			t.Error("a file was replaced without -f")
		}
		if !bytes.Equal(read(t, file), first) {
			t.Error("the old version is not what it was")
		}
		thrifty(t, getTo(t, file, url+"/a.bin", "-f").done(t, second), fresh)
		if left := names(t, filepath.Dir(file)); len(left) != 1 {
			t.Errorf("the directory holds %v", left)
		}
	})
	t.Run("by an agent", func(t *testing.T) {
		data := t.TempDir()
		tandem(t, "agent", "--data", data)
		until(t, "agent", func() bool { _, err := os.Stat(filepath.Join(data, "agent.json")); return err == nil })
		thrifty(t, get(t, url+"/a.bin", "--data", data, "--from", old).done(t, second), fresh)
	})
	t.Run("unchanged", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, second)
		if o := getTo(t, file, url+"/a.bin", "-f").done(t, second); o.FromOld != o.Bytes {
			t.Errorf("%d bytes of %d from the old version", o.FromOld, o.Bytes)
		}
	})
	t.Run("unrelated", func(t *testing.T) {
		other := file(t, "other", 8*mib)
		if o := get(t, url+"/a.bin", "--from", other).done(t, second); o.FromOld != 0 || o.Wasted > 0 {
			t.Errorf("%d bytes from an unrelated file, %d wasted", o.FromOld, o.Wasted)
		}
	})
	t.Run("missing", func(t *testing.T) {
		d := get(t, url+"/a.bin", "--from", old+".none")
		if code := d.wait(t); code != 2 {
			t.Errorf("exit code %d", code)
		}
		oneLine(t, d.stderr.String(), "--from", old+".none")
	})
}

// What was put in front costs itself and a few chunks.
func TestInsertionInFront(t *testing.T) {
	t.Parallel()
	first := random(40 * mib)
	old := filepath.Join(t.TempDir(), "old")
	write(t, old, first)
	www := t.TempDir()
	second := slices.Concat(random(kib), first)
	write(t, filepath.Join(www, "a.bin"), second)
	url, _ := serve(t, www)
	if o := get(t, url+"/a.bin", "--from", old).done(t, second); o.FromEdge > 200*kib {
		t.Errorf("%d bytes from the edge", o.FromEdge)
	}
}

// A directory that was published, behind a server that knows nothing of it; and an
// edge in front of that.
func TestNextVersionOfPublished(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	first := random(20 * mib)
	second, fresh := next(first)
	old := filepath.Join(t.TempDir(), "old")
	write(t, old, first)
	www := t.TempDir()
	write(t, filepath.Join(www, "a.bin"), second)
	control := tandem(t, "control", "--listen", "127.0.0.1:0", "--data", t.TempDir()).ready(t)
	if code := tandem(t, "publish", www, "--key", filepath.Join(t.TempDir(), "key"), "--control", control).wait(t); code != 0 {
		t.Fatalf("publish: exit code %d", code)
	}
	static := nginx(t, www)
	thrifty(t, get(t, static+"/a.bin", "--from", old).done(t, second), fresh)
	p := tandem(t, "edge", "--origin", static, "--listen", "127.0.0.1:0", "--data", t.TempDir())
	thrifty(t, get(t, p.ready(t)+"/a.bin", "--from", old).done(t, second), fresh)
}

// Who has updated serves the others at once, and they ask it for what changed alone.
// Those who update together have it from the edge hardly more than once.
func TestUpdatesAreShared(t *testing.T) {
	t.Parallel()
	const crowd = 4
	first := random(64 * mib)
	second, fresh := next(first)
	old := filepath.Join(t.TempDir(), "old")
	write(t, old, first)
	www := t.TempDir()
	write(t, filepath.Join(www, "a.bin"), second)
	base, _ := serve(t, www)
	url := throttled(t, base, 256*kib) + "/a.bin"
	var all []*download
	for range crowd {
		all = append(all, get(t, url, "--from", old, "--linger", "1h"))
	}
	var edge, peers int64
	for _, d := range all {
		o := d.done(t, second)
		edge, peers = edge+o.FromEdge, peers+o.FromPeers
		thrifty(t, o, fresh)
	}
	t.Logf("%d bytes from the edge, %d from peers, for %d new ones", edge, peers, fresh)
	if edge > peers {
		t.Errorf("a crowd of %d had %d bytes from the edge and %d from peers", crowd, edge, peers)
	}
	o := get(t, url, "--from", old).done(t, second)
	thrifty(t, o, fresh)
	t.Logf("one who comes late: %d bytes from the edge, %d from peers", o.FromEdge, o.FromPeers)
	if o.FromPeers == 0 {
		t.Error("nothing from those who have updated")
	}
}

// Whatever a chunk map says, the file is right, and costs no more than without one.
func TestBadChunkMaps(t *testing.T) {
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := random(8 * mib)
	for _, tt := range []forgery{
		{"signed by another", func(f *forger) { f.chunks = sends(mapOf(f.content).Sign(foreign)) }},
		{"of another object", func(f *forger) { f.chunks = sends(mapOf(other).Sign(f.key)) }},
		{"garbage", func(f *forger) { f.chunks = sends(random(mib)) }},
		{"empty", func(f *forger) { f.chunks = sends(nil) }},
		{"without end", func(f *forger) { f.chunks = endless }},
		{"absent", func(f *forger) { f.chunks = http.NotFound }},
		{"refused", func(f *forger) {
			f.chunks = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }
		}},
		{"connection lost", func(f *forger) {
			f.chunks = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}},
		// Signed, well-formed, and a lie: the old file is here and there, but not there.
		{"of the old version", func(f *forger) {
			m := mapOf(other)
			m.Object = manifestOf(f.content).ID()
			f.chunks = sends(m.Sign(f.key))
		}},
		{"of one chunk over and over", func(f *forger) {
			m, c := mapOf(f.content), mapOf(other).Chunks[0]
			m.Chunks = slices.Repeat([]chunkmap.Chunk{c}, len(f.content)/int(c.Len))
			if c.Len = int32(len(f.content) % int(c.Len)); c.Len > 0 {
				m.Chunks = append(m.Chunks, c)
			}
			f.chunks = sends(m.Sign(f.key))
		}},
		{"in another order", func(f *forger) {
			m := mapOf(f.content)
			slices.Reverse(m.Chunks[:len(m.Chunks)-1])
			f.chunks = sends(m.Sign(f.key))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newForger(t)
			copy(f.content[2*mib:5*mib], other[2*mib:]) // so that something is found
			_, key, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			f.rekey(key)
			old := filepath.Join(t.TempDir(), "old")
			write(t, old, slices.Concat(other, f.content[5*mib:]))
			tt.forge(f)
			d := get(t, f.serve(t), "--from", old)
			o := d.done(t, f.content)
			if code := d.wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if o.Object != manifestOf(f.content).ID().String() || o.Wasted > o.Bytes/4 {
				t.Errorf("%+v", o)
			}
			if rss := d.peakRSS(); rss > 100*mib {
				t.Errorf("it took %d MiB of memory", rss/mib)
			}
			if strings.Contains(d.stderr.String(), "panic") {
				t.Error(d.stderr)
			}
		})
	}
}

// An update that was interrupted goes on with what it has, and with the old version.
func TestUpdateIsResumed(t *testing.T) {
	t.Parallel()
	first := random(64 * mib)
	second, fresh := next(first)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, first)
	www := t.TempDir()
	write(t, filepath.Join(www, "a.bin"), second)
	base, _ := serve(t, www)
	url := throttled(t, base, 512*kib) + "/a.bin"
	d := getTo(t, file, url, "-f")
	d.reached(t, len(second), 0.8)
	d.kill()
	if !bytes.Equal(read(t, file), first) {
		t.Error("the old version was touched before the new one was whole")
	}
	o := getTo(t, file, url, "-f", "-C").done(t, second)
	if o.fromDisk() == 0 {
		t.Error("nothing was kept of the first try")
	}
	if got := o.FromEdge; got > fresh+fresh/(20*kib)*100*kib {
		t.Errorf("%d bytes from the edge after it was resumed", got)
	}
}
