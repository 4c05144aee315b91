package publish

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
	"github.com/tandem-cdn/tandem/test/nginx"
)

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// put writes a file that has been left alone for an hour.
func put(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// startControl serves the key of a control.
func startControl(t testing.TB) (string, ed25519.PublicKey) {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cell/v1/key" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(wire.NewJWKS(pub).Keys[0])
	}))
	t.Cleanup(s.Close)
	return s.URL + "/cell", pub
}

func run(t testing.TB, cfg Config) Summary {
	t.Helper()
	sum, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{
		"a.iso": random(1, 3<<20+7), "sub/ä b?%.bin": random(2, 100), "empty": nil,
	}
	for name, b := range files {
		put(t, dir, name, b)
	}
	put(t, dir, ".hidden", []byte("x"))
	put(t, dir, ".git/config", []byte("x"))
	base, control := startControl(t)
	cfg := Config{Dir: dir, Key: filepath.Join(t.TempDir(), "k", "pub.key"), Control: []string{base}, Mirrors: []string{"https://m.example"}, Gateway: true}
	sum := run(t, cfg)
	if sum.Files != 3 || sum.Made != 3 || !sum.KeyCreated || !sum.Document {
		t.Errorf("first run: %+v", sum)
	}
	server := nginx.Serve(t, dir)
	doc, err := wire.ParseWellKnown(fetch(t, server+wire.WellKnownPath))
	if err != nil {
		t.Fatal(err)
	}
	if doc.Grants != base+grantsPath || !doc.Gateway || len(doc.Control) != 1 || doc.Control[0] != "ws"+strings.TrimPrefix(base, "http")+sessionPath {
		t.Errorf("document %+v", doc)
	}
	if keys := doc.Keys.Public(); len(keys) != 2 || !keys[0].Equal(sum.PublicKey) || !keys[1].Equal(control) {
		t.Errorf("keys %v", keys)
	}
	for name, data := range files {
		u := url.URL{Path: "/" + name}
		if got := fetch(t, server+u.EscapedPath()); !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		checkManifest(t, fetch(t, server+strings.ReplaceAll(doc.Manifests, "{path}", u.EscapedPath())), sum.PublicKey, data)
		if len(data) >= chunkmap.MinObject {
			checkMap(t, fetch(t, server+strings.ReplaceAll(doc.Chunks, "{path}", u.EscapedPath())), sum.PublicKey, data)
		}
	}
}

func checkMap(t testing.TB, b []byte, key ed25519.PublicKey, data []byte) {
	t.Helper()
	m, err := chunkmap.ParseSigned(b, []ed25519.PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	want := chunkmap.NewBuilder(int64(len(data)))
	_, _ = want.Write(data)
	if diff := cmp.Diff(want.Finish(m.Object), m); diff != "" {
		t.Error(diff)
	}
}

// Chunk maps come and go with their files, and are made where an earlier program has
// made manifests alone.
func TestPublishChunks(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "big", random(1, 2<<20))
	put(t, dir, "small", random(2, 1000))
	base, _ := startControl(t)
	cfg := Config{Dir: dir, Key: filepath.Join(t.TempDir(), "pub.key"), Control: []string{base}}
	sum := run(t, cfg)
	side := filepath.Join(dir, manifestsDir, "big"+mapSuffix)
	check := func(what string, hashed int64) {
		t.Helper()
		if sum.Hashed != hashed || len(sum.Problems) > 0 {
			t.Errorf("%s: %+v", what, sum)
		}
		b, err := os.ReadFile(side)
		if err != nil {
			t.Fatal(err)
		}
		checkMap(t, b, sum.PublicKey, random(1, 2<<20))
	}
	check("first", 2<<20+1000)
	if _, err := os.Stat(filepath.Join(dir, manifestsDir, "small"+mapSuffix)); err == nil {
		t.Error("a small file has a map")
	}
	sum = run(t, cfg)
	check("again", 0)
	if err := os.Remove(side); err != nil {
		t.Fatal(err)
	}
	sum = run(t, cfg)
	check("without a map", 2<<20)
	if err := os.WriteFile(side, []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum = run(t, cfg)
	check("with a damaged map", 2<<20)
	if err := os.Remove(filepath.Join(dir, "big")); err != nil {
		t.Fatal(err)
	}
	if sum = run(t, cfg); sum.Removed != 1 {
		t.Errorf("after the file is gone: %+v", sum)
	}
	if _, err := os.Stat(side); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the map of a file that is gone: %v", err)
	}
}

func fetch(t testing.TB, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s: status %d, %v", url, resp.StatusCode, err)
	}
	return b
}

func checkManifest(t testing.TB, b []byte, key ed25519.PublicKey, data []byte) {
	t.Helper()
	s, err := manifest.ParseSigned(b, []ed25519.PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest != sha256.Sum256(data) || s.Size != int64(len(data)) {
		t.Error("the manifest is not of the file")
	}
	for i := range s.NumPieces() {
		if !s.Manifest.Verify(i, data[s.Offset(i):s.Offset(i)+s.PieceLen(i)]) {
			t.Errorf("piece %d does not verify", i)
		}
	}
}

// state is every file of a directory with its content and times.
func state(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = fi.ModTime().String() + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPublishAgain(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a", random(1, 1000))
	put(t, dir, "sub/b", random(2, 1000))
	base, _ := startControl(t)
	cfg := Config{Dir: dir, Key: filepath.Join(t.TempDir(), "pub.key"), Control: []string{base}}
	key := run(t, cfg).PublicKey
	before := state(t, dir)

	sum := run(t, cfg)
	if sum.Made != 0 || sum.Hashed != 0 || sum.Document || sum.KeyCreated || sum.Files != 2 {
		t.Errorf("second run: %+v", sum)
	}
	after := state(t, dir)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s was touched", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}

	side := func(name string) string { return filepath.Join(dir, manifestsDir, name+suffix) }
	read := func(name string) []byte {
		b, err := os.ReadFile(side(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// Changed content.
	put(t, dir, "a", random(3, 1001))
	if sum := run(t, cfg); sum.Made != 1 {
		t.Errorf("after a change: %+v", sum)
	}
	checkManifest(t, read("a"), key, random(3, 1001))
	// Another file with the size and time of the old: the inode tells.
	if runtime.GOOS != "windows" {
		fi, err := os.Stat(filepath.Join(dir, "a"))
		if err != nil {
			t.Fatal(err)
		}
		put(t, dir, "a", random(4, 1001))
		if err := os.Chtimes(filepath.Join(dir, "a"), fi.ModTime(), fi.ModTime()); err != nil {
			t.Fatal(err)
		}
		run(t, cfg)
		checkManifest(t, read("a"), key, random(4, 1001))
	}
	// Touched, not changed: hashed, but not written.
	later := time.Now().Add(-time.Minute)
	if err := os.Chtimes(filepath.Join(dir, "a"), later, later); err != nil {
		t.Fatal(err)
	}
	if sum := run(t, cfg); sum.Made != 0 || sum.Hashed != 1001 {
		t.Errorf("after a touch: %+v", sum)
	}
	if sum := run(t, cfg); sum.Hashed != 0 {
		t.Errorf("after a touch, again: %+v", sum)
	}
	// Removed.
	if err := os.RemoveAll(filepath.Join(dir, "sub")); err != nil {
		t.Fatal(err)
	}
	if sum := run(t, cfg); sum.Removed != 1 || sum.Files != 1 {
		t.Errorf("after a removal: %+v", sum)
	}
	if _, err := os.Stat(filepath.Dir(side("sub/b"))); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the folder of removed manifests is still there")
	}
	// Damaged.
	if err := os.WriteFile(side("a"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if sum := run(t, cfg); sum.Made != 1 {
		t.Errorf("after damage: %+v", sum)
	}
	// Another key: signed again, not hashed again.
	cfg.Key = filepath.Join(t.TempDir(), "other.key")
	sum = run(t, cfg)
	if sum.Made != 1 || sum.Hashed != 0 || !sum.Document {
		t.Errorf("with another key: %+v", sum)
	}
	checkManifest(t, read("a"), sum.PublicKey, mustRead(t, filepath.Join(dir, "a")))
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBasePath(t *testing.T) {
	web := t.TempDir()
	dir := filepath.Join(web, "dl")
	put(t, dir, "sub/a", random(1, 1000))
	base, _ := startControl(t)
	sum := run(t, Config{Dir: dir, BasePath: "/dl", Key: filepath.Join(t.TempDir(), "k"), Control: []string{base}})
	server := nginx.Serve(t, web)
	doc, err := wire.ParseWellKnown(mustRead(t, filepath.Join(dir, wire.WellKnownPath)))
	if err != nil {
		t.Fatal(err)
	}
	b := fetch(t, server+strings.ReplaceAll(doc.Manifests, "{path}", "/dl/sub/a"))
	checkManifest(t, b, sum.PublicKey, random(1, 1000))
}

func TestProblems(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege on Windows")
	}
	dir := t.TempDir()
	put(t, dir, "a", random(1, 1000))
	put(t, dir, strings.Repeat("n", 253), []byte("its manifest's name is too long"))
	for link, to := range map[string]string{"out": "/etc/passwd", "gone": "nowhere", "folder": ".", "good": "a"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	base, _ := startControl(t)
	cfg := Config{Dir: dir, Key: filepath.Join(t.TempDir(), "k"), Control: []string{base}}
	sum, err := Run(t.Context(), cfg)
	if !errors.Is(err, ErrProblems) || len(sum.Problems) != 1 || sum.Files != 2 || !sum.Document {
		t.Fatalf("%+v, %v", sum, err)
	}
	if _, err := os.Stat(filepath.Join(dir, manifestsDir, "out"+suffix)); err == nil {
		t.Error("a file outside has a manifest")
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	base, _ := startControl(t)
	key := filepath.Join(t.TempDir(), "k")
	notKey := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notKey, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{Dir: dir, Key: key, Control: []string{base}}
	for name, change := range map[string]func(*Config){
		"no directory":   func(c *Config) { c.Dir = filepath.Join(dir, "none") },
		"no control":     func(c *Config) { c.Control = nil },
		"no key":         func(c *Config) { c.Key = "" },
		"key in dir":     func(c *Config) { c.Key = filepath.Join(dir, "k") },
		"key deeper":     func(c *Config) { c.Key = filepath.Join(dir, "x", "..", "y", "k") },
		"not a key":      func(c *Config) { c.Key = notKey },
		"wrong control":  func(c *Config) { c.Control = []string{base + "/nothing"} },
		"no such host":   func(c *Config) { c.Control = []string{"http://127.0.0.1:1"} },
		"ftp":            func(c *Config) { c.Control = []string{"ftp://x"} },
		"not a URL":      func(c *Config) { c.Control = []string{"x"} },
		"odd base path":  func(c *Config) { c.BasePath = "dl" },
		"base path ends": func(c *Config) { c.BasePath = "/dl/" },
	} {
		cfg := good
		change(&cfg)
		_, err := Run(t.Context(), cfg)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, wire.WellKnownPath)); err == nil {
		t.Error("a failed run wrote the document")
	}
}

func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a", random(1, 4<<20))
	put(t, dir, "b", random(1, 4<<20))
	base, _ := startControl(t)
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int32
	cfg := Config{Dir: dir, Key: filepath.Join(t.TempDir(), "k"), Control: []string{base}, OnFile: func(string, int64) {
		calls.Add(1)
		cancel()
	}}
	for i := range 20 {
		put(t, dir, string(rune('c'+i)), random(1, 4<<20))
	}
	if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	if n := calls.Load(); n > 2*maxHashing {
		t.Errorf("%d files were done after the end", n)
	}
	cfg.OnFile = nil
	// A manifest that was being written when the run ended is good, though not counted.
	left := 22 - int(calls.Load())
	if sum := run(t, cfg); sum.Files != 22 || sum.Made > left || sum.Made < left-maxHashing {
		t.Errorf("the next run made %d of %d: %+v", sum.Made, left, sum)
	}
}

func TestParseControl(t *testing.T) {
	for text, want := range map[string]control{
		"http://h:1":                {"http://h:1", "ws://h:1"},
		"https://h/":                {"https://h", "wss://h"},
		"wss://h/cell/v1/session":   {"https://h/cell", "wss://h/cell"},
		"ws://[::1]:8090/":          {"http://[::1]:8090", "ws://[::1]:8090"},
		"https://h/cell/v1/session": {"https://h/cell", "wss://h/cell"},
	} {
		if got, err := parseControl(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "h", "http://", "ftp://h", "http://h?x=1", "http://u:p@h"} {
		if c, err := parseControl(bad); err == nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}`))
	f.Add([]byte(`{"kty":"EC"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKey(b); err == nil && len(k) != ed25519.PublicKeySize {
			t.Fatalf("key of %d bytes", len(k))
		}
	})
}
