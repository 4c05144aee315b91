package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// stateFile is an open, locked state file. Its methods are not safe for
// concurrent use, but for claim.
type stateFile struct {
	path string
	f    *os.File
	end  int64 // where the next entry goes, or the claims begin
}

// lockState opens the state file and takes its lock; flags may be os.O_CREATE.
func lockState(path string, flags int) (*stateFile, error) {
	// A holder that finishes removes the file before it lets the lock go, so the
	// lock may come with a file that is no longer there: then try the next one.
	for range 16 {
		if err := mayOpen(path); err != nil {
			return nil, err
		}
		f, err := openFile(path, os.O_RDWR|flags, 0o600) // URLs can be secrets
		if err != nil {
			return nil, fail("open", path, err)
		}
		if err := errors.Join(ours(f), lockFile(f)); err != nil {
			return nil, errors.Join(fail("lock", path, err), f.Close())
		}
		if current(f, path) {
			return &stateFile{path: path, f: f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, fail("close", path, err)
		}
	}
	return nil, fail("lock", path, ErrLocked)
}

// mayOpen refuses links, pipes and devices that somebody put where the state
// file goes.
func mayOpen(path string) error {
	fi, err := os.Lstat(path)
	if err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("open %s: %w: no regular file", path, ErrDamaged)
	}
	return nil
}

// current reports whether f is what path names.
func current(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, named)
}

// load reads the state.
func (s *stateFile) load() (*state, error) {
	fi, err := s.f.Stat()
	if err != nil {
		return nil, fail("read", s.path, err)
	}
	if fi.Size() > maxState {
		return nil, fmt.Errorf("read %s: %w: %d bytes", s.path, ErrDamaged, fi.Size())
	}
	b := make([]byte, fi.Size())
	if _, err := s.f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fail("read", s.path, err)
	}
	st, err := parseState(b)
	if err != nil {
		return nil, fail("read", s.path, err)
	}
	s.end = st.end
	return st, nil
}

// begin writes a state without entries.
func (s *stateFile) begin(meta Meta) error {
	b, err := encodeHead(meta)
	if err != nil {
		return fail("write", s.path, err)
	}
	if err := s.f.Truncate(0); err != nil {
		return fail("write", s.path, err)
	}
	s.end = 0
	return s.append(b)
}

func (s *stateFile) mark(m mark) error { return s.append(appendMark(nil, m)) }

// rewind drops everything from the entry at end on.
func (s *stateFile) rewind(end int64) error {
	s.end = end
	return fail("write", s.path, s.f.Truncate(end))
}

// pieces adds the manifest with its claims.
func (s *stateFile) pieces(signed *manifest.Signed, have manifest.Bitfield) error {
	b := appendPieces(nil, signed)
	end := s.end + int64(len(b))
	if err := s.append(append(b, claimsOf(have)...)); err != nil {
		return err
	}
	s.end = end
	return nil
}

// reclaim replaces the claims.
func (s *stateFile) reclaim(have manifest.Bitfield) error {
	_, err := s.f.WriteAt(claimsOf(have), s.end)
	return fail("write", s.path, err)
}

// claim claims one piece.
func (s *stateFile) claim(i int) error {
	_, err := s.f.WriteAt([]byte{claimed}, s.end+int64(i))
	return fail("write", s.path, err)
}

func (s *stateFile) append(b []byte) error {
	n, err := s.f.WriteAt(b, s.end)
	if err != nil {
		return fail("write", s.path, err)
	}
	s.end += int64(n)
	return nil
}

func claimsOf(have manifest.Bitfield) []byte {
	b := make([]byte, have.Len())
	for i := range b {
		if have.Has(i) {
			b[i] = claimed
		}
	}
	return b
}

func (s *stateFile) close() error { return fail("close", s.path, s.f.Close()) }

// remove removes the file and then lets the lock go.
func (s *stateFile) remove() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(fail("remove", s.path, err), s.close())
}
