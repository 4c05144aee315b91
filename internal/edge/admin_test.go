package edge

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestPurge(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "a/f", random(2<<20))
	put(t, tmp, "a/g h", random(2<<20))
	const token = "Authorization: Bearer letmein"
	_, base := start(t, Config{Origin: tmp, AdminToken: "letmein"})
	_ = signedManifest(t, base, get(t, base+"/a/f"))
	_ = signedManifest(t, base, get(t, base+"/a/g%20h"))
	for name, c := range map[string]struct {
		fields []string
		status int
	}{
		"no token":       {nil, 401},
		"wrong token":    {[]string{"Authorization: Bearer letmeinn"}, 401},
		"empty token":    {[]string{"Authorization: Bearer "}, 401},
		"basic":          {[]string{"Authorization: Basic letmein"}, 401},
		"without scheme": {[]string{"Authorization: letmein"}, 401},
	} {
		a := do(t, "PURGE", base+"/a/f", nil, c.fields...)
		if a.Status != c.status || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: status %d", name, a.Status)
		}
	}
	purged := func(a answer) string {
		if a.Status != 200 {
			t.Errorf("purge: status %d, %s", a.Status, a.Body)
		}
		return strings.TrimSpace(string(a.Body))
	}
	if got := purged(do(t, "PURGE", base+"/a/g%20h", nil, token)); got != `{"purged":1}` {
		t.Error(got)
	}
	post := func(body string) answer {
		return do(t, "POST", base+purgePath, strings.NewReader(body), token, "Content-Type: application/json")
	}
	if got := purged(post(`{"paths": ["/a/*", "/none"]}`)); got != `{"purged":1}` {
		t.Error(got)
	}
	for _, bad := range []string{`{}`, `{"paths": ["a"]}`, `[]`} {
		if a := post(bad); a.Status != 400 {
			t.Errorf("%s: status %d", bad, a.Status)
		}
	}
	if a := do(t, "POST", base+purgePath, strings.NewReader(`{"paths":["/"]}`), "Content-Type: application/json"); a.Status != 401 {
		t.Errorf("list without token: status %d", a.Status)
	}
	_, closed := start(t, Config{Origin: tmp})
	if a := do(t, "PURGE", closed+"/a/f", nil, "Authorization: Bearer "); a.Status != 403 {
		t.Errorf("edge without token: status %d", a.Status)
	}
}

func TestOwnResources(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", []byte("x"))
	e, base := start(t, Config{Origin: tmp, Gateway: true})
	if a := get(t, base+"/healthz"); a.Status != 200 || string(a.Body) != "ok\n" {
		t.Errorf("health: %d %q", a.Status, a.Body)
	}
	a := get(t, base+wire.WellKnownPath)
	if a.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.HasPrefix(a.Header.Get("Cache-Control"), "public, max-age=") {
		t.Errorf("well-known: header %v", a.Header)
	}
	doc := wellKnown(t, base)
	if keys := doc.Keys.Public(); len(keys) != 1 || !keys[0].Equal(e.PublicKey()) || doc.Control == nil || !doc.Gateway {
		t.Errorf("well-known: %+v", doc)
	}
	if a := do(t, "DELETE", base+wire.WellKnownPath, nil); a.Status != 405 {
		t.Errorf("DELETE: %d", a.Status)
	}
	if a := get(t, base+wire.WellKnownPath+"/other"); a.Status != 404 {
		t.Errorf("unknown resource: %d", a.Status)
	}
}

func TestCORS(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(2<<20))
	_, base := start(t, Config{Origin: tmp})
	if a := get(t, base+"/f", "Origin: https://page.example"); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("pages may read objects though nobody said so")
	}
	_, open := start(t, Config{Origin: tmp, AllowOrigin: "https://page.example"})
	for _, u := range []string{open + "/f", manifestURL(t, open, get(t, open+"/f"))} {
		a := get(t, u, "Origin: https://page.example")
		if a.Header.Get("Access-Control-Allow-Origin") != "https://page.example" || a.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: header %v", u, a.Header)
		}
	}
	for _, u := range []string{open + "/f", open + grantsPath} {
		a := do(t, "OPTIONS", u, nil, "Origin: https://page.example", "Access-Control-Request-Method: POST")
		if a.Status != 204 || a.Header.Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("preflight of %s: %d, %v", u, a.Status, a.Header)
		}
	}
}

func TestNewErrors(t *testing.T) {
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"no directory": {Origin: filepath.Join(tmp, "none"), Data: tmp},
		"a file":       {Origin: file, Data: tmp},
		"no data":      {Origin: tmp},
		"bad URL":      {Origin: "http://", Data: tmp},
		"bad public":   {Origin: tmp, Data: tmp, PublicURL: "cdn.example"},
		"bad key":      {Origin: tmp, Data: file},
	} {
		if e, err := New(cfg); err == nil {
			e.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

func TestKeyIsKept(t *testing.T) {
	data := t.TempDir()
	a, _ := start(t, Config{Origin: t.TempDir(), Data: data})
	b, _ := start(t, Config{Origin: t.TempDir(), Data: data})
	if !a.PublicKey().Equal(b.PublicKey()) {
		t.Error("the second start has another key")
	}
}

func TestSignerForgets(t *testing.T) {
	tmp := t.TempDir()
	put(t, tmp, "f", random(2<<20))
	e, base := start(t, Config{Origin: tmp})
	s := signedManifest(t, base, get(t, base+"/f"))
	for range maxSigned + 10 {
		m := *s.Manifest
		if e.signer.sign(&m).Object != s.Object {
			t.Fatal("wrong object")
		}
	}
	if n := len(e.signer.signed); n > maxSigned {
		t.Errorf("%d signatures remembered", n)
	}
	if a := get(t, manifestURL(t, base, get(t, base+"/f"))); a.Status != http.StatusOK {
		t.Errorf("status %d", a.Status)
	}
}
