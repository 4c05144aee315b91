package store

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestNames(t *testing.T) {
	dir := t.TempDir()
	data, s := content(t, piece, 1)
	path := filepath.Join(dir, "taken")
	put(t, path, []byte("mine"))
	_, err := Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrExists)
	_, err = CreatePlain(Target{Path: path}, meta)
	wantErr(t, err, ErrExists)
	_, err = Create(Target{Path: dir, Overwrite: true}, s, meta)
	wantErr(t, err, ErrExists)
	_, err = Create(Target{Path: filepath.Join(dir, "no", "such")}, s, meta)
	wantErr(t, err, fs.ErrNotExist)
	wantFile(t, path, []byte("mine"))

	f, err := Create(Target{Path: path, Overwrite: true, Sync: true}, s, meta)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, data, 0)
	wantFile(t, path, []byte("mine"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestNameTakenMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	put(t, path, []byte("mine"))
	wantErr(t, f.Commit(), ErrExists)
	wantFile(t, path, []byte("mine"))
	// Renaming itself does not replace either.
	wantErr(t, fail("rename to", path, renameNew(path+PartSuffix, path)), ErrExists)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, data)
}

func TestLinksAreNotFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs a privilege on Windows")
	}
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	put(t, victim, []byte("precious"))
	data, s := content(t, piece, 1)
	path := filepath.Join(dir, "file")
	if err := os.Symlink(victim, path+PartSuffix); err != nil {
		t.Fatal(err)
	}
	f := create(t, path, s)
	write(t, f, data, 0)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, victim, []byte("precious"))

	if err := os.Rename(path+PartSuffix, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path+PartSuffix); err != nil {
		t.Fatal(err)
	}
	_, err := Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrDamaged)

	if err := os.Remove(path + StateSuffix); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path+StateSuffix); err != nil {
		t.Fatal(err)
	}
	_, err = Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrDamaged)
	wantFile(t, victim, []byte("precious"))
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	data, s := content(t, piece, 1)
	f := create(t, path, s)
	write(t, f, data, 0)
	_, err := Create(Target{Path: path}, s, meta)
	wantErr(t, err, ErrLocked)
	_, err = Resume(t.Context(), Target{Path: path}, meta)
	wantErr(t, err, ErrLocked)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if r := mustResume(t, path); r.Pieces != 1 {
		t.Fatalf("%d pieces kept, want 1", r.Pieces)
	}
}
