package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	mu        sync.Mutex         // over what follows, once it serves
	manifest  http.HandlerFunc
	wellKnown http.HandlerFunc
	grants    http.HandlerFunc
	chunks    http.HandlerFunc // the chunk map, which the manifest names
}

func newForger(t *testing.T) *forger {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &forger{content: random(8 * mib)}
	f.rekey(key)
	return f
}

// rekey makes all statements anew, true ones, by a key.
func (f *forger) rekey(key ed25519.PrivateKey) {
	m := manifestOf(f.content)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key = key
	f.manifest = f.signs(m, key)
	f.wellKnown = func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(wire.WellKnown{
			Version: 1, Keys: wire.NewJWKS(key.Public().(ed25519.PublicKey)),
			Control: []string{"/nobody"}, Grants: "/grants",
		})
	}
	f.grants = f.grantsOf(m.ID(), key, time.Hour)
	f.chunks = sends(mapOf(f.content).Sign(key))
}

// set replaces what the edge says is the manifest.
func (f *forger) set(manifest http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.manifest = manifest
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

// serve serves the object and returns its URL.
func (f *forger) serve(t *testing.T) string {
	t.Helper()
	digest := sha256.Sum256(f.content)
	mux := http.NewServeMux()
	mux.HandleFunc("/a.bin", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":")
		w.Header().Set("Link", `</manifest>; rel="describedby"; type="`+wire.ManifestType+`"`)
		http.ServeContent(w, r, "a.bin", time.Time{}, bytes.NewReader(f.content))
	})
	for path, statement := range map[string]*http.HandlerFunc{
		"/manifest": &f.manifest, wire.WellKnownPath: &f.wellKnown, "/grants": &f.grants, "/chunks": &f.chunks,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			answer := *statement
			f.mu.Unlock()
			w.Header().Set("Link", `</chunks>; rel="describedby"; type="`+wire.ChunksType+`"`) // of the manifest
			answer(w, r)
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/a.bin"
}

// A forgery is one false statement.
type forgery struct {
	name  string
	forge func(*forger)
}

// badManifests are those that do not hold.
func badManifests(t *testing.T) []forgery {
	t.Helper()
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	// alters answers with the good manifest, altered.
	alters := func(alter func([]byte) []byte) func(*forger) {
		return func(f *forger) {
			f.manifest = sends(alter(manifest.Sign(manifestOf(f.content), f.key).Append(nil)))
		}
	}
	return []forgery{
		{"signed by another", func(f *forger) { f.manifest = f.signs(manifestOf(f.content), foreign) }},
		{"bad signature", alters(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })},
		{"unsigned", func(f *forger) { f.manifest = sends(manifestOf(f.content).Append(nil)) }},
		{"of other bytes", func(f *forger) { f.manifest = f.signs(manifestOf(random(len(f.content))), f.key) }},
		{"truncated", alters(func(b []byte) []byte { return b[:len(b)/2] })},
		{"empty", sendsManifest(nil)},
		{"a page", sendsManifest([]byte("<html>not found</html>"))},
		{"of the largest size", alters(func(b []byte) []byte {
			b[6] = 22
			binary.BigEndian.PutUint64(b[8:], uint64(manifest.MaxSize))
			return b
		})},
		{"of an impossible size", alters(func(b []byte) []byte {
			binary.BigEndian.PutUint64(b[8:], 1<<63)
			return b
		})},
		{"without end", func(f *forger) { f.manifest = endless }},
	}
}

func sendsManifest(b []byte) func(*forger) { return func(f *forger) { f.manifest = sends(b) } }

// A manifest that is there and does not hold ends the download, with one line
// that names the object and says what to do, and without a file, a panic or much
// memory. What has come is gone on from once the manifest is mended.
func TestBadManifests(t *testing.T) {
	for _, tt := range badManifests(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newForger(t)
			good := f.manifest
			tt.forge(f)
			url := f.serve(t)
			d := get(t, url, "--limit-rate", "8M")
			if code := d.wait(t); code != 9 {
				t.Errorf("exit code %d, want 9", code)
			}
			oneLine(t, d.stderr.String(), url, "manifest", "tandem publish", "--no-p2p")
			if rss := d.peakRSS(); rss > 100*mib {
				t.Errorf("it took %d MiB of memory", rss/mib)
			}
			if _, err := os.Stat(d.file); !os.IsNotExist(err) {
				t.Errorf("an error, and yet a file: %v", err)
			}
			// Without the manifest nothing is verified, and nothing says it is.
			if o := get(t, url, "--no-p2p").done(t, f.content); o.Object != "" {
				t.Errorf("--no-p2p: object %s", o.Object)
			}
			f.set(good)
			o := getTo(t, d.file, url, "-C").done(t, f.content)
			t.Logf("%d bytes of the first try were used", o.fromDisk())
		})
	}
}

// However fast the bytes are, a manifest that is ready is looked at.
func TestBadManifestOfAFastObject(t *testing.T) {
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f := newForger(t)
		f.manifest = f.signs(manifestOf(f.content), foreign)
		if code := get(t, f.serve(t)).wait(t); code != 9 {
			t.Fatalf("exit code %d, want 9", code)
		}
	}
}

// Without a manifest, or keys to check it with, an object is an ordinary one:
// nobody who downloads it is to blame.
func TestNoManifest(t *testing.T) {
	status := func(code int) func(*forger) {
		return func(f *forger) {
			f.manifest = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
		}
	}
	for _, tt := range []forgery{
		{"absent", status(http.StatusNotFound)},
		{"never ready", status(http.StatusServiceUnavailable)},
		{"connection lost", func(f *forger) {
			f.manifest = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}},
		{"of another version", func(f *forger) { f.manifest = f.signs(manifestOf(f.content[mib:]), f.key) }},
		{"well-known absent", func(f *forger) { f.wellKnown = http.NotFound }},
		{"well-known garbage", func(f *forger) { f.wellKnown = sends([]byte("<html>")) }},
		{"well-known without end", func(f *forger) { f.wellKnown = endless }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newForger(t)
			tt.forge(f)
			d := get(t, f.serve(t), "--limit-rate", "8M")
			o := d.done(t, f.content)
			if code := d.wait(t); code != 0 || o.Object != "" || d.stderr.String() != "" {
				t.Errorf("exit code %d, object %q, said %q", code, o.Object, d.stderr)
			}
		})
	}
}

// Without a good grant there are no peers: one line says so, and the edge alone
// sends the object, which is verified all the same.
func TestBadGrants(t *testing.T) {
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	object := func(f *forger) manifest.ObjectID { return manifestOf(f.content).ID() }
	for _, tt := range []struct {
		forgery
		says string
	}{
		{forgery{"expired", func(f *forger) { f.grants = f.grantsOf(object(f), f.key, -time.Hour) }}, "expired"},
		{forgery{"for another object", func(f *forger) { f.grants = f.grantsOf(manifest.ObjectID{1}, f.key, time.Hour) }}, "another"},
		{forgery{"by another", func(f *forger) { f.grants = f.grantsOf(object(f), foreign, time.Hour) }}, "trusted"},
		{forgery{"garbage", func(f *forger) { f.grants = sends([]byte(`{"grant":"x.y.z","expires":99999999999999}`)) }}, "malformed"},
		{forgery{"without end", func(f *forger) { f.grants = endless }}, "more than"},
		{forgery{"refused", func(f *forger) {
			f.grants = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not\x1b[2J you", http.StatusForbidden) }
		}}, "403 Forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newForger(t)
			tt.forge(f)
			url := f.serve(t)
			d := get(t, url, "--limit-rate", "8M")
			o := d.done(t, f.content)
			if code := d.wait(t); code != 0 || o.FromPeers != 0 || o.Object != object(f).String() {
				t.Errorf("exit code %d, outcome %+v", code, o)
			}
			oneLine(t, d.stderr.String(), url, tt.says, "without peers", "clock")
		})
	}
}

// A manifest by a key that the host names now holds, also for a program that
// remembers the keys of before.
func TestKeysChange(t *testing.T) {
	f := newForger(t)
	url := f.serve(t)
	agent := t.TempDir()
	p := tandem(t, "agent", "--data", agent)
	until(t, "agent", func() bool { _, err := os.Stat(filepath.Join(agent, "agent.json")); return err == nil })
	fetch := func() {
		t.Helper()
		d := tandem(t, "get", url, "-o", filepath.Join(t.TempDir(), "file"), "--json", "--data", agent)
		if code := d.wait(t); code != 0 {
			t.Fatalf("exit code %d; the agent says: %s", code, p.stderr)
		}
	}
	fetch()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.rekey(key)
	fetch()
	if strings.Contains(p.stderr.String(), "not all is well") {
		t.Errorf("the agent says: %s", p.stderr)
	}
}
