package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// settle is how old a change must be before a hash is remembered: a second
// change within the resolution of the file system's clock would not show.
const settle = 2 * time.Second

// stamp tells versions of a file apart.
type stamp struct {
	size  int64
	mtime int64 // nanoseconds
}

func stampOf(f *os.File) (stamp, error) {
	fi, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	return stamp{size: fi.Size(), mtime: fi.ModTime().UnixNano()}, nil
}

func (s stamp) settled() bool { return time.Since(time.Unix(0, s.mtime)) > settle }

// Seed serves the finished file at path from where it lies. It reads nothing
// yet: each piece is hashed when it is first read, and again when size or
// modification time of the file have changed. Until then [File.Has] counts
// pieces as present on the word of the caller; [File.Verify] hashes them all at
// once. A file of another size than m says is ErrChanged.
func Seed(path string, m *manifest.Manifest) (*File, error) {
	data, err := openShared(path)
	if err != nil {
		return nil, fail("open", path, err)
	}
	f := &File{m: m, pair: &pair{target: Target{Path: path}, data: data}}
	if err := f.finished(); err != nil {
		return nil, errors.Join(err, data.Close())
	}
	return f, nil
}

// reset forgets what is known about the content. f.mu is held.
func (f *File) reset(s stamp) {
	f.stamp = s
	f.checked = manifest.NewBitfield(f.m.NumPieces())
	f.have = manifest.NewBitfield(f.m.NumPieces())
	if s.size == f.m.Size {
		f.have.SetAll()
	}
}

// look returns what a finished file looks like, and begins anew when that has
// changed. An unfinished one belongs to us and does not change.
func (f *File) look() (stamp, error) {
	if f.state != nil {
		return stamp{}, nil
	}
	s, err := stampOf(f.data)
	if err != nil {
		return s, fail("look at", f.target.Path, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s != f.stamp {
		f.reset(s)
	}
	return s, nil
}

// readShared reads from a finished file; f.files is held for reading.
func (f *File) readShared(p []byte, off int64) (int, error) {
	for range 3 {
		before, err := f.look()
		if err != nil {
			return 0, err
		}
		n, err := f.readChecked(p, off)
		after, lookErr := f.look()
		if lookErr != nil {
			return 0, lookErr
		}
		if after == before {
			return n, err
		}
	}
	return 0, fmt.Errorf("read %s: %w and is still being written to", f.target.Path, ErrChanged)
}

func (f *File) readChecked(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	last := f.m.PieceAt(off + int64(len(p)) - 1)
	for i := f.m.PieceAt(off); i <= last; i++ {
		if !f.check(i) {
			return 0, fmt.Errorf("read %s: piece %d: %w", f.target.Path, i, ErrChanged)
		}
	}
	n, err := f.data.ReadAt(p, off)
	return n, fail("read", f.target.Path, err)
}

// check reports whether piece i of a finished file is right, hashing it unless
// that is known.
func (f *File) check(i int) bool {
	f.mu.Lock()
	have, checked, s := f.have.Has(i), f.checked.Has(i), f.stamp
	f.mu.Unlock()
	if !have || checked {
		return have
	}
	good := pieceGood(f.data, f.m, i, make([]byte, hashBuffer))
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.stamp != s: // what was hashed is history
	case !good:
		f.have.Clear(i)
	case s.settled():
		f.checked.Set(i)
	}
	return good
}

// Verify hashes every piece that is said to be there, and of a finished file
// every piece. Those that are wrong are no longer there; if there are any, the
// error is ErrChanged.
func (f *File) Verify(ctx context.Context) error {
	f.files.RLock()
	defer f.files.RUnlock()
	if f.data == nil {
		return fail("verify", f.target.Path, fs.ErrClosed)
	}
	s, err := f.look()
	if err != nil {
		return err
	}
	want := f.Have()
	if f.state == nil {
		want.SetAll()
	}
	good, err := goodPieces(ctx, f.data, f.m, want)
	if err != nil {
		return fail("verify", f.target.Path, err)
	}
	if after, err := f.look(); err != nil || after != s {
		return errors.Join(fmt.Errorf("verify %s: %w and is still being written to", f.target.Path, ErrChanged), err)
	}
	f.verified(want, good, s)
	if bad := want.Count() - good.Count(); bad > 0 {
		return fmt.Errorf("verify %s: %w: %d of %d pieces are wrong", f.target.Path, ErrChanged, bad, want.Count())
	}
	if f.state == nil && s.size != f.m.Size {
		return fmt.Errorf("verify %s: %w: %d bytes, the object has %d", f.target.Path, ErrChanged, s.size, f.m.Size)
	}
	return nil
}

// verified remembers which of the pieces in want were found good.
func (f *File) verified(want, good manifest.Bitfield, s stamp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range want.Len() {
		switch {
		case !want.Has(i):
		case !good.Has(i):
			f.have.Clear(i)
		case f.state != nil:
		case s.size == f.m.Size:
			f.have.Set(i)
			if s.settled() {
				f.checked.Set(i)
			}
		}
	}
}

// finished makes f an object that is whole and somebody's file.
func (f *File) finished() error {
	s, err := stampOf(f.data)
	if err != nil {
		return fail("open", f.target.Path, err)
	}
	if s.size != f.m.Size {
		return fmt.Errorf("open %s: %w: %d bytes, the object has %d", f.target.Path, ErrChanged, s.size, f.m.Size)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset(s)
	return nil
}

// Commit gives a whole object its name; from then on the File shares it from
// there. It fails with ErrMissing while pieces are missing, and with ErrExists
// when the name is taken and may not be overwritten; the object stays as it was
// then.
func (f *File) Commit() error {
	f.files.Lock()
	defer f.files.Unlock()
	if f.data == nil {
		return fail("finish", f.target.Path, fs.ErrClosed)
	}
	if f.state == nil {
		return nil
	}
	if n := f.m.NumPieces() - f.Have().Count(); n > 0 {
		return fmt.Errorf("finish %s: %d of %d pieces: %w", f.target.Path, n, f.m.NumPieces(), ErrMissing)
	}
	if err := f.publish(); err != nil {
		return err
	}
	if err := f.finished(); err != nil {
		return err
	}
	f.checked.SetAll()
	return nil
}

// Close lets go of the files. An unfinished object stays for [Resume]. Closing
// again does nothing.
func (f *File) Close() error {
	f.files.Lock()
	defer f.files.Unlock()
	return f.close()
}

// Abort removes an unfinished object; a finished one is just closed.
func (f *File) Abort() error {
	f.files.Lock()
	defer f.files.Unlock()
	return f.discard()
}
