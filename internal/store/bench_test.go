package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// BenchmarkWritePiece is hashing and writing, as far as the page cache.
func BenchmarkWritePiece(b *testing.B) {
	for _, size := range []int64{64 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("piece=%dKiB", size>>10), func(b *testing.B) {
			one := make([]byte, size)
			m := &manifest.Manifest{Size: 64 * size, PieceSize: size}
			for range 64 {
				m.Pieces = append(m.Pieces, hashOf(one))
			}
			f, err := Create(Target{Path: filepath.Join(b.TempDir(), "file")}, unsigned(m), meta)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			b.SetBytes(size)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f.mu.Lock()
				f.have.Clear(i % 64)
				f.mu.Unlock()
				if err := f.WritePiece(i%64, one); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkResume is re-hashing what is in the page cache.
func BenchmarkResume(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	data, s := content(b, 64<<20, 1)
	f := create(b, path, s)
	write(b, f, data, allPieces(s.Manifest)...)
	f.Close()
	b.SetBytes(s.Size)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Resume(b.Context(), Target{Path: path}, meta)
		if err != nil {
			b.Fatal(err)
		}
		r.File.Close()
	}
}

// BenchmarkReadAt is what serving a block to a peer costs.
func BenchmarkReadAt(b *testing.B) {
	path := filepath.Join(b.TempDir(), "file")
	data, s := content(b, 16<<20, 1)
	f := create(b, path, s)
	write(b, f, data, allPieces(s.Manifest)...)
	block := make([]byte, 32<<10)
	read := func(b *testing.B) {
		b.SetBytes(int64(len(block)))
		b.ReportAllocs()
		off := int64(0)
		for b.Loop() {
			if _, err := f.ReadAt(block, off); err != nil {
				b.Fatal(err)
			}
			off = (off + int64(len(block))) % (s.Size - int64(len(block)))
		}
	}
	b.Run("unfinished", read)
	if err := f.Commit(); err != nil {
		b.Fatal(err)
	}
	b.Run("finished", read)
}
