package store

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 3*piece+9, 1)
	put(t, path, data)
	age(t, path)
	f := seedOf(t, path, s)
	if err := f.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantSeeded := func(want []byte) {
		t.Helper()
		got, err := io.ReadAll(io.NewSectionReader(f, 0, int64(len(data))))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %v", len(got), err)
		}
	}
	wantSeeded(data)

	// The owner writes to the file: the piece is gone, the others stay.
	changed := bytes.Clone(data)
	changed[piece+3] ^= 0xff
	put(t, path, changed)
	p := make([]byte, 10)
	_, err := f.ReadAt(p, piece)
	wantErr(t, err, ErrChanged)
	if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, data[:10]) {
		t.Fatalf("an untouched piece cannot be read: %v", err)
	}
	if f.Has(1) || !f.Has(0) {
		t.Fatal("piece 1 should be gone, piece 0 there")
	}
	wantErr(t, f.WritePiece(1, data[piece:2*piece]), ErrChanged)
	wantErr(t, f.Verify(t.Context()), ErrChanged)
	wantFile(t, path, changed)

	// It is put right again, then cut short.
	put(t, path, data)
	age(t, path)
	wantSeeded(data)
	if err := os.Truncate(path, piece); err != nil {
		t.Fatal(err)
	}
	_, err = f.ReadAt(p, 0)
	wantErr(t, err, ErrChanged)
	if f.Have().Count() != 0 {
		t.Fatal("pieces of a file of another size")
	}
	wantErr(t, f.Verify(t.Context()), ErrChanged)

	_, err = Seed(path, s.Manifest)
	wantErr(t, err, ErrChanged)
	_, err = Seed(path+"x", s.Manifest)
	wantErr(t, err, fs.ErrNotExist)
}

// A file that was changed while nobody looked is caught at the first read.
func TestSeedHashesBeforeItServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, 2*piece, 1)
	data[5]++
	put(t, path, data)
	age(t, path)
	f := seedOf(t, path, s)
	_, err := f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, ErrChanged)
	if _, err := f.ReadAt(make([]byte, 1), piece); err != nil {
		t.Fatal(err)
	}
}

// Changes that leave size and time as they were within the clock's resolution
// are found, because young hashes are not remembered.
func TestSeedFastChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	put(t, path, data)
	f := seedOf(t, path, s)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	now := time.Now()
	for i := range 20 {
		b := data[i] ^ 1
		if _, err := w.WriteAt([]byte{b}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
		if n, err := f.ReadAt(make([]byte, 1), int64(i)); err == nil {
			t.Fatalf("change %d was not seen (%d bytes)", i, n)
		}
		if _, err := w.WriteAt(data[i:i+1], int64(i)); err != nil {
			t.Fatal(err)
		}
		other := now.Add(time.Duration(i+1) * time.Nanosecond) // ends the verdict on the piece
		if err := os.Chtimes(path, other, other); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(make([]byte, 1), int64(i)); err != nil {
			t.Fatal(err)
		}
		now = other
	}
}
