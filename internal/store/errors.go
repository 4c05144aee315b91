package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Errors by cause; every error of this package about one of these wraps it. A
// path with nothing to resume is [fs.ErrNotExist]; a File or Plain used after
// its Close is [fs.ErrClosed].
var (
	// ErrNoSpace: the disk or the quota is full. What is there stays resumable.
	ErrNoSpace = errors.New("the disk is full")
	// ErrReadOnly: the directory or the file system may not be written to.
	ErrReadOnly = errors.New("not writable")
	// ErrExists: something has the final name and may not be overwritten.
	ErrExists = errors.New("the file exists")
	// ErrLocked: another process is working on the same path.
	ErrLocked = errors.New("in use by another download")
	// ErrCorrupt: the bytes offered are not the piece they are said to be.
	ErrCorrupt = errors.New("bytes do not match the manifest")
	// ErrMissing: pieces that are not here (yet).
	ErrMissing = errors.New("piece is missing")
	// ErrChanged: a finished file is no longer what the manifest says.
	ErrChanged = errors.New("the file has changed")
	// ErrDamaged: the state file cannot be understood; begin anew.
	ErrDamaged = errors.New("the state of the partial download is damaged")
	// ErrStale: what is there belongs to another URL or version; begin anew.
	ErrStale = errors.New("the partial download is of another object")
)

// fail is the error of an operation on a path: operation and path, the kind of
// error if it has one, and the cause without the path that os puts there again.
func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	cause := err
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		cause = pe.Err
	case errors.As(err, &le):
		cause = le.Err
	}
	if kind := kindOf(cause); kind != nil && !errors.Is(cause, kind) {
		return fmt.Errorf("%s %s: %w: %w", op, path, kind, cause)
	}
	return fmt.Errorf("%s %s: %w", op, path, cause)
}

// kindOf names the sort of trouble an error of the system is, if it is one that
// callers tell apart.
func kindOf(err error) error {
	switch {
	case isNoSpace(err):
		return ErrNoSpace
	case isReadOnly(err):
		return ErrReadOnly
	case errors.Is(err, fs.ErrExist):
		return ErrExists
	}
	return nil
}
