package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// mount mounts a tmpfs for the test.
func mount(t *testing.T, flags uintptr, size int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A full disk and one that cannot be written end the download with one line that
// names the file and the remedy; nothing is there under the file's name.
func TestDiskTroubles(t *testing.T) {
	const size = 24 * mib
	path := file(t, "a.bin", size)
	url, _ := serve(t, filepath.Dir(path))
	for _, tt := range []struct {
		name  string
		flags uintptr
		size  int
		says  string
	}{
		{"full", 0, 8 * mib, "no space left"},
		{"read-only", syscall.MS_RDONLY, mib, "read-only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := filepath.Join(mount(t, tt.flags, tt.size), "a.bin")
			d := getTo(t, target, url+"/a.bin")
			if code := d.wait(t); code != 10 {
				t.Errorf("exit code %d, want 10", code)
			}
			oneLine(t, d.stderr.String(), target, tt.says, "-o")
			if _, err := os.Stat(target); !os.IsNotExist(err) {
				t.Errorf("the file has its name: %v", err)
			}
		})
	}
}

// Room made after a full disk lets -C go on with what was there.
func TestFullDiskResumes(t *testing.T) {
	const size = 12 * mib
	path := file(t, "a.bin", size)
	url, _ := serve(t, filepath.Dir(path))
	dir := mount(t, 0, 20*mib)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, random(13*mib), 0o644); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "a.bin")
	if code := getTo(t, target, url+"/a.bin").wait(t); code != 10 {
		t.Fatalf("exit code %d, want 10", code)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if o := getTo(t, target, url+"/a.bin", "-C").done(t, read(t, path)); o.fromDisk() == 0 {
		t.Error("nothing was kept")
	}
}
