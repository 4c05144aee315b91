package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

func mapOf(data []byte) *chunkmap.Map {
	b := chunkmap.NewBuilder(int64(len(data)))
	_, _ = b.Write(data)
	return b.Finish(manifest.ObjectID{})
}

func basisOf(t failer, s *manifest.Signed, data []byte, files ...string) *Basis {
	t.Helper()
	b, err := OpenBasis(context.Background(), s.Manifest, mapOf(data), files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rebuild adopts what the basis has, checks it, fetches the gaps of the rest and
// returns how many bytes these were.
func rebuild(t failer, f *File, b *Basis, data []byte) (fetched int64) {
	t.Helper()
	m := f.Manifest()
	adopted, err := f.Adopt(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.NumPieces() {
		if f.Has(i) {
			adopted -= m.PieceLen(i)
			continue
		}
		piece := make([]byte, m.PieceLen(i))
		at := m.Offset(i)
		for _, g := range append(b.Gaps(i), chunkmap.Range{Off: at + m.PieceLen(i)}) {
			if _, err := b.ReadAt(piece[at-m.Offset(i):g.Off-m.Offset(i)], at); err != nil && g.Off > at {
				t.Fatalf("piece %d: %v", i, err)
			}
			copy(piece[g.Off-m.Offset(i):], data[g.Off:g.End()])
			at, fetched = g.End(), fetched+g.Len
		}
		if err := f.WritePiece(i, piece); err != nil {
			t.Fatal(err)
		}
	}
	if adopted != 0 {
		t.Fatalf("%d bytes more adopted than there are", adopted)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	return fetched
}

// Whatever was done to the old version, the new one is rebuilt from it and the gaps.
func TestBasis(t *testing.T) {
	old, _ := content(t, 2<<20+77, 1)
	path := filepath.Join(t.TempDir(), "old")
	put(t, path, old)
	rapid.Check(t, func(t *rapid.T) {
		data := old
		n := rapid.IntRange(0, 5).Draw(t, "edits")
		var fresh int64
		for k := range n {
			at := rapid.IntRange(0, len(data)).Draw(t, "at")
			gone := min(rapid.IntRange(0, 90_000).Draw(t, "delete"), len(data)-at)
			add := bytes.Repeat([]byte{byte(k), 1, 2}, rapid.IntRange(0, 30_000).Draw(t, "insert"))
			fresh += int64(len(add))
			data = bytes.Join([][]byte{data[:at], add, data[at+gone:]}, nil)
		}
		s := signOf(data)
		target := Target{Path: path + ".new", Overwrite: true}
		f, err := Create(target, s, meta)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := basisOf(t, s, data, path)
		defer b.Close()
		if fetched := rebuild(t, f, b, data); fetched > fresh+int64(n+1)*100_000 {
			t.Fatalf("%d bytes fetched for %d edits with %d new bytes", fetched, n, fresh)
		}
		wantFile(t, target.Path, data)
	})
}

// Large files are searched in stretches that overlap: nothing is missed where one
// ends.
func TestBasisOfManyStretches(t *testing.T) {
	old, _ := content(t, 2*stretch+stretch/2, 2)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "old"), old)
	data := append([]byte("in front"), old...)
	s := sign(t, data)
	b := basisOf(t, s, data, filepath.Join(dir, "old"))
	defer b.Close()
	if missing := s.Size - b.Found(); missing > 100_000 {
		t.Errorf("%d bytes not found", missing)
	}
}

func TestBasisOfSeveralFiles(t *testing.T) {
	data, s := content(t, 3<<20, 1)
	dir := t.TempDir()
	var files []string
	for i, part := range [][]byte{data[:1<<20], nil, data[1<<20:]} {
		path := filepath.Join(dir, string(rune('a'+i)))
		put(t, path, part)
		files = append(files, path)
	}
	b := basisOf(t, s, data, append([]string{filepath.Join(dir, "none"), dir}, files...)...)
	defer b.Close()
	f := create(t, filepath.Join(dir, "new"), s)
	if fetched := rebuild(t, f, b, data); fetched > 150_000 {
		t.Errorf("%d bytes fetched", fetched)
	}
}

func TestBasisOfUnrelatedFile(t *testing.T) {
	data, s := content(t, 1<<20, 1)
	other, _ := content(t, 1<<20, 2)
	path := filepath.Join(t.TempDir(), "other")
	put(t, path, other)
	b := basisOf(t, s, data, path)
	defer b.Close()
	if b.Found() != 0 {
		t.Errorf("%d bytes found", b.Found())
	}
	if g := b.Gaps(3); len(g) != 1 || g[0].Off != s.Offset(3) || g[0].Len != s.PieceLen(3) {
		t.Errorf("gaps of a piece of which nothing is there: %v", g)
	}
	if _, err := b.ReadAt(make([]byte, 10), 0); !errors.Is(err, ErrMissing) {
		t.Errorf("read of a gap: %v", err)
	}
}

// A file that is changed or cut after it was searched costs pieces, not correctness.
func TestBasisThatChanges(t *testing.T) {
	data, s := content(t, 2<<20, 1)
	for name, harm := range map[string]func(path string) error{
		"written to": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("changed"), s.Offset(5)+100)
			return errors.Join(err, f.Close())
		},
		"cut":     func(path string) error { return os.Truncate(path, s.Offset(5)+100) },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "old")
			put(t, path, data)
			b := basisOf(t, s, data, path)
			defer b.Close()
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			f := create(t, path+".new", s)
			if _, err := f.Adopt(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if f.Has(5) || name != "emptied" && !f.Has(4) {
				t.Errorf("pieces %v", f.Have().Bytes())
			}
			if g := b.Gaps(5); len(g) != 1 || g[0].Len != s.PieceLen(5) {
				t.Errorf("gaps of a piece that did not verify: %v", g)
			}
			if _, err := b.ReadAt(make([]byte, 200), s.Offset(5)); name != "written to" && !errors.Is(err, ErrChanged) {
				t.Errorf("read of what is gone: %v", err)
			}
		})
	}
}

func TestBasisEndsWithContext(t *testing.T) {
	data, s := content(t, 1<<20, 1)
	path := filepath.Join(t.TempDir(), "old")
	put(t, path, data)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenBasis(ctx, s.Manifest, mapOf(data), []string{path}); !errors.Is(err, context.Canceled) {
		t.Errorf("search: %v", err)
	}
	b := basisOf(t, s, data, path)
	defer b.Close()
	if _, err := create(t, path+".new", s).Adopt(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("adopt: %v", err)
	}
}

// BenchmarkBasis rebuilds a file from one that differs in its first bytes.
func BenchmarkBasis(b *testing.B) {
	old, _ := content(b, 512<<20, 1)
	path := filepath.Join(b.TempDir(), "old")
	put(b, path, old)
	data := append(make([]byte, 1000), old...)
	s, m := sign(b, data), mapOf(data)
	search := func(b *testing.B) *Basis {
		basis, err := OpenBasis(b.Context(), s.Manifest, m, []string{path})
		if err != nil || basis.Found() < s.Size*9/10 {
			b.Fatal(err)
		}
		return basis
	}
	b.Run("search", func(b *testing.B) {
		b.SetBytes(s.Size)
		for b.Loop() {
			if err := search(b).Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("adopt", func(b *testing.B) {
		b.SetBytes(s.Size)
		basis := search(b)
		defer basis.Close()
		for b.Loop() {
			f, err := Create(Target{Path: path + ".new"}, s, meta)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.Adopt(b.Context(), basis); err != nil {
				b.Fatal(err)
			}
			if err := f.Abort(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A map that lies, or a file that is changed all over, is not believed for long.
func TestWorthlessBasis(t *testing.T) {
	data, s := content(t, 4<<20, 1)
	path := filepath.Join(t.TempDir(), "old")
	put(t, path, data)
	b := basisOf(t, s, data, path)
	defer b.Close()
	put(t, path, make([]byte, len(data)))
	f := create(t, path+".new", s)
	if n, err := f.Adopt(t.Context(), b); n != 0 || err != nil {
		t.Errorf("%d bytes adopted, %v", n, err)
	}
	for i := range s.NumPieces() {
		if len(b.Gaps(i)) != 1 || b.Gaps(i)[0].Len != s.PieceLen(i) {
			t.Fatalf("gaps of piece %d: %v", i, b.Gaps(i))
		}
	}
}
