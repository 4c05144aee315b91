//go:build linux

package rig

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// RandomFile makes a file of size bytes that nothing can compress.
func RandomFile(size int64) func(path string) error {
	return func(path string) error {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = io.CopyN(f, rand.Reader, size)
		return err
	}
}

// GoArchive makes an archive of this machine's Go tree in dir, of exactly size
// bytes: a real file that every machine with the compiler has.
func GoArchive(ctx context.Context, dir string, size int64) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("archive of the Go tree: %w", err)
	}
	path := filepath.Join(dir, "go.tar")
	f, err := os.Create(path)
	if err != nil {
		return "", fmt.Errorf("archive of the Go tree: %w", err)
	}
	defer func() { _ = f.Close() }()
	w := &limited{w: f, room: size}
	for err == nil { // the tree again where once is not enough
		err = tar.NewWriter(w).AddFS(os.DirFS(strings.TrimSpace(string(root))))
	}
	if !errors.Is(err, errFull) {
		return "", fmt.Errorf("archive of the Go tree: %w", err)
	}
	return path, nil
}

var errFull = errors.New("the archive is full")

// limited passes room bytes on, then ends with errFull.
type limited struct {
	w    io.Writer
	room int64
}

func (l *limited) Write(b []byte) (int, error) {
	if int64(len(b)) < l.room {
		n, err := l.w.Write(b)
		l.room -= int64(n)
		return n, err
	}
	n, err := l.w.Write(b[:l.room])
	l.room -= int64(n)
	return n, errors.Join(err, errFull)
}

// Copy makes path the file from: a link where that is possible, else a copy.
func Copy(from, path string) error {
	if os.Link(from, path) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Uncache puts a file, of which the disk has everything, out of the page cache.
func Uncache(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("put %s out of the page cache: %w", path, err)
	}
	return nil
}
