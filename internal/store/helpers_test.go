package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const piece = manifest.MinPieceSize

var meta = Meta{URL: "https://example.test/file", ETag: `"v1"`}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// content is size bytes that depend on seed, and their manifest.
func content(t testing.TB, size int, seed uint64) ([]byte, *manifest.Signed) {
	t.Helper()
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(data)
	return data, sign(t, data)
}

func sign(t testing.TB, data []byte) *manifest.Signed {
	t.Helper()
	return signOf(data)
}

func signOf(data []byte) *manifest.Signed {
	b, err := manifest.NewBuilder(int64(len(data)))
	if err != nil {
		panic(err) // no test has so much
	}
	_, _ = b.Write(data)
	m, err := b.Finish()
	if err != nil {
		panic(err) // all of it was written
	}
	return unsigned(m)
}

// unsigned wraps a manifest that need not be believed by anyone.
func unsigned(m *manifest.Manifest) *manifest.Signed {
	return manifest.Sign(m, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
}

func hashOf(b []byte) manifest.Hash { return sha256.Sum256(b) }

func pieceOf(m *manifest.Manifest, data []byte, i int) []byte {
	return data[m.Offset(i) : m.Offset(i)+m.PieceLen(i)]
}

func create(t testing.TB, path string, s *manifest.Signed) *File {
	t.Helper()
	f, err := Create(Target{Path: path}, s, meta)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t failer, f *File, data []byte, pieces ...int) {
	t.Helper()
	for _, i := range pieces {
		if err := f.WritePiece(i, pieceOf(f.Manifest(), data, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func allPieces(m *manifest.Manifest) []int {
	return rand.Perm(m.NumPieces())
}

func mustResume(t testing.TB, path string) *Resumed {
	t.Helper()
	r, err := Resume(t.Context(), Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.File != nil {
			r.File.Close()
		} else {
			r.Plain.Close()
		}
	})
	return r
}

// plainOf is an ordinary download of which some bytes have come.
func plainOf(t testing.TB, path string, data []byte) *Plain {
	t.Helper()
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if _, err := p.Write(data); err != nil {
		t.Fatal(err)
	}
	return p
}

// seedOf shares a file.
func seedOf(t testing.TB, path string, s *manifest.Signed) *File {
	t.Helper()
	f, err := Seed(path, s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// put writes a file as its owner would.
func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// age makes a file look as if it had been left alone for a while.
func age(t *testing.T, path string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

func wantFile(t failer, path string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%s differs from the %d bytes written", path, len(data))
	}
}

func wantGone(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", p, err)
		}
	}
}
