package main

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// object is the file that everybody wants.
type object struct {
	www    string // directory it is served from
	name   string
	size   int64
	sha256 string
}

// prepare makes the directory to serve: an archive of this machine's Go sources,
// made once, or the file that was named.
func prepare(ctx context.Context, o options) (object, error) {
	obj := object{www: filepath.Join(o.dir, "www"), name: "go-src.tar"}
	if err := os.MkdirAll(obj.www, 0o755); err != nil {
		return obj, err
	}
	var err error
	if o.file != "" {
		obj.name = filepath.Base(o.file)
		err = link(o.file, filepath.Join(obj.www, obj.name))
	} else if _, statErr := os.Stat(filepath.Join(obj.www, obj.name)); errors.Is(statErr, fs.ErrNotExist) {
		err = archive(ctx, filepath.Join(obj.www, obj.name))
	}
	if err != nil {
		return obj, err
	}
	obj.size, obj.sha256, err = sum(filepath.Join(obj.www, obj.name))
	return obj, err
}

// link puts a file into the directory without copying it where that is possible.
func link(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// archive writes $GOROOT/src as a tar, the same bytes whenever it is made.
func archive(ctx context.Context, to string) (err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(out)), "src")
	fmt.Printf("making %s of %s\n", to, src)
	f, err := os.Create(to + ".new")
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	err = filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		return add(w, src, p)
	})
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		return fmt.Errorf("archive of %s: %w", src, err)
	}
	return os.Rename(to+".new", to)
}

func add(w *tar.Writer, root, p string) error {
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: "src/" + filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(0, 0)}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func sum(path string) (n int64, hash string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err = io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}
