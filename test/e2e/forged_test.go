package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// forger is an edge whose statements about its object can be falsified one by
// one.
type forger struct {
	content   []byte
	key       ed25519.PrivateKey // named by the well-known document
	manifest  http.HandlerFunc
	wellKnown http.HandlerFunc
	grants    http.HandlerFunc
}

func newForger(t *testing.T) *forger {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{content: random(8 * mib), key: key}
	m := manifestOf(f.content)
	f.manifest = f.signs(m, key)
	f.wellKnown = func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(wire.WellKnown{
			Version: 1, Keys: wire.NewJWKS(key.Public().(ed25519.PublicKey)),
			Control: []string{"/nobody"}, Grants: "/grants",
		})
	}
	f.grants = f.grantsOf(m.ID(), key, time.Hour)
	return f
}

// manifestOf describes content.
func manifestOf(content []byte) *manifest.Manifest {
	m := &manifest.Manifest{
		Size: int64(len(content)), PieceSize: manifest.PieceSizeFor(int64(len(content))), Digest: sha256.Sum256(content),
	}
	for i := range manifest.PieceCount(m.Size, m.PieceSize) {
		m.Pieces = append(m.Pieces, sha256.Sum256(content[m.Offset(i):][:m.PieceLen(i)]))
	}
	return m
}

// signs answers with m, signed by key.
func (f *forger) signs(m *manifest.Manifest, key ed25519.PrivateKey) http.HandlerFunc {
	return sends(manifest.Sign(m, key).Append(nil))
}

// sends answers with b.
func sends(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// endless never stops answering.
func endless(w http.ResponseWriter, _ *http.Request) {
	b := bytes.Repeat([]byte{'x'}, 64*kib)
	for {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// grantsOf gives grants for an object, signed by key.
func (f *forger) grantsOf(object manifest.ObjectID, key ed25519.PrivateKey, valid time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req wire.GrantRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now()
		g, err := grant.Sign(grant.Claims{Object: object, Key: req.Key, Expires: now.Add(valid)}, key, now)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(wire.GrantResponse{Grant: g, Expires: now.Add(valid).Unix()})
	}
}

// serve serves the object, slowly enough for the rest to matter, and returns its
// URL.
func (f *forger) serve(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/a.bin", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Link", `</manifest>; rel="describedby"; type="`+wire.ManifestType+`"`)
		http.ServeContent(w, r, "a.bin", time.Time{}, bytes.NewReader(f.content))
	})
	mux.HandleFunc("/manifest", f.manifest)
	mux.HandleFunc(wire.WellKnownPath, f.wellKnown)
	mux.HandleFunc("/grants", f.grants)
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/a.bin"
}

// Statements that do not hold, cannot be read or have no end cost the client its
// peers, at worst the download: never a wrong file, a panic or its memory.
func TestForgedStatements(t *testing.T) {
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		forge func(*forger)
	}{
		{"nothing", func(*forger) {}},
		{"manifest signed by another", func(f *forger) { f.manifest = f.signs(manifestOf(f.content), foreign) }},
		{"manifest of other bytes", func(f *forger) { f.manifest = f.signs(manifestOf(random(len(f.content))), f.key) }},
		{"manifest of another size", func(f *forger) { f.manifest = f.signs(manifestOf(f.content[mib:]), f.key) }},
		{"manifest truncated", func(f *forger) {
			b := manifest.Sign(manifestOf(f.content), f.key).Append(nil)
			f.manifest = sends(b[:len(b)/2])
		}},
		{"manifest of the largest size", func(f *forger) {
			b := manifest.Sign(manifestOf(f.content), f.key).Append(nil)
			b[6] = 22
			binary.BigEndian.PutUint64(b[8:], uint64(manifest.MaxSize))
			f.manifest = sends(b)
		}},
		{"manifest without end", func(f *forger) { f.manifest = endless }},
		{"manifest never ready", func(f *forger) {
			f.manifest = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}},
		{"well-known garbage", func(f *forger) { f.wellKnown = sends([]byte("<html>")) }},
		{"well-known without end", func(f *forger) { f.wellKnown = endless }},
		{"grant expired", func(f *forger) { f.grants = f.grantsOf(manifestOf(f.content).ID(), f.key, -time.Hour) }},
		{"grant for another object", func(f *forger) { f.grants = f.grantsOf(manifest.ObjectID{1}, f.key, time.Hour) }},
		{"grant garbage", func(f *forger) { f.grants = sends([]byte(`{"grant":"x.y.z","expires":99999999999999}`)) }},
		{"grant without end", func(f *forger) { f.grants = endless }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newForger(t)
			tt.forge(f)
			d := get(t, f.serve(t), "--limit-rate", "4M")
			code := d.wait(t)
			if rss := d.peakRSS(); rss > 100*mib {
				t.Errorf("it took %d MiB of memory", rss/mib)
			}
			if code == 0 {
				d.done(t, f.content)
				return
			}
			if code != 9 {
				t.Errorf("exit code %d, want 9", code)
			}
			t.Logf("%s", d.stderr)
			oneLine(t, d.stderr.String(), "/a.bin")
			if _, err := os.Stat(d.file); !os.IsNotExist(err) {
				t.Errorf("an error, and yet a file: %v", err)
			}
		})
	}
}
