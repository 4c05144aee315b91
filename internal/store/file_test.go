package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestDownload(t *testing.T) {
	for _, size := range []int{0, 1, piece - 1, piece, piece + 1, 5*piece + 17} {
		path := filepath.Join(t.TempDir(), "file")
		data, s := content(t, size, 1)
		f := create(t, path, s)
		if size > 0 {
			wantErr(t, f.Commit(), ErrMissing)
		}
		write(t, f, data, allPieces(f.Manifest())...)
		if !f.Have().Full() {
			t.Fatal("pieces are missing")
		}
		wantGone(t, path)
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data)
		wantGone(t, path+PartSuffix, path+StateSuffix)

		// It goes on serving from there.
		got, err := io.ReadAll(io.NewSectionReader(f, 0, int64(size)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("read %d bytes of %d: %v", len(got), size, err)
		}
		if err := f.Commit(); err != nil {
			t.Fatalf("commit again: %v", err)
		}
		if err := f.Abort(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, data)
	}
}

func TestWritePieceRefusesWrongBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece+5, 1)
	f := create(t, path, s)
	flipped := bytes.Clone(pieceOf(f.Manifest(), data, 0))
	flipped[100] ^= 1
	wantErr(t, f.WritePiece(0, flipped), ErrCorrupt)
	wantErr(t, f.WritePiece(0, nil), ErrCorrupt)
	wantErr(t, f.WritePiece(0, data[:piece-1]), ErrCorrupt)
	wantErr(t, f.WritePiece(1, data[:piece]), ErrCorrupt)
	wantErr(t, f.WritePiece(3, data[:piece]), ErrCorrupt)
	wantErr(t, f.WritePiece(-1, data[:piece]), ErrCorrupt)
	if n := f.Have().Count(); n != 0 {
		t.Fatalf("%d pieces entered", n)
	}
	write(t, f, data, 0)
	// A piece that is there is left alone, whatever is offered.
	if err := f.WritePiece(0, flipped); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, piece)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data[:piece]) {
		t.Fatalf("piece 0 is wrong now: %v", err)
	}
}

func TestReadAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 4*piece+10, 1)
	f := create(t, path, s)
	write(t, f, data, 0, 1, 4)
	for _, c := range []struct {
		name   string
		off, n int
		want   int
		err    error
	}{
		{"nothing", 0, 0, 0, nil},
		{"across pieces", piece - 5, 10, 10, nil},
		{"up to the hole", 2*piece - 5, 10, 5, ErrMissing},
		{"in the hole", 2*piece + 5, 10, 0, ErrMissing},
		{"the end", 4 * piece, 10, 10, nil},
		{"past the end", 4*piece + 5, 10, 5, io.EOF},
		{"at the end", 4*piece + 10, 1, 0, io.EOF},
		{"negative", -1, 1, 0, fs.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := make([]byte, c.n)
			n, err := f.ReadAt(p, int64(c.off))
			if n != c.want || !errors.Is(err, c.err) {
				t.Fatalf("%d bytes, %v; want %d, %v", n, err, c.want, c.err)
			}
			if n > 0 && !bytes.Equal(p[:n], data[c.off:c.off+n]) {
				t.Fatal("wrong bytes")
			}
		})
	}
}

func TestClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, f.WritePiece(1, data[piece:]), fs.ErrClosed)
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, fs.ErrClosed)
	wantErr(t, f.Commit(), fs.ErrClosed)
	wantErr(t, f.Verify(t.Context()), fs.ErrClosed)
	if err := mustResume(t, path).File.Abort(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, path, path+PartSuffix, path+StateSuffix)
}

func TestConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 20*piece+1, 1)
	f := create(t, path, s)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, i := range allPieces(f.Manifest()) {
				if err := f.WritePiece(i, pieceOf(f.Manifest(), data, i)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			p := make([]byte, piece)
			for !f.Have().Full() {
				off := rand.Int64N(f.Manifest().Size)
				if n, _ := f.ReadAt(p, off); !bytes.Equal(p[:n], data[off:off+int64(n)]) {
					t.Errorf("wrong bytes at %d", off)
				}
			}
		})
	}
	wg.Wait()
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestErrorsReadWell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	f := create(t, path, s)
	err := f.WritePiece(0, data[1:])
	if got, want := err.Error(), "write "+path+": piece 0: bytes do not match the manifest"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	_, err = Resume(t.Context(), Target{Path: path + "x"}, meta)
	if got := err.Error(); strings.Count(got, path) != 1 {
		t.Errorf("error %q names the path more than once", got)
	}
}
