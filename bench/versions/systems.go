//go:build linux

package main

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// versions are the new ones.
var versions = []string{"edits", "front"}

const (
	editSize = 100_000 // bytes; there are as many edits as make a hundredth new
	inFront  = 1024    // bytes
)

// system is a program that fetches a version.
type system struct {
	name string
	// command is its command line, which puts the version of that name to the path
	// out in the directory dir.
	command func(w *world, version, dir, out string) ([]string, error)
}

func systems() []system {
	return []system{
		{"tandem", func(w *world, version, dir, out string) ([]string, error) {
			return []string{
				w.o.Binary, "get", "--alone", "--quiet", "--data", filepath.Join(dir, "data"),
				"--from", w.old, "-o", out, "http://" + w.tandem.IP.String() + "/" + version,
			}, nil
		}},
		{"zsync", func(w *world, version, _, out string) ([]string, error) {
			return []string{"zsync", "-q", "-i", w.old, "-o", out, "http://" + w.plain.IP.String() + "/" + version + ".zsync"}, nil
		}},
		{"rsync", func(w *world, version, _, out string) ([]string, error) {
			// It updates a file of the same name.
			err := rig.Copy(w.old, out)
			return []string{"rsync", "--no-whole-file", "--ignore-times", "rsync://" + w.plain.IP.String() + "/www/" + version, out}, err
		}},
	}
}

// makeVersions writes an old version of size random bytes and the new ones.
func makeVersions(old, www string, size int64) error {
	if err := rig.RandomFile(size)(old); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 2))
	places := make([]int64, size/100/editSize)
	for i := range places {
		places[i] = r.Int64N(size - 2*editSize)
	}
	slices.Sort(places)
	err := edit(old, filepath.Join(www, "edits"), func(from *io.SectionReader, to io.Writer) error {
		var at int64
		for i, place := range places {
			place = max(place, at)
			gone := []int64{editSize, 0, editSize / 2}[i%3]
			if err := copyRange(to, from, at, place); err != nil {
				return err
			}
			if _, err := io.CopyN(to, fresh(i), editSize); err != nil {
				return err
			}
			at = min(place+gone, size)
		}
		return copyRange(to, from, at, size)
	})
	return errors.Join(err, edit(old, filepath.Join(www, "front"), func(from *io.SectionReader, to io.Writer) error {
		if _, err := io.CopyN(to, fresh(-1), inFront); err != nil {
			return err
		}
		return copyRange(to, from, 0, size)
	}))
}

// fresh are bytes that no version had before.
func fresh(i int) io.Reader { return rand.NewChaCha8([32]byte{0xed, byte(i)}) }

func copyRange(to io.Writer, from io.ReaderAt, begin, end int64) error {
	_, err := io.Copy(to, io.NewSectionReader(from, begin, end-begin))
	return err
}

// edit writes a new version.
func edit(old, path string, change func(from *io.SectionReader, to io.Writer) error) error {
	from, err := os.Open(old)
	if err != nil {
		return err
	}
	defer from.Close()
	fi, err := from.Stat()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	to := bufio.NewWriterSize(f, 1<<20)
	err = change(io.NewSectionReader(from, 0, fi.Size()), to)
	return errors.Join(err, to.Flush(), f.Close())
}
