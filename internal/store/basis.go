package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	// MaxBases is how many files a Basis looks through at most.
	MaxBases = 8
	// bridge is how many bytes are fetched once more rather than asking for what is
	// before and behind them separately: about what a request costs.
	bridge = 4 << 10
	// stretch is how many bytes of an old file one goroutine cuts into chunks. It
	// begins overlap chunks before its stretch, so that it is in step when that begins.
	stretch = 32 << 20
	overlap = 16
	// maxWrong is how many pieces may turn out wrong before a Basis is held for
	// worthless: its files are being written to, or the map is not of this object.
	maxWrong = 16
)

// Basis is what older versions of an object, or any other files, have of it, found
// by its chunk map. It vouches for nothing: its files are somebody's to change, and
// what is read from them counts when the piece that it is part of verifies. It is
// safe for concurrent use.
type Basis struct {
	m     *manifest.Manifest
	x     *chunkmap.Index
	from  []place // of the chunks of the object
	files []*os.File

	mu      sync.Mutex
	dropped manifest.Bitfield
	wrong   int // pieces in dropped
}

// place is where a chunk lies: in which file, counted from 1, and at which offset.
type place struct {
	file int32
	off  int64
}

// OpenBasis looks for the object's chunks in files, until all are found. Files that
// cannot be read, or are none, have nothing; only the end of ctx is an error. The
// map must be of the manifest's object.
func OpenBasis(ctx context.Context, m *manifest.Manifest, chunks *chunkmap.Map, files []string) (*Basis, error) {
	b := &Basis{
		m: m, x: chunkmap.NewIndex(chunks), from: make([]place, len(chunks.Chunks)),
		dropped: manifest.NewBitfield(m.NumPieces()),
	}
	for _, path := range files[:min(len(files), MaxBases)] {
		if b.x.Complete() {
			break
		}
		f, size, err := openBasis(path)
		if err != nil {
			continue
		}
		b.files = append(b.files, f)
		if err := b.search(ctx, f, size, chunks.Log); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

// openBasis opens a regular file; opening a pipe would wait for somebody to write.
func openBasis(path string) (*os.File, int64, error) {
	if fi, err := os.Stat(path); err != nil {
		return nil, 0, err
	} else if !fi.Mode().IsRegular() {
		return nil, 0, fs.ErrInvalid
	}
	f, err := openShared(path)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// search cuts the file that was opened last into chunks, several stretches at once.
func (b *Basis) search(ctx context.Context, f *os.File, size int64, log int) error {
	file := int32(len(b.files))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(hashWorkers, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			buf := make([]byte, hashBuffer)
			for ctx.Err() == nil {
				begin := (next.Add(1) - 1) * stretch
				if begin >= size {
					return
				}
				off := max(begin-overlap<<log, 0)
				c := chunkmap.NewChunker(log, func(c chunkmap.Chunk) {
					at := place{file, off}
					off += int64(c.Len)
					b.mu.Lock()
					b.x.Find(c, func(i int) { b.from[i] = at })
					b.mu.Unlock()
				})
				_, err := io.CopyBuffer(c, &stoppable{ctx, io.NewSectionReader(f, off, min(begin+stretch, size)-off)}, buf)
				if err == nil && begin+stretch >= size {
					_ = c.Close() // the last chunk; it does not fail
				}
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// stoppable reads until a context ends. It hides all other methods of the reader.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// Found is how many bytes of the object were found.
func (b *Basis) Found() int64 { return b.x.Found() }

// Gaps returns the ranges of piece i that are not here, all of it after
// [Basis.Drop], and of any piece after many of these.
func (b *Basis) Gaps(i int) []chunkmap.Range {
	begin, n := b.m.Offset(i), b.m.PieceLen(i)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped.Has(i) || b.wrong > maxWrong {
		return []chunkmap.Range{{Off: begin, Len: n}}
	}
	return b.x.Gaps(begin, begin+n, bridge)
}

// Drop says that piece i did not verify with what is here of it.
func (b *Basis) Drop(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped.Set(i) {
		b.wrong++
	}
}

// ReadAt reads bytes of the object as the files have them now ([io.ReaderAt]). It
// fails with ErrMissing at a gap, and with ErrChanged where a file has become
// shorter.
func (b *Basis) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && off+int64(n) < b.m.Size {
		at, f, run := b.run(off+int64(n), int64(len(p)-n))
		if f == nil {
			return n, fmt.Errorf("read basis at %d: %w", off+int64(n), ErrMissing)
		}
		k, err := f.ReadAt(p[n:n+int(run)], at)
		if n += k; int64(k) < run {
			if errors.Is(err, io.EOF) {
				err = ErrChanged
			}
			return n, fail("read", f.Name(), err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// run returns where the bytes from off on lie, most of them at most, and how many
// lie there together.
func (b *Basis) run(off, most int64) (at int64, f *os.File, n int64) {
	i, begin, end := b.x.Chunk(off)
	first := b.from[i]
	if first.file == 0 || len(b.files) < int(first.file) {
		return 0, nil, 0
	}
	at = first.off + off - begin
	for n = end - off; n < most && i+1 < len(b.from); n = end - off {
		i++
		if b.from[i] != (place{first.file, at + n}) {
			break
		}
		end = b.x.End(i)
	}
	return at, b.files[first.file-1], min(n, most)
}

// Close lets go of the files. Nothing can be read any more.
func (b *Basis) Close() error {
	var errs []error
	for _, f := range b.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Adopt copies from b the pieces that b has whole. It returns how many bytes those
// were that are right; pieces that are not are dropped from b. Its other errors are
// those of [File.WritePiece].
func (f *File) Adopt(ctx context.Context, b *Basis) (int64, error) {
	var next, bytes atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, min(hashWorkers, runtime.GOMAXPROCS(0)))
	for w := range errs {
		workers.Go(func() {
			buf := make([]byte, f.m.PieceSize)
			for ctx.Err() == nil && errs[w] == nil {
				i := int(next.Add(1) - 1)
				if i >= f.m.NumPieces() {
					return
				}
				var n int64
				n, errs[w] = f.adopt(b, i, buf)
				bytes.Add(n)
			}
		})
	}
	workers.Wait()
	return bytes.Load(), errors.Join(append(errs, ctx.Err())...)
}

func (f *File) adopt(b *Basis, i int, buf []byte) (int64, error) {
	if f.Has(i) || len(b.Gaps(i)) > 0 {
		return 0, nil
	}
	n := f.m.PieceLen(i)
	_, err := b.ReadAt(buf[:n], f.m.Offset(i))
	if err == nil {
		err = f.WritePiece(i, buf[:n])
	} else {
		err = ErrCorrupt // whatever it was: it is not to be had from there
	}
	if errors.Is(err, ErrCorrupt) {
		b.Drop(i)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}
