package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// markEvery is how many bytes come between two marks of a Plain: at most so much,
// and what was appended last, is fetched again after a kill.
const markEvery = 1 << 20

// Plain is the beginning of an object whose manifest is not known: the bytes of
// an ordinary HTTP response in the order they come. It is safe for concurrent
// use.
type Plain struct {
	mu sync.RWMutex
	*pair
	meta    Meta
	sum     hash.Hash      // of the bytes so far, once hashing has ended
	hashing sync.WaitGroup // of what was appended last
	size    int64
	marked  int64 // bytes the last mark vouches for
}

// CreatePlain begins an object, replacing what an earlier download of the same
// path left unfinished. Its errors are those of [Create].
func CreatePlain(t Target, meta Meta) (*Plain, error) {
	p, err := createPair(t, meta)
	if err != nil {
		return nil, err
	}
	return &Plain{pair: p, meta: meta, sum: sha256.New()}, nil
}

// Meta is what was known about the source when the object was begun.
func (p *Plain) Meta() Meta { return p.meta }

// Size is how many bytes there are: the offset at which to go on.
func (p *Plain) Size() int64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.size
}

// Sum is the SHA-256 of the bytes so far.
func (p *Plain) Sum() manifest.Hash {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.hash()
}

// hash is Sum for a caller that holds the mutex.
func (p *Plain) hash() manifest.Hash {
	p.hashing.Wait()
	return manifest.Hash(p.sum.Sum(nil))
}

// Expect says how long the object will be, as far as that is known.
func (p *Plain) Expect(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behind.expect(size)
}

// Write appends b ([io.Writer]). On ErrNoSpace what was written counts, and n says
// how much that is.
func (p *Plain) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n, err = p.append(b); err == nil {
		err = p.markDue()
	}
	p.hashing.Wait()
	return n, err
}

// Append is Write that returns while b is still being hashed: until the next call of
// Append or Write returns, or any other method but Size and ReadAt, b must stay as
// it is.
func (p *Plain) Append(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.markDue(); err != nil {
		return 0, err
	}
	return p.append(b)
}

func (p *Plain) append(b []byte) (n int, err error) {
	if p.data == nil || p.state == nil {
		return 0, fail("write", p.target.Path, fs.ErrClosed)
	}
	p.hashing.Wait()
	before := p.sum
	if p.sum, err = before.(hash.Cloner).Clone(); err != nil {
		return 0, fail("hash", p.target.Path, err)
	}
	p.hashing.Go(func() { p.sum.Write(b) })
	n, err = p.writeAt(b, p.size)
	if n < len(b) {
		p.hashing.Wait()
		p.sum = before
		p.sum.Write(b[:n])
	}
	p.size += int64(n)
	return n, err
}

// markDue marks what has come since the last mark, if that is enough.
func (p *Plain) markDue() error {
	if p.state == nil || p.size-p.marked < markEvery {
		return nil
	}
	return p.mark()
}

// mark vouches for the bytes so far.
func (p *Plain) mark() error {
	if p.size == p.marked {
		return nil
	}
	if err := p.state.mark(mark{Length: p.size, Sum: p.hash()}); err != nil {
		return err
	}
	p.marked = p.size
	return nil
}

// ReadAt reads bytes that have come ([io.ReaderAt]). They are as good as the
// connection they came over. It stops with ErrMissing where they end.
func (p *Plain) ReadAt(b []byte, off int64) (int, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.data == nil {
		return 0, fail("read", p.target.Path, fs.ErrClosed)
	}
	if off < 0 {
		return 0, fmt.Errorf("read %s: offset %d: %w", p.target.Path, off, fs.ErrInvalid)
	}
	there := min(max(p.size-off, 0), int64(len(b)))
	n, err := p.data.ReadAt(b[:there], off)
	if err != nil {
		return n, fail("read", p.target.Path, err)
	}
	if there < int64(len(b)) {
		return n, fmt.Errorf("read %s: byte %d: %w", p.target.Path, off+there, ErrMissing)
	}
	return n, nil
}

// Restart drops all bytes, for a server that answered a request for the rest
// with the whole, or with another version.
func (p *Plain) Restart(meta Meta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.data == nil || p.state == nil {
		return fail("restart", p.target.Path, fs.ErrClosed)
	}
	p.hashing.Wait()
	if err := p.state.begin(meta); err != nil {
		return err
	}
	if err := p.truncate(0); err != nil {
		return err
	}
	p.meta, p.size, p.marked = meta, 0, 0
	p.sum.Reset()
	return nil
}

// Promotion is a Plain that has become a File.
type Promotion struct {
	File *File
	// Good and Bad count the whole pieces that had come. Bad ones are not in the
	// File; they mean that the response was of another version than the manifest,
	// or damaged on its way.
	Good, Bad int
	// Tail is what had come of the piece that was not whole yet. It begins at the
	// piece boundary before the Plain's size, and is not verified: whoever goes on
	// reading the response completes the piece with it.
	Tail []byte
}

// Promote hashes the bytes that have come piece by piece and goes on as a File
// with those that are right. The Plain is closed to all use then. If it fails,
// which it does with ErrStale when more bytes have come than the manifest's
// object has, or with ctx, the Plain goes on.
func (p *Plain) Promote(ctx context.Context, s *manifest.Signed) (*Promotion, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.data == nil || p.state == nil {
		return nil, fail("promote", p.target.Path, fs.ErrClosed)
	}
	p.hashing.Wait()
	if p.size > s.Size {
		return nil, fmt.Errorf("promote %s: %w: %d bytes have come, the manifest has %d", p.target.Path, ErrStale, p.size, s.Size)
	}
	whole, cut := wholePieces(s.Manifest, p.size)
	good, err := goodPieces(ctx, p.data, s.Manifest, whole)
	if err != nil {
		return nil, fail("promote", p.target.Path, err)
	}
	tail := make([]byte, p.size-cut)
	if _, err := io.ReadFull(io.NewSectionReader(p.data, cut, p.size-cut), tail); err != nil {
		return nil, fail("promote", p.target.Path, err)
	}
	end := p.state.end
	f, err := newFile(p.pair, s, good)
	if err != nil {
		return nil, errors.Join(err, p.state.rewind(end), p.truncate(p.size))
	}
	p.pair = &pair{target: p.target}
	return &Promotion{File: f, Good: good.Count(), Bad: whole.Count() - good.Count(), Tail: tail}, nil
}

// wholePieces is the set of pieces within the first n bytes, and where the last
// of them ends.
func wholePieces(m *manifest.Manifest, n int64) (manifest.Bitfield, int64) {
	set := manifest.NewBitfield(m.NumPieces())
	end := int64(0)
	for i := range m.NumPieces() {
		if m.Offset(i)+m.PieceLen(i) > n {
			break
		}
		set.Set(i)
		end = m.Offset(i) + m.PieceLen(i)
	}
	return set, end
}

// Commit gives the bytes their name. The caller says by calling that they are
// all there are. It fails with ErrExists when the name is taken and may not be
// overwritten. Only ReadAt, Sum, Size and Close work afterwards.
func (p *Plain) Commit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.data == nil {
		return fail("finish", p.target.Path, fs.ErrClosed)
	}
	if p.state == nil {
		return nil
	}
	return p.publish()
}

// Close lets go of the files. An unfinished object stays for [Resume]. Closing
// again does nothing.
func (p *Plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if p.state != nil {
		err = p.mark()
	}
	if e := p.close(); err == nil {
		err = e
	}
	return err
}

// Abort removes an unfinished object; a finished one is just closed.
func (p *Plain) Abort() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.discard()
}
