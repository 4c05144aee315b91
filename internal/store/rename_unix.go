//go:build unix

package store

import (
	"errors"
	"io/fs"
	"os"
)

// renameChecked is renameNew for file systems that cannot do it in one step:
// between look and rename a file of that name could appear and be lost.
func renameChecked(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, err)
	}
	return os.Rename(from, to)
}
