package e2e

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/signedurl"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
	"github.com/tandem-cdn/tandem/test/loopback"
)

// Whatever is wrong, the client says in one line what, with which URL or file,
// and what to do, and its exit code says it to scripts.
func TestBadInput(t *testing.T) {
	odd := oddServer(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	exists := file(t, "exists", 10)
	nowhere := "http://" + loopback.Addr(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no URL", nil, 2, []string{"--help"}},
		{"unknown flag", []string{odd + "/ok", "--uplaod", "on"}, 2, []string{"--uplaod", "--upload"}},
		{"bad rate", []string{odd + "/ok", "--limit-rate", "fast"}, 2, []string{"limit-rate", "fast"}},
		{"not a URL", []string{"nonsense"}, 3, []string{"nonsense", "http://"}},
		{"wrong scheme", []string{"ftp://127.0.0.1/a"}, 3, []string{"ftp://127.0.0.1/a"}},
		{"no such host", []string{"http://no-such-host.invalid/a"}, 7, []string{"no-such-host.invalid"}},
		{"nobody listens", []string{nowhere + "/a"}, 7, []string{nowhere}},
		{"not found", []string{odd + "/missing"}, 4, []string{odd + "/missing", "404"}},
		{"gone", []string{odd + "/gone"}, 4, []string{odd + "/gone", "410"}},
		{"forbidden", []string{odd + "/forbidden"}, 5, []string{odd + "/forbidden", "403"}},
		{"server error", []string{odd + "/broken"}, 6, []string{odd + "/broken", "500"}},
		{"redirects for ever", []string{odd + "/loop"}, 7, []string{odd + "/loop", "redirect"}},
		{"not TLS", []string{strings.Replace(odd, "http:", "https:", 1) + "/ok"}, 7, []string{"https://", "HTTP response"}},
		{"unknown authority", []string{secure.URL + "/a"}, 8, []string{secure.URL, "--ca"}},
		{"impossible size", []string{odd + "/huge"}, 7, []string{odd + "/huge"}},
		{"wrong digest", []string{odd + "/digest"}, 9, []string{odd + "/digest", "SHA-256"}},
		{"file exists", []string{odd + "/ok", "-o", exists}, 10, []string{exists, "-f"}},
		{"no such directory", []string{odd + "/ok", "-o", exists + ".d/file"}, 10, []string{exists + ".d", "-o"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"get", "--data", t.TempDir()}, tt.args...)
			if !strings.Contains(strings.Join(args, " "), "-o ") {
				args = append(args, "-o", filepath.Join(t.TempDir(), "file"))
			}
			p := tandem(t, args...)
			if code := p.wait(t); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			oneLine(t, p.stderr.String(), tt.says...)
			if p.stdout.String() != "" {
				t.Errorf("standard output: %q", p.stdout)
			}
		})
	}
}

// oddServer is a server that answers in odd ways.
func oddServer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	status := func(path string, code int) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) })
	}
	status("/gone", http.StatusGone)
	status("/forbidden", http.StatusForbidden)
	status("/broken", http.StatusInternalServerError)
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4611686018427387904") // 4 EiB
		_, _ = w.Write(make([]byte, 100))
	})
	mux.HandleFunc("/digest", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))+":")
		fmt.Fprint(w, "other bytes")
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// An edge that wants signed URLs (RFC 9246) refuses all others, and the client
// says why.
func TestSignedURLs(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(wire.NewJWKS(public))
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keyFile, keys, 0o644); err != nil {
		t.Fatal(err)
	}
	path := file(t, "a.bin", 4*mib)
	base, _ := serve(t, filepath.Dir(path), "--url-keys", keyFile)
	u := base + "/a.bin"
	get(t, signed(t, u, private, time.Hour)).done(t, read(t, path))
	for name, bad := range map[string]string{
		"unsigned":    u,
		"foreign key": signed(t, u, foreign, time.Hour),
		"expired":     signed(t, u, private, -time.Hour),
		"other path":  strings.Replace(signed(t, base+"/b.bin", private, time.Hour), "/b.bin", "/a.bin", 1),
	} {
		t.Run(name, func(t *testing.T) {
			d := get(t, bad)
			if code := d.wait(t); code != 5 {
				t.Errorf("exit code %d, want 5", code)
			}
			oneLine(t, d.stderr.String(), u, "signature")
		})
	}
}

// A URL that is signed for GET alone, as buckets give them, is resumed too.
func TestGetOnlyURLResumes(t *testing.T) {
	t.Parallel()
	const size = 16 * mib
	path := file(t, "a.bin", size)
	base, _ := serve(t, filepath.Dir(path))
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	d := get(t, s.URL+"/a.bin", "--limit-rate", "6M")
	d.reached(t, size, 0.3)
	kept := int64(d.verified(size)) * manifest.PieceSizeFor(size)
	d.kill()
	o := getTo(t, d.file, s.URL+"/a.bin", "-C").done(t, read(t, path))
	if o.fromDisk() < kept || o.Object == "" {
		t.Errorf("%d bytes kept of %d, object %q", o.fromDisk(), kept, o.Object)
	}
}

// signed is u with a token of RFC 9246.
func signed(t *testing.T, u string, key ed25519.PrivateKey, valid time.Duration) string {
	t.Helper()
	plain, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signedurl.Sign(plain, key, time.Now().Add(valid))
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}
