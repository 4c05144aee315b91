package store

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cached is how many bytes of the file at path are in the page cache.
func cached(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	page := os.Getpagesize()
	in := make([]byte, (len(mem)+page-1)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)), uintptr(unsafe.Pointer(unsafe.SliceData(in)))); errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, b := range in {
		n += int(b&1) * page
	}
	return n
}

// What is written of a large object does not fill the page cache; what is written
// of a small one stays there.
func TestLargeLeavesPageCache(t *testing.T) {
	data, s := content(t, 4*behindEvery, 51)
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		t.Skip("temporary files are in memory here")
	}
	for _, large := range []bool{false, true} {
		path := filepath.Join(dir, map[bool]string{false: "small", true: "large"}[large])
		f := create(t, path, s)
		f.behind.large = large
		for range 2 { // what the disk was still busy with leaves with the next time
			write(t, f, data, allPieces(s.Manifest)...)
			if err := f.data.Sync(); err != nil {
				t.Fatal(err)
			}
			f.have.Clear(0)
			f.behind.written.Add(behindEvery)
		}
		f.behind.running.Lock() // the last time is over
		n := cached(t, path+PartSuffix)
		f.behind.running.Unlock()
		if large && n > len(data)/4 || !large && n < len(data) {
			t.Errorf("large %v: %d of %d bytes are in the page cache", large, n, len(data))
		}
		onlyRight(t, f, data)
	}
	if got := memory(); got < 64<<20 || got > 1<<50 {
		t.Errorf("%d bytes of memory", got)
	}
}
