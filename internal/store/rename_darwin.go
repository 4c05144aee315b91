package store

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames and never replaces.
func renameNew(from, to string) error {
	err := unix.RenamexNp(from, to, unix.RENAME_EXCL)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return renameChecked(from, to)
	}
	return err
}
