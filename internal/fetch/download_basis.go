package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
)

// Basis has bytes of the object from older versions of it: nobody vouches for them,
// and they count only as part of a piece that verifies. Of pieces that it has in part
// no more is asked of anybody than the rest. It must be safe for concurrent use.
type Basis interface {
	io.ReaderAt // of the object; it need not read what lies in gaps
	// Gaps are the ranges of a piece that it lacks, in order.
	Gaps(piece int) []chunkmap.Range
	// Drop says that a piece did not verify: all of it is a gap from then on.
	Drop(piece int)
}

// errBasis: bytes of the basis cannot be read. It is nobody else's fault.
var errBasis = errors.New("bytes of the older version")

// gaps are the ranges of a piece that have to come.
func (d *Download) gaps(piece int) []chunkmap.Range {
	if d.o.Basis == nil {
		return []chunkmap.Range{{Off: d.m.Offset(piece), Len: d.m.PieceLen(piece)}}
	}
	return d.o.Basis.Gaps(piece)
}

// needs is how many bytes have to come of each piece; nil without a basis.
func (d *Download) needs() []int64 {
	if d.o.Basis == nil {
		return nil
	}
	need := make([]int64, d.m.NumPieces())
	for i := range need {
		need[i] = max(total(d.gaps(i)), 1) // a piece that costs nothing has to be asked for all the same
	}
	return need
}

func total(ranges []chunkmap.Range) (n int64) {
	for _, r := range ranges {
		n += r.Len
	}
	return n
}

// Part returns the bytes to ask a peer for of a piece, begin counted from its own
// beginning: from the first gap to the end of the last.
func (d *Download) Part(piece int) (begin, n int64) {
	gaps := d.gaps(piece)
	if len(gaps) == 0 {
		return 0, d.m.PieceLen(piece)
	}
	return gaps[0].Off - d.m.Offset(piece), gaps[len(gaps)-1].End() - gaps[0].Off
}

// complete returns a piece with what has come of it, from begin on, and the rest of
// the basis. The caller gives the buffer back.
func (d *Download) complete(piece int, begin int64, data []byte) ([]byte, error) {
	b := d.buffer()[:d.m.PieceLen(piece)]
	off, end := d.m.Offset(piece), begin+int64(len(data))
	copy(b[begin:], data)
	for _, r := range []struct{ from, to int64 }{{0, begin}, {end, int64(len(b))}} {
		if err := readBasis(d.o.Basis, b[r.from:r.to], off+r.from); err != nil {
			return b, err
		}
	}
	return b, nil
}

func readBasis(basis io.ReaderAt, p []byte, off int64) error {
	if n, err := basis.ReadAt(p, off); n < len(p) {
		return fmt.Errorf("%w: %w", errBasis, err)
	}
	return nil
}

// spoilt reports whether a piece that the basis has part of failed for what was read
// from there, as far as can be told. It is asked for whole from then on, and if it is
// wrong again the sender is to blame.
func (d *Download) spoilt(piece int, part bool, err error) bool {
	if !errors.Is(err, errBasis) && (!part || !errors.Is(err, d.o.Corrupt)) {
		return false
	}
	d.o.Logger.Debug("older version of no use", "piece", piece, "error", err)
	d.o.Basis.Drop(piece)
	return true
}

// patched reads a piece: the gaps from a sender of these alone, the rest from the
// basis.
type patched struct {
	basis   io.ReaderAt
	sender  io.Reader
	gaps    []chunkmap.Range
	at, end int64
}

// Read implements [io.Reader].
func (r *patched) Read(p []byte) (int, error) {
	switch {
	case r.at == r.end:
		return 0, io.EOF
	case len(r.gaps) > 0 && r.at >= r.gaps[0].Off:
		return r.readGap(p)
	}
	until := r.end
	if len(r.gaps) > 0 {
		until = r.gaps[0].Off
	}
	p = p[:min(int64(len(p)), until-r.at)]
	if err := readBasis(r.basis, p, r.at); err != nil {
		return 0, err
	}
	r.at += int64(len(p))
	return len(p), nil
}

func (r *patched) readGap(p []byte) (int, error) {
	end := r.gaps[0].End()
	n, err := r.sender.Read(p[:min(int64(len(p)), end-r.at)])
	if r.at += int64(n); r.at == end {
		r.gaps = r.gaps[1:]
		err = nil // what comes next, if anything, is not the sender's
	}
	return n, err
}

// ranges is a body of several ranges of the object, one after the other. Each is
// asked for when the one before is read.
type ranges struct {
	ctx  context.Context
	from Edge
	rest []chunkmap.Range

	mu     sync.Mutex
	body   io.ReadCloser
	closed bool
}

// merged joins the ranges that follow one another without a gap.
func merged(all []chunkmap.Range) []chunkmap.Range {
	var out []chunkmap.Range
	for _, r := range all {
		if n := len(out); n > 0 && out[n-1].End() == r.Off {
			out[n-1].Len += r.Len
			continue
		}
		out = append(out, r)
	}
	return out
}

// Read implements [io.Reader].
func (r *ranges) Read(p []byte) (int, error) {
	for {
		if r.body == nil {
			if len(r.rest) == 0 {
				return 0, io.EOF
			}
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		left := &r.rest[0]
		n, err := r.body.Read(p[:min(int64(len(p)), left.Len)])
		left.Off, left.Len = left.Off+int64(n), left.Len-int64(n)
		if left.Len == 0 {
			_, _ = io.CopyN(io.Discard, r.body, 1) // to its end, so that the connection is kept
			r.end()
			r.rest = r.rest[1:]
			err = nil
		}
		if n > 0 || err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
}

// next asks for the next range.
func (r *ranges) next() error {
	body, err := r.from.Fetch(r.ctx, r.rest[0].Off, r.rest[0].Len)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = body.Close()
		return context.Canceled
	}
	r.body = body
	return nil
}

func (r *ranges) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.body.Close() // it was read
	r.body = nil
}

// Close implements [io.Closer].
func (r *ranges) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
