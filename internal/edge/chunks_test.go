package edge

import (
	"crypto/ed25519"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/wire"
)

var describedByMap = regexp.MustCompile(`^<([^>]+)>; rel="describedby"; type="application/vnd\.tandem\.chunks"$`)

// chunksURL is where the manifest of a response says that the chunk map is.
func chunksURL(t testing.TB, base string, a answer) string {
	t.Helper()
	m := get(t, manifestURL(t, base, a))
	link := describedByMap.FindStringSubmatch(m.Header.Get("Link"))
	if m.Status != 200 || link == nil {
		t.Fatalf("manifest: status %d, header %v", m.Status, m.Header)
	}
	return base + link[1]
}

// Every kind of origin has its maps, also after a restart.
func TestChunks(t *testing.T) {
	data := random(3<<20 + 1)
	tmp := t.TempDir()
	put(t, tmp, "f", data)
	o := httptest.NewServer(&origin{data: data, etag: `"v1"`})
	t.Cleanup(o.Close)
	kept := t.TempDir()
	b := chunkmap.NewBuilder(int64(len(data)))
	_, _ = b.Write(data)
	for name, cfg := range map[string]Config{
		"directory":            {Origin: tmp},
		"directory, maps kept": {Origin: tmp, Data: kept},
		"cache":                {Origin: o.URL, Data: t.TempDir()},
	} {
		for range 2 {
			e, base := start(t, cfg)
			s := signedManifest(t, base, get(t, base+"/f"))
			u := chunksURL(t, base, get(t, base+"/f"))
			a := get(t, u)
			if a.Status != 200 || a.Header.Get("Content-Type") != wire.ChunksType || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: status %d, header %v", name, a.Status, a.Header)
			}
			m, err := chunkmap.ParseSigned(a.Body, []ed25519.PublicKey{e.PublicKey()})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(b.Finish(s.Object), m); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
			if again := get(t, u, "If-None-Match: "+a.Header.Get("Etag")); again.Status != 304 {
				t.Errorf("%s: If-None-Match: status %d", name, again.Status)
			}
			if a := get(t, strings.Replace(u, "/chunks/", "/chunks/x", 1)); a.Status != 404 {
				t.Errorf("%s: under another name: status %d", name, a.Status)
			}
		}
	}
}

// A map that was damaged on disk, or is of an earlier program, is made again.
func TestDamagedChunks(t *testing.T) {
	tmp, kept := t.TempDir(), t.TempDir()
	put(t, tmp, "f", random(2<<20))
	cfg := Config{Origin: tmp, Data: kept}
	_, base := start(t, cfg)
	u := chunksURL(t, base, get(t, base+"/f"))
	want := get(t, u).Body
	files, err := filepath.Glob(filepath.Join(kept, "manifests", "*", "*.tdc"))
	if err != nil || len(files) != 1 {
		t.Fatalf("maps kept: %v, %v", files, err)
	}
	for name, harm := range map[string]func() error{
		"cut":  func() error { return os.Truncate(files[0], 1000) },
		"gone": func() error { return os.Remove(files[0]) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if a := get(t, u); a.Status != 200 || string(a.Body) != string(want) {
			t.Errorf("%s: status %d, %d bytes", name, a.Status, len(a.Body))
		}
	}
}

// What is kept signed is the map of one object; another takes its place.
func TestChunksOfTwo(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(2<<20))
	put(t, tmp, "g", random(3<<20))
	e, base := start(t, Config{Origin: tmp})
	for _, name := range []string{"/f", "/g", "/g", "/f"} {
		want := signedManifest(t, base, get(t, base+name)).Object
		m, err := chunkmap.ParseSigned(get(t, chunksURL(t, base, get(t, base+name))).Body, []ed25519.PublicKey{e.PublicKey()})
		if err != nil || m.Object != want {
			t.Fatalf("%s: the map of another object: %v", name, err)
		}
	}
}

func TestSmallObjectsHaveNoChunks(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(1<<20-1))
	put(t, tmp, "g", random(1<<20))
	e, base := start(t, Config{Origin: tmp})
	o, ok := e.source.lookup("/f")
	if !ok {
		t.Fatal("no object")
	}
	if a := get(t, base+chunksPrefix+e.signer.name(o)+"/f"); a.Status != 404 {
		t.Errorf("status %d", a.Status)
	}
	chunksURL(t, base, get(t, base+"/g"))
}
