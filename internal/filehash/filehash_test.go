package filehash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// write makes a file that has been left alone for an hour.
func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestSum(t *testing.T) {
	for _, n := range []int{0, 1, manifest.MinPieceSize, manifest.MinPieceSize + 1, 3<<20 + 17} {
		b := random(n)
		f := open(t, write(t, b))
		sum, err := Sum(t.Context(), f)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		m, stamp := sum.Manifest, sum.Stamp
		if c := sum.Chunks; (c != nil) != (n >= chunkmap.MinObject) || c != nil && (c.Size != m.Size || c.Object != m.ID()) {
			t.Errorf("%d bytes: chunk map %+v", n, c)
		}
		if m.Size != int64(n) || stamp.Size != int64(n) || m.Digest != sha256.Sum256(b) {
			t.Errorf("%d bytes: manifest of %d bytes, digest right: %v", n, m.Size, m.Digest == sha256.Sum256(b))
		}
		for i := range m.NumPieces() {
			if !m.Verify(i, b[m.Offset(i):m.Offset(i)+m.PieceLen(i)]) {
				t.Errorf("%d bytes: piece %d does not verify", n, i)
			}
		}
	}
}

func TestSumRefusesChange(t *testing.T) {
	path := write(t, random(4<<20))
	f := open(t, path)
	ctx := &hookContext{Context: t.Context(), after: 5, hook: func() {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.WriteAt([]byte("new"), 100); err != nil {
			t.Fatal(err)
		}
	}}
	if _, err := Sum(ctx, f); !errors.Is(err, ErrChanged) {
		t.Fatalf("file written to while hashed: %v", err)
	}
	ctx = &hookContext{Context: t.Context(), after: 5, hook: func() {
		if err := os.Truncate(path, 1<<20); err != nil {
			t.Fatal(err)
		}
	}}
	if _, err := Sum(ctx, f); !errors.Is(err, ErrChanged) {
		t.Fatalf("file truncated while hashed: %v", err)
	}
}

func TestSumCancelled(t *testing.T) {
	f := open(t, write(t, random(1<<20)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sum(ctx, f); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
}

func TestSumOfDirectory(t *testing.T) {
	if _, err := Sum(t.Context(), open(t, t.TempDir())); err == nil {
		t.Fatal("a directory has a manifest")
	}
}

// hookContext runs hook when it has been asked for its error some times: in
// the midst of the reads.
type hookContext struct {
	context.Context
	after int
	hook  func()
}

func (c *hookContext) Err() error {
	if c.after--; c.after == 0 {
		c.hook()
	}
	return c.Context.Err()
}

func TestStampWaits(t *testing.T) {
	now := time.Now()
	old := Stamp{Modified: now.Add(-time.Hour).UnixNano()}
	future := Stamp{Modified: now.Add(time.Hour).UnixNano()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fresh := Stamp{Modified: now.Add(-time.Hour).UnixNano(), Changed: now.UnixNano()}
	if err := old.wait(t.Context(), now); err != nil {
		t.Error(err)
	}
	if err := future.wait(t.Context(), now); err != nil {
		t.Error(err)
	}
	if err := fresh.wait(ctx, now); err == nil {
		t.Error("a file written to this moment was not waited for")
	}
}

func TestETagTellsVersionsApart(t *testing.T) {
	a := Stamp{Size: 1, Modified: 2, Changed: 3}
	seen := map[string]bool{}
	for _, s := range []Stamp{a, {2, 2, 3}, {1, 3, 3}, {1, 2, 4}, {3, 2, 1}} {
		e := s.ETag()
		if seen[e] || len(e) != 18 || !bytes.HasPrefix([]byte(e), []byte(`"`)) {
			t.Errorf("entity tag %s of %+v", e, s)
		}
		seen[e] = true
	}
	if a.ETag() != (Stamp{1, 2, 3}).ETag() {
		t.Error("equal stamps have different tags")
	}
}
