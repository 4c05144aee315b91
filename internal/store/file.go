package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// File is an object whose manifest is known: unfinished, or finished and shared
// from where it lies. It is safe for concurrent use.
type File struct {
	m      *manifest.Manifest
	signed *manifest.Signed // nil after Seed

	// files is held for reading by whoever uses the open files, for writing by
	// what replaces or closes them.
	files sync.RWMutex
	*pair
	arrivals arrivals

	mu   sync.Mutex // guards what follows; never held during I/O
	have manifest.Bitfield
	// A finished file is its owner's to change. stamp is what it looked like when
	// the pieces in checked were last known to be right.
	stamp   stamp
	checked manifest.Bitfield
}

// Create begins an object, replacing what an earlier download of the same path
// left unfinished. It fails with ErrExists, ErrLocked, ErrReadOnly or
// ErrNoSpace.
func Create(t Target, s *manifest.Signed, meta Meta) (*File, error) {
	p, err := createPair(t, meta)
	if err != nil {
		return nil, err
	}
	f, err := newFile(p, s, manifest.NewBitfield(s.NumPieces()))
	if err != nil {
		return nil, errors.Join(err, p.discard())
	}
	return f, nil
}

// newFile makes a File of a pair whose data have the pieces in have.
func newFile(p *pair, s *manifest.Signed, have manifest.Bitfield) (*File, error) {
	makeSparse(p.data)
	p.behind.expect(s.Size)
	if err := p.state.pieces(s, have); err != nil {
		return nil, err
	}
	if err := p.truncate(s.Size); err != nil {
		return nil, err
	}
	return &File{m: s.Manifest, signed: s, pair: p, have: have}, nil
}

// Manifest describes the object.
func (f *File) Manifest() *manifest.Manifest { return f.m }

// Signed is the manifest with its signature, nil after [Seed].
func (f *File) Signed() *manifest.Signed { return f.signed }

// Path is where the object is or will be when finished.
func (f *File) Path() string { return f.target.Path }

// Have returns a copy of the set of pieces that can be read.
func (f *File) Have() manifest.Bitfield {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Clone()
}

// Has reports whether piece i can be read.
func (f *File) Has(i int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Has(i)
}

// WritePiece stores b as piece i if it has the right hash; else it returns
// ErrCorrupt and nothing changes. A piece that is already there is left alone.
// On ErrNoSpace the object stays as it was: free some space and call again, or
// Close and Resume later.
func (f *File) WritePiece(i int, b []byte) error {
	if f.Has(i) {
		return nil
	}
	if !f.m.Verify(i, b) {
		return f.corrupt(i)
	}
	return f.put(i, b)
}

// ReceivePiece stores piece i as r brings it. It is hashed while it arrives, so
// that it is known to be right soon after its last byte. b is the memory for it and as
// long as the piece. The errors are those of r and of [File.WritePiece].
func (f *File) ReceivePiece(i int, b []byte, r io.Reader) error {
	sum, err := receive(b, r)
	if err != nil {
		return err
	}
	if int64(len(b)) != f.m.PieceLen(i) || sum != f.m.Pieces[i] {
		return f.corrupt(i)
	}
	if f.Has(i) {
		return nil
	}
	return f.put(i, b)
}

func (f *File) corrupt(i int) error {
	return fmt.Errorf("write %s: piece %d: %w", f.target.Path, i, ErrCorrupt)
}

// put stores b, which is piece i. Readers have it at once.
func (f *File) put(i int, b []byte) error {
	if f.arrivals.show(i, b) {
		runtime.Gosched() // the reader goes first, the disk has time
	}
	defer f.arrivals.hide(i)
	f.files.RLock()
	defer f.files.RUnlock()
	if f.data == nil {
		return fail("write", f.target.Path, fs.ErrClosed)
	}
	if f.state == nil {
		return fmt.Errorf("write %s: piece %d: %w since it was finished", f.target.Path, i, ErrChanged)
	}
	if _, err := f.writeAt(b, f.m.Offset(i)); err != nil {
		return err
	}
	if err := f.state.claim(i); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have.Set(i)
	return nil
}

// ReadOrWait reads verified bytes of the piece that off lies in. If that is not
// there yet, wait is closed when it is. Readers of an unfinished object have a
// piece before it is on the disk.
func (f *File) ReadOrWait(p []byte, off int64) (n int, wait <-chan struct{}, err error) {
	if off < 0 || off >= f.m.Size {
		n, err = f.ReadAt(p, off)
		return n, nil, err
	}
	i := f.m.PieceAt(off)
	from := off - f.m.Offset(i)
	p = p[:min(int64(len(p)), f.m.PieceLen(i)-from)]
	if n, wait = f.arrivals.read(i, p, from, f.readable); n > 0 || wait != nil {
		return n, wait, nil
	}
	n, err = f.ReadAt(p, off)
	return n, nil, err
}

// readable reports whether [File.ReadAt] has something to say about piece i: of
// a finished object, it says what has become of it.
func (f *File) readable(i int) bool {
	f.files.RLock()
	defer f.files.RUnlock()
	return f.Has(i) || f.state == nil
}

// ReadAt reads verified bytes ([io.ReaderAt]). It stops with ErrMissing before
// the first piece that is not there, and returns ErrChanged when the owner of a
// finished file has changed it so that bytes asked for are not right any more.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.files.RLock()
	defer f.files.RUnlock()
	switch {
	case f.data == nil:
		return 0, fail("read", f.target.Path, fs.ErrClosed)
	case off < 0:
		return 0, fmt.Errorf("read %s: offset %d: %w", f.target.Path, off, fs.ErrInvalid)
	case off >= f.m.Size:
		return 0, io.EOF
	}
	atEnd := int64(len(p)) > f.m.Size-off
	if atEnd {
		p = p[:f.m.Size-off]
	}
	var n int
	var err error
	if f.state != nil {
		n, err = f.readPart(p, off)
	} else {
		n, err = f.readShared(p, off)
	}
	if err == nil && atEnd {
		err = io.EOF
	}
	return n, err
}

// readPart reads from an unfinished object; f.files is held for reading.
func (f *File) readPart(p []byte, off int64) (int, error) {
	there := f.present(off, int64(len(p)))
	n, err := f.data.ReadAt(p[:there], off)
	if err != nil {
		return n, fail("read", f.target.part(), err)
	}
	if there < int64(len(p)) {
		return n, fmt.Errorf("read %s: piece %d: %w", f.target.Path, f.m.PieceAt(off+there), ErrMissing)
	}
	return n, nil
}

// present returns how many of the n bytes at off lie before the first piece that
// is missing.
func (f *File) present(off, n int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := off; at < off+n; {
		i := f.m.PieceAt(at)
		if !f.have.Has(i) {
			return at - off
		}
		at = f.m.Offset(i) + f.m.PieceLen(i)
	}
	return n
}
