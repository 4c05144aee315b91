package edge

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/signedurl"
	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(b)
	return b
}

// put writes a file that has been left alone for an hour.
func put(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// start runs an edge, background work and all, and returns its base URL.
func start(t testing.TB, cfg Config) (*Edge, string) {
	t.Helper()
	e, base, _ := started(t, cfg)
	return e, base
}

// started is start for those who end the edge before the test ends.
func started(t testing.TB, cfg Config) (*Edge, string, func()) {
	t.Helper()
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(e.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	end := sync.OnceFunc(func() {
		s.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return e, s.URL, end
}

// answer is a response read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// do sends a request with fields given as "Name: value".
func do(t testing.TB, method, url string, body io.Reader, fields ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

func get(t testing.TB, url string, fields ...string) answer {
	t.Helper()
	return do(t, "GET", url, nil, fields...)
}

var describedBy = regexp.MustCompile(`^<([^>]+)>; rel="describedby"; type="application/vnd\.tandem\.manifest"$`)

// manifestURL is where a response says that its manifest is.
func manifestURL(t testing.TB, base string, a answer) string {
	t.Helper()
	for _, l := range a.Header.Values("Link") {
		if m := describedBy.FindStringSubmatch(l); m != nil {
			return base + m[1]
		}
	}
	t.Fatalf("no link to a manifest in %v", a.Header)
	return ""
}

// wellKnown reads the document of a host.
func wellKnown(t testing.TB, base string) *wire.WellKnown {
	t.Helper()
	a := get(t, base+wire.WellKnownPath)
	doc, err := wire.ParseWellKnown(a.Body)
	if a.Status != 200 || err != nil {
		t.Fatalf("well-known document: status %d, %v", a.Status, err)
	}
	return doc
}

func signedManifest(t testing.TB, base string, a answer) *manifest.Signed {
	t.Helper()
	m := get(t, manifestURL(t, base, a))
	if m.Status != 200 {
		t.Fatalf("manifest: status %d, %s", m.Status, m.Body)
	}
	s, err := manifest.ParseSigned(m.Body, wellKnown(t, base).Keys.Public())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func askGrant(t testing.TB, base string, req wire.GrantRequest) answer {
	t.Helper()
	b, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, "POST", base+wellKnown(t, base).Grants, bytes.NewReader(b), "Content-Type: application/json")
}

// The way of one client, from the object to the grant.
func TestMainPath(t *testing.T) {
	tmp := t.TempDir()
	data := random(3<<20 + 5)
	put(t, tmp, "sub/a b.iso", data)
	put(t, tmp, "small", data[:100])
	e, base := start(t, Config{Origin: tmp, Control: []string{"/v1/session"}, Mirrors: []string{"https://m.example/x/"}})

	first := get(t, base+"/sub/a%20b.iso", "Range: bytes=5-9")
	if first.Status != 206 || !bytes.Equal(first.Body, data[5:10]) {
		t.Fatalf("range: status %d, %d bytes", first.Status, len(first.Body))
	}
	s := signedManifest(t, base, first)
	if s.Digest != sha256.Sum256(data) || s.Size != int64(len(data)) {
		t.Fatal("the manifest is not of the object")
	}
	whole := get(t, base+"/sub/a%20b.iso")
	want := "sha-256=:" + base64.StdEncoding.EncodeToString(s.Digest[:]) + ":"
	if got := whole.Header.Get("Repr-Digest"); got != want {
		t.Errorf("Repr-Digest %q, want %q", got, want)
	}
	if l := whole.Header.Values("Link"); len(l) != 2 || l[1] != `<https://m.example/x/sub/a%20b.iso>; rel="duplicate"` {
		t.Errorf("Link %q", l)
	}
	if l := get(t, base+"/small").Header.Get("Link"); l != "" {
		t.Errorf("small object has Link %q", l)
	}

	_, client, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := wire.KeyOf(client.Public().(ed25519.PublicKey))
	a := askGrant(t, base, wire.GrantRequest{Object: s.Object.String(), Key: key, URL: base + "/sub/a%20b.iso"})
	var resp wire.GrantResponse
	if err := json.Unmarshal(a.Body, &resp); a.Status != 200 || err != nil {
		t.Fatalf("grant: status %d, %s", a.Status, a.Body)
	}
	c, err := grant.Parse(resp.Grant, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(s.Object, key, []ed25519.PublicKey{e.PublicKey()}); err != nil {
		t.Error(err)
	}
}

func TestManifestURL(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(2<<20))
	_, base := start(t, Config{Origin: tmp})
	u := manifestURL(t, base, do(t, "HEAD", base+"/f", nil))
	a := get(t, u)
	if a.Status != 200 || a.Header.Get("Content-Type") != wire.ManifestType || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("status %d, header %v", a.Status, a.Header)
	}
	if again := get(t, u, "If-None-Match: "+a.Header.Get("Etag")); again.Status != 304 {
		t.Errorf("If-None-Match: status %d", again.Status)
	}
	if a := do(t, "POST", u, nil); a.Status != 405 {
		t.Errorf("POST: status %d", a.Status)
	}
	put(t, tmp, "f", random(2<<20-1))
	if a := get(t, u); a.Status != 404 || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("manifest of the old version: status %d, header %v", a.Status, a.Header)
	}
	next := manifestURL(t, base, get(t, base+"/f"))
	if next == u {
		t.Fatal("two versions have one manifest URL")
	}
	for _, bad := range []string{"", "x", "x/f", "/f", strings.Repeat("A", 22) + "/f", strings.Repeat("A", 22) + "/%zz", "%2f/f"} {
		resp, err := http.Get(base + manifestPrefix + bad)
		if err != nil {
			continue // the client refuses to send it
		}
		resp.Body.Close()
		if resp.StatusCode != 404 && resp.StatusCode != 400 {
			t.Errorf("%q: status %d", bad, resp.StatusCode)
		}
	}
}

func TestGrantRefusals(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(2<<20))
	put(t, tmp, "g", random(3<<20))
	_, base := start(t, Config{Origin: tmp})
	s := signedManifest(t, base, get(t, base+"/f"))
	good := wire.GrantRequest{Object: s.Object.String(), Key: wire.Key{1}, URL: base + "/f"}
	if a := askGrant(t, base, good); a.Status != 200 {
		t.Fatalf("status %d, %s", a.Status, a.Body)
	}
	for name, c := range map[string]struct {
		change func(*wire.GrantRequest)
		status int
	}{
		"another object":   {func(r *wire.GrantRequest) { r.Object = strings.Repeat("0", 64) }, 404},
		"no object":        {func(r *wire.GrantRequest) { r.Object = "" }, 400},
		"another file":     {func(r *wire.GrantRequest) { r.URL = base + "/g" }, 404},
		"no file":          {func(r *wire.GrantRequest) { r.URL = base + "/none" }, 404},
		"path that climbs": {func(r *wire.GrantRequest) { r.URL = base + "/../f" }, 404},
		"relative URL":     {func(r *wire.GrantRequest) { r.URL = "/f" }, 400},
		"odd URL":          {func(r *wire.GrantRequest) { r.URL = "http://[::1" }, 400},
		"no key":           {func(r *wire.GrantRequest) { r.Key = wire.Key{} }, 400},
	} {
		req := good
		c.change(&req)
		if a := askGrant(t, base, req); a.Status != c.status || bytes.Count(a.Body, []byte("\n")) != 1 {
			t.Errorf("%s: status %d, body %q", name, a.Status, a.Body)
		}
	}
	post := func(body, contentType string) int {
		return do(t, "POST", base+grantsPath, strings.NewReader(body), "Content-Type: "+contentType).Status
	}
	for name, c := range map[string][2]int{
		"form":      {post("object=1", "application/x-www-form-urlencoded"), 415},
		"text":      {post("{}", "text/plain"), 415},
		"no JSON":   {post("{", "application/json"), 400},
		"too large": {post(`{"object":"`+strings.Repeat("x", maxRequest)+`"}`, "application/json"), 413},
		"GET":       {get(t, base+grantsPath).Status, 405},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: status %d, want %d", name, c[0], c[1])
		}
	}
	_, off := start(t, Config{Origin: tmp, Policy: wire.Policy{P2P: wire.P2POff}})
	good.URL = off + "/f"
	if a := askGrant(t, off, good); a.Status != 403 {
		t.Errorf("sharing is off: status %d", a.Status)
	}
}

func TestSignedURLs(t *testing.T) {
	tmp := t.TempDir()
	data := random(2 << 20)
	put(t, tmp, "f", data)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &signedurl.Verifier{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}
	_, base := start(t, Config{Origin: tmp, SignedURLs: v})
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
	good := sign(base+"/f", time.Hour)
	a := get(t, good)
	if a.Status != 200 || !bytes.Equal(a.Body, data) {
		t.Fatalf("status %d, %s", a.Status, a.Body)
	}
	s := signedManifest(t, base, a)
	for name, u := range map[string]string{
		"unsigned": base + "/f", "another": sign(base+"/g", time.Hour), "expired": sign(base+"/f", -time.Hour),
		"moved": strings.Replace(good, "/f?", "/g?", 1), "listing": base + "/",
	} {
		if name == "another" {
			u = strings.Replace(u, "/g?", "/f?", 1)
		}
		a := get(t, u)
		if a.Status != 403 || bytes.Count(a.Body, []byte("\n")) != 1 || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, body %q", name, a.Status, a.Body)
		}
	}
	req := wire.GrantRequest{Object: s.Object.String(), Key: wire.Key{1}, URL: good}
	if a := askGrant(t, base, req); a.Status != 200 {
		t.Errorf("grant for a signed URL: status %d, %s", a.Status, a.Body)
	}
	for _, u := range []string{base + "/f", sign(base+"/f", -time.Hour)} {
		req.URL = u
		if a := askGrant(t, base, req); a.Status != 403 {
			t.Errorf("grant for %s: status %d, %s", u, a.Status, a.Body)
		}
	}
}

func TestPublicURL(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", []byte("x"))
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &signedurl.Verifier{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}
	_, base := start(t, Config{Origin: tmp, SignedURLs: v, PublicURL: "https://cdn.example"})
	signed, err := signedurl.Sign(&url.URL{Scheme: "https", Host: "cdn.example", Path: "/f"}, key, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	// The proxy in front terminates TLS and names another host.
	if a := get(t, base+signed.RequestURI()); a.Status != 200 {
		t.Errorf("status %d, %s", a.Status, a.Body)
	}
}
