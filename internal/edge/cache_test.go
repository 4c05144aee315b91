package edge

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/signedurl"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// origin is a server whose content the test changes.
type origin struct {
	mu      sync.Mutex
	data    []byte
	etag    string
	header  http.Header
	queries sync.Map // of strings
	hits    atomic.Int64
}

func (o *origin) set(data []byte, etag string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data, o.etag = data, etag
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.hits.Add(1)
	o.queries.Store(r.URL.RawQuery, true)
	o.mu.Lock()
	data, etag := o.data, o.etag
	o.mu.Unlock()
	if r.URL.Path == "/none" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	for name, v := range o.header {
		w.Header()[name] = v
	}
	w.Header().Set("Etag", etag)
	http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(data))
}

func startOrigin(t *testing.T, o *origin) string {
	t.Helper()
	s := httptest.NewServer(o)
	t.Cleanup(s.Close)
	return s.URL
}

func TestCachedOrigin(t *testing.T) {
	data := random(3<<20 + 1)
	o := &origin{data: data, etag: `"v1"`}
	_, base := start(t, Config{Origin: startOrigin(t, o), AdminToken: "t"})

	// The manifest is asked for after a small range, before the rest was seen.
	first := get(t, base+"/f?q=1", "Range: bytes=0-99")
	if first.Status != 206 || !bytes.Equal(first.Body, data[:100]) {
		t.Fatalf("range: status %d", first.Status)
	}
	link := manifestURL(t, base, first)
	s := signedManifest(t, base, first)
	if s.Digest != sha256.Sum256(data) {
		t.Fatal("the manifest is not of the object")
	}
	whole := get(t, base+"/f?q=1")
	if !bytes.Equal(whole.Body, data) || whole.Header.Get("Repr-Digest") == "" {
		t.Errorf("whole: status %d, header %v", whole.Status, whole.Header)
	}
	req := wire.GrantRequest{Object: s.Object.String(), Key: wire.Key{1}, URL: base + "/f?q=1"}
	if a := askGrant(t, base, req); a.Status != 200 {
		t.Errorf("grant: status %d, %s", a.Status, a.Body)
	}
	req.URL = base + "/f?q=2"
	if a := askGrant(t, base, req); a.Status != 404 {
		t.Errorf("grant for another URL: status %d", a.Status)
	}

	o.set(random(2<<20), `"v2"`)
	if a := do(t, "PURGE", base+"/f?q=1", nil, "Authorization: Bearer t"); a.Status != 200 {
		t.Fatalf("purge: status %d, %s", a.Status, a.Body)
	}
	next := get(t, base+"/f?q=1")
	if manifestURL(t, base, next) == link {
		t.Fatal("two versions have one manifest URL")
	}
	if a := get(t, link); a.Status != 404 {
		t.Errorf("manifest of the old version: status %d", a.Status)
	}
	if a := get(t, base+"/none"); a.Status != 404 || a.Header.Get("Link") != "" {
		t.Errorf("missing object: status %d, %v", a.Status, a.Header)
	}
}

// A client may ask for the manifest though the edge holds nothing of the object:
// after a HEAD, or when it was evicted.
func TestManifestOfWhatIsNotStored(t *testing.T) {
	o := &origin{data: random(2 << 20), etag: `"v1"`}
	_, base := start(t, Config{Origin: startOrigin(t, o)})
	s := signedManifest(t, base, do(t, "HEAD", base+"/f", nil))
	if s.Digest != sha256.Sum256(o.data) {
		t.Error("the manifest is not of the object")
	}
	if a := get(t, base+manifestPrefix+"AAAAAAAAAAAAAAAAAAAAAA/none"); a.Status != 404 {
		t.Errorf("manifest of nothing: status %d", a.Status)
	}
}

// What one client alone may have, or gets by its own preferences, is not shared.
func TestPrivateIsNotShared(t *testing.T) {
	o := &origin{data: random(2 << 20), etag: `"v1"`}
	_, base := start(t, Config{Origin: startOrigin(t, o)})
	a := get(t, base+"/secret", "Authorization: Basic eDp5")
	if a.Status != 200 || a.Header.Get("Link") != "" {
		t.Errorf("with credentials: status %d, Link %q", a.Status, a.Header.Get("Link"))
	}
	varied := &origin{data: random(2 << 20), etag: `"v1"`, header: http.Header{"Vary": {"Accept-Language"}}}
	_, base = start(t, Config{Origin: startOrigin(t, varied)})
	if a := get(t, base+"/f"); a.Header.Get("Link") == "" {
		t.Error("the plain variant is not shared")
	}
	varied.set(random(2<<20-1), `"de"`)
	if a := get(t, base+"/f", "Accept-Language: de"); a.Header.Get("Link") != "" || a.Header.Get("Etag") != `"de"` {
		t.Errorf("another variant is shared: %v", a.Header)
	}
}

func TestSignedURLsOfOrigin(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{data: random(2 << 20), etag: `"v1"`}
	v := &signedurl.Verifier{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}
	_, base := start(t, Config{Origin: startOrigin(t, o), SignedURLs: v})
	sign := func(s string, expires time.Duration) string {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signedurl.Sign(u, key, time.Now().Add(expires))
		if err != nil {
			t.Fatal(err)
		}
		return signed.String()
	}
	if a := get(t, base+"/f?a=1"); a.Status != 403 || o.hits.Load() != 0 {
		t.Fatalf("unsigned: status %d, %d requests at the origin", a.Status, o.hits.Load())
	}
	a := get(t, sign(base+"/f?a=1", time.Hour))
	if a.Status != 200 {
		t.Fatalf("signed: status %d, %s", a.Status, a.Body)
	}
	s := signedManifest(t, base, a)
	hits := o.hits.Load()
	if b := get(t, sign(base+"/f?a=1", 2*time.Hour)); !bytes.Equal(a.Body, b.Body) || o.hits.Load() != hits {
		t.Errorf("another signature of the same URL was not answered from the cache")
	}
	o.queries.Range(func(q, _ any) bool {
		if q != "a=1" {
			t.Errorf("the origin saw the query %q", q)
		}
		return true
	})
	req := wire.GrantRequest{Object: s.Object.String(), Key: wire.Key{1}, URL: sign(base+"/f?a=1", time.Hour)}
	if a := askGrant(t, base, req); a.Status != 200 {
		t.Errorf("grant: status %d, %s", a.Status, a.Body)
	}
	if a := get(t, base+manifestPrefix+"AAAAAAAAAAAAAAAAAAAAAA/other"); a.Status != 404 || o.hits.Load() != hits {
		t.Errorf("a guessed manifest URL reached the origin: status %d", a.Status)
	}
}

// An edge may stand before another: each makes its own manifest of the same object.
func TestTiers(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(2<<20))
	_, inner := start(t, Config{Origin: tmp})
	_, outer := start(t, Config{Origin: inner})
	a, b := get(t, inner+"/f"), get(t, outer+"/f")
	if !bytes.Equal(a.Body, b.Body) {
		t.Fatal("the bytes differ")
	}
	if x, y := signedManifest(t, inner, a), signedManifest(t, outer, b); x.Object != y.Object {
		t.Error("one content, two objects")
	}
	links := b.Header.Values("Link")
	if len(links) != 1 {
		t.Errorf("Link of both edges: %q", links)
	}
}

func TestSplitLinks(t *testing.T) {
	for field, want := range map[string][]string{
		"":                              nil,
		`</a>; rel="x"`:                 {`</a>; rel="x"`},
		`</a,b>; t="c, \"d, e", </f> ,`: {`</a,b>; t="c, \"d, e"`, `</f>`},
		`<a`:                            {`<a`},
		`"`:                             {`"`},
	} {
		if got := splitLinks(field); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}
