package stream

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestStore has more pieces than fit the memory, and then more than fit at all.
func TestStore(t *testing.T) {
	const size = 1000
	dir := filepath.Join(t.TempDir(), "pieces")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := NewStore(dir, 3*size, 6*size)
	right := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	get := func(i int) ([]Key, error) {
		b, dropped, err := s.Get(Key{1, i}, func(b []byte) bool { return bytes.Equal(b, right(i)) })
		if err == nil && !bytes.Equal(b, right(i)) {
			t.Errorf("piece %d is not what was stored", i)
		}
		return dropped, err
	}
	for i := range 6 {
		if dropped := s.Put(Key{1, i}, right(i)); len(dropped) > 0 {
			t.Errorf("%v dropped at piece %d", dropped, i)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 3 {
		t.Errorf("%d files, want those of the three oldest", len(files))
	}
	if _, err := get(0); err != nil { // from its file
		t.Fatal(err)
	}
	if dropped := s.Put(Key{1, 6}, right(6)); !slices.Equal(dropped, []Key{{1, 1}}) {
		t.Errorf("%v dropped, want what was not used for longest", dropped)
	}
	if s.Has(Key{1, 1}) || !s.Has(Key{1, 0}) || s.Have(1).Count() != 6 || s.Have(2).Count() != 0 {
		t.Errorf("has %v", s.Have(1))
	}
	if err := os.WriteFile(filepath.Join(dir, "1-2"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if dropped, err := get(2); !errors.Is(err, errMissing) || !slices.Equal(dropped, []Key{{1, 2}}) || s.Has(Key{1, 2}) {
		t.Errorf("damaged piece: %v, %v dropped", err, dropped)
	}
	if _, err := get(2); !errors.Is(err, errMissing) {
		t.Errorf("damaged piece, again: %v", err)
	}
	for i := range 100 { // whatever the order, the bounds hold
		s.Put(Key{1, i * 7 % 50}, right(i*7%50))
		_, _ = get(i * 3 % 50) // which may be gone
		if s.inMem > s.memory || s.total > s.quota {
			t.Fatalf("%d bytes in memory, %d in all", s.inMem, s.total)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files are left: %v", err)
	}
}

// TestStoreWithoutDisk drops what it cannot write.
func TestStoreWithoutDisk(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "none"), 2000, 10000)
	var dropped []Key
	for i := range 4 {
		dropped = append(dropped, s.Put(Key{0, i}, make([]byte, 1000))...)
	}
	if !slices.Equal(dropped, []Key{{0, 0}, {0, 1}}) {
		t.Errorf("%v dropped", dropped)
	}
}
