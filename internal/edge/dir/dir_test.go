package dir

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// random is the same n bytes every time.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// put writes files that have been left alone for an hour; names end in "/" for
// folders.
func put(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		age(t, path)
	}
}

func age(t testing.TB, path string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg Config) *Dir {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// serve starts a real server for the directory.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// answer is a response without its body.
type answer struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// get asks without following redirects, fields given as "Name: value".
func get(t testing.TB, method, url string, fields ...string) (answer, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
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
	return answer{resp.StatusCode, resp.Header, resp.ContentLength}, b
}

func TestServesFiles(t *testing.T) {
	tmp := t.TempDir()
	big := random(3<<20 + 11)
	put(t, tmp, map[string][]byte{"a.txt": []byte("hello"), "sub/ä b?.iso": big, "empty": nil})
	url := serve(t, open(t, Config{Path: tmp}))
	for path, want := range map[string][]byte{"/a.txt": []byte("hello"), "/sub/%C3%A4%20b%3F.iso": big, "/empty": nil} {
		resp, b := get(t, "GET", url+path)
		if resp.StatusCode != 200 || !bytes.Equal(b, want) {
			t.Errorf("%s: status %d, %d bytes", path, resp.StatusCode, len(b))
		}
		if e := resp.Header.Get("Etag"); !strings.HasPrefix(e, `"`) {
			t.Errorf("%s: entity tag %s is not strong", path, e)
		}
		head, b := get(t, "HEAD", url+path)
		if head.ContentLength != int64(len(want)) || len(b) != 0 || head.Header.Get("Etag") != resp.Header.Get("Etag") {
			t.Errorf("%s: HEAD differs: %v", path, head.Header)
		}
	}
	if resp, _ := get(t, "POST", url+"/a.txt"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

func TestStaysInside(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege on Windows")
	}
	top := t.TempDir()
	put(t, top, map[string][]byte{
		"secret": []byte("secret"), "www/in/real.txt": []byte("real"), "www/.env": []byte("secret"),
		"www/.git/config": []byte("secret"), "www/in/.hidden": []byte("secret"),
	})
	www := filepath.Join(top, "www")
	for link, to := range map[string]string{
		"out": "../secret", "abs": filepath.Join(top, "secret"), "outdir": "..", "good": "in/real.txt", "loop": "loop", "gone": "nowhere",
	} {
		if err := os.Symlink(to, filepath.Join(www, link)); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, Config{Path: www})
	url := serve(t, d)
	for _, path := range []string{
		"/out", "/abs", "/outdir/", "/outdir/secret", "/loop", "/gone", "/../secret", "/%2e%2e/secret", "/in/..%2f..%2fsecret",
		"/.env", "/.git/config", "/.git/", "/in/.hidden", "/%2eenv", "/in//real.txt", "/in\\real.txt", "/in/real.txt%00", "/in/real.txt/", "//in/real.txt",
	} {
		resp, b := get(t, "GET", url+path)
		if resp.StatusCode != 404 || bytes.Contains(b, []byte("secret")) {
			t.Errorf("%s: status %d, body %q", path, resp.StatusCode, b)
		}
	}
	if resp, b := get(t, "GET", url+"/good"); resp.StatusCode != 200 || string(b) != "real" {
		t.Errorf("link that stays inside: status %d, body %q", resp.StatusCode, b)
	}
	if _, err := d.Lookup("/out"); err == nil {
		t.Error("Lookup follows a link that leads out")
	}
	_, b := get(t, "GET", url+"/")
	for _, name := range []string{"out", ".env", ".git", "gone", "loop", "abs"} {
		if bytes.Contains(b, []byte(">"+name+"<")) {
			t.Errorf("listing shows %s", name)
		}
	}
	if !bytes.Contains(b, []byte(">good<")) {
		t.Error("listing does not show the link that stays inside")
	}
}

func TestListing(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, map[string][]byte{"b <i>.txt": random(1536), "a#1.bin": nil, "z/x": nil, "home/index.html": []byte("<p>hi")})
	url := serve(t, open(t, Config{Path: tmp}))
	resp, b := get(t, "GET", url+"/")
	page := string(b)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{"b &lt;i&gt;.txt", "1.5 KiB", `href="./a%231.bin"`, `href="./z/"`, "tandem get " + url + "/a%231.bin"} {
		if !strings.Contains(page, want) {
			t.Errorf("listing lacks %q:\n%s", want, page)
		}
	}
	if strings.Index(page, "home/") > strings.Index(page, "z/") || strings.Index(page, "z/") > strings.Index(page, "a#1.bin") {
		t.Error("listing is not in order: folders first, by name")
	}
	if _, b := get(t, "GET", url+"/home/"); string(b) != "<p>hi" {
		t.Errorf("index.html: %q", b)
	}
	resp, _ = get(t, "GET", url+"/z?q=1")
	if resp.StatusCode != 301 || resp.Header.Get("Location") != "./z/?q=1" {
		t.Errorf("folder without slash: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}

func TestManifest(t *testing.T) {
	tmp, cache := t.TempDir(), t.TempDir()
	data := random(5<<20 + 3)
	put(t, tmp, map[string][]byte{"f": data})
	d := open(t, Config{Path: tmp, Cache: cache})
	v, err := d.Manifest(t.Context(), "/f")
	if err != nil {
		t.Fatal(err)
	}
	checkManifest(t, v.Manifest, data)

	again := open(t, Config{Path: tmp, Cache: cache})
	kept, err := again.Lookup("/f")
	if err != nil || kept.Manifest == nil || kept.Manifest.ID() != v.Manifest.ID() || kept.ETag != v.ETag {
		t.Fatalf("manifest was not kept: %v", err)
	}

	data[0]++
	put(t, tmp, map[string][]byte{"f": data})
	changed, err := again.Lookup("/f")
	if err != nil || changed.Manifest != nil || changed.ETag == v.ETag {
		t.Fatalf("a new version has the manifest of the old: %v", err)
	}
	if changed, err = again.Manifest(t.Context(), "/f"); err != nil {
		t.Fatal(err)
	}
	checkManifest(t, changed.Manifest, data)

	for _, path := range []string{"/none", "/", "/../f", "f", ""} {
		if _, err := d.Manifest(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("manifest of %q: %v", path, err)
		}
	}
}

func checkManifest(t *testing.T, m *manifest.Manifest, data []byte) {
	t.Helper()
	if m == nil || m.Size != int64(len(data)) || m.Digest != sha256.Sum256(data) {
		t.Fatal("manifest is not of the data")
	}
	for i := range m.NumPieces() {
		if !m.Verify(i, data[m.Offset(i):m.Offset(i)+m.PieceLen(i)]) {
			t.Errorf("piece %d does not verify", i)
		}
	}
}

func TestDamagedManifestIsMadeAnew(t *testing.T) {
	tmp, cache := t.TempDir(), t.TempDir()
	put(t, tmp, map[string][]byte{"f": random(1 << 20)})
	first := open(t, Config{Path: tmp, Cache: cache})
	v, err := first.Manifest(t.Context(), "/f")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cache, first.disk.file("f", diskSuffix))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		bad := bytes.Clone(whole)
		bad[n] ^= 1
		if n%3 == 0 {
			bad = whole[:n]
		}
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := first.disk.load("f", stampOf(t, tmp, "f"))
		if err == nil {
			t.Fatalf("byte %d wrong: manifest %v", n, m.ID() == v.Manifest.ID())
		}
	}
	second := open(t, Config{Path: tmp, Cache: cache})
	if _, err := second.Manifest(t.Context(), "/f"); err != nil {
		t.Fatal(err)
	}
}

func TestRunHashesAhead(t *testing.T) {
	tmp, cache := t.TempDir(), t.TempDir()
	put(t, tmp, map[string][]byte{"big": random(2 << 20), "sub/bigger": random(3 << 20), "small": random(10), ".dot/big": random(2 << 20)})
	old := open(t, Config{Path: tmp, Cache: cache})
	put(t, tmp, map[string][]byte{"removed": random(10)})
	if _, err := old.Manifest(t.Context(), "/removed"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(tmp, "removed")); err != nil {
		t.Fatal(err)
	}

	d := open(t, Config{Path: tmp, Cache: cache, Ahead: 1 << 20})
	running(t, d)
	for _, name := range []string{"/sub/bigger", "/big"} {
		wait(t, func() bool { v, err := d.Lookup(name); return err == nil && v.Manifest != nil })
	}
	if v, _ := d.Lookup("/small"); v.Manifest != nil {
		t.Error("a small file was hashed ahead")
	}
	if _, err := os.Stat(filepath.Join(cache, d.disk.file("removed", diskSuffix))); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the manifest of a removed file is still kept")
	}
	put(t, tmp, map[string][]byte{"new": random(1 << 20)})
	get(t, "GET", serve(t, d)+"/new")
	wait(t, func() bool { v, err := d.Lookup("/new"); return err == nil && v.Manifest != nil })
}
