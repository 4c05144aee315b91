package store

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inMountNamespace runs the calling test again in a process with its own mounts,
// which vanish with it, and returns there true.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	const inside = "TANDEM_STORE_TEST_MOUNTS"
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("in a mount namespace:\n%s", out)
	case err != nil:
		t.Fatalf("in a mount namespace: %v\n%s", err, out)
	}
	return false
}

func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	path := filepath.Join(mount(t, "size=512k"), "file")
	data, s := content(t, 10*piece, 1) // 640 KiB
	f, err := Create(Target{Path: path}, s, meta)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for i := range s.NumPieces() {
		if err = f.WritePiece(i, pieceOf(s.Manifest, data, i)); err != nil {
			break
		}
		written++
	}
	wantErr(t, err, ErrNoSpace)
	t.Log(err)
	onlyRight(t, f, data)
	if written < 5 || f.Have().Count() != written {
		t.Fatalf("%d pieces written, %d there", written, f.Have().Count())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	// With more room it goes on, in the next process or in this.
	r := mustResume(t, path)
	if r.Pieces != written {
		t.Fatalf("%d pieces kept of %d", r.Pieces, written)
	}
	wantErr(t, r.File.WritePiece(9, pieceOf(s.Manifest, data, 9)), ErrNoSpace)
	if err := unix.Mount("tmpfs", filepath.Dir(path), "tmpfs", unix.MS_REMOUNT, "size=2m"); err != nil {
		t.Fatal(err)
	}
	write(t, r.File, data, allPieces(s.Manifest)...)
	if err := r.File.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestDiskFullPlain(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	path := filepath.Join(mount(t, "size=9m"), "file")
	data, s := content(t, 12*markEvery, 1)
	p, err := CreatePlain(Target{Path: path}, meta)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	for rest := data; len(rest) > 0 && err == nil; rest = rest[n:] {
		n, err = p.Write(rest[:min(len(rest), 30<<10)])
	}
	wantErr(t, err, ErrNoSpace)
	at := p.Size()
	if at < 8*markEvery || hashOf(data[:at]) != p.Sum() {
		t.Fatalf("%d bytes written", at)
	}

	// Promotion needs room for the state; without it the Plain stays as it was.
	filler := filepath.Join(filepath.Dir(path), "filler")
	fill(t, filler)
	_, err = p.Promote(t.Context(), s)
	wantErr(t, err, ErrNoSpace)
	if p.Size() != at || hashOf(data[:at]) != p.Sum() {
		t.Fatal("the Plain is not as it was")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if r := mustResume(t, path); r.Bytes < 8*markEvery {
		t.Fatalf("%d bytes kept of %d", r.Bytes, at)
	}
}

// fill writes to path until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 4096); err == nil; {
		_, err = f.Write(b)
	}
	wantErr(t, fail("fill", path, err), ErrNoSpace)
}

func TestDiskFullFromTheStart(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	dir := mount(t, "size=64k")
	fill(t, filepath.Join(dir, "filler"))
	_, s := content(t, piece, 1)
	path := filepath.Join(dir, "file")
	_, err := Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrNoSpace)
	wantGone(t, path, path+PartSuffix, path+StateSuffix)
	_, err = CreatePlain(Target{Path: path}, meta)
	wantErr(t, err, ErrNoSpace)
	wantGone(t, path, path+PartSuffix, path+StateSuffix)
}

func TestReadOnlyFileSystem(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	dir := mount(t, "size=1m")
	path := filepath.Join(dir, "file")
	data, s := content(t, 2*piece, 1)
	f, err := Create(Target{Path: path}, s, meta)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, data, 0)
	f.Close()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrReadOnly)
	if got, want := err.Error(), fmt.Sprintf("open %s: not writable: read-only file system", path+StateSuffix); got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	_, err = Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrReadOnly)
}

// Someone who may not write to the directory is told so. Root may.
func TestReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere; TestReadOnlyFileSystem runs instead")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, s := content(t, piece, 1)
	_, err := Create(Target{Path: filepath.Join(dir, "file")}, s, meta)
	wantErr(t, err, ErrReadOnly)
}

// In a directory like /tmp, others may have left files for us to trip over.
func TestFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user needs root")
	}
	data, s := content(t, 2*piece, 1)
	for _, suffix := range []string{PartSuffix, StateSuffix} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		f := create(t, path, s)
		write(t, f, data, 0)
		f.Close()
		if err := os.Chown(path+suffix, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		// Where only we can put files, somebody has arranged it so.
		mustResume(t, path).File.Close()
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
		_, err := Resume(t.Context(), Target{Path: path}, meta)
		wantErr(t, err, ErrDamaged)
	}
}
