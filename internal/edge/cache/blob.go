package cache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// sliceState says what is known of one slice on disk.
type sliceState uint8

const (
	sliceMissing    sliceState = iota
	sliceFilling               // a fill owns it and writes it front to back
	slicePresent               // whole, its hash is known
	sliceUnverified            // found at start: whole if its hash still agrees
	sliceVerifying             // its hash is being checked
)

// maxRun bounds what a reader is handed at once, so that it looks up from its
// copying now and then.
const maxRun = 16 << 20

// blob is the bytes of one version on disk: a sparse file of the object followed
// by the table of its slices' SHA-256, 32 bytes each, zero where the slice is
// missing. A blob of unknown size (-1) has no slices: one fill makes it grow
// until the end is seen.
//
// The bytes of a small object are in memory: such a blob has mem instead of a file,
// and one slice or none.
type blob struct {
	path  string
	mem   []byte
	size  int64
	slice int64

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a waiter may go on
	err     error         // set when the version is over: nothing more will come
	state   []sliceState
	sums    []manifest.Hash
	present int   // slices present, or unverified
	grown   int64 // bytes of a growing blob
	ended   bool  // a growing blob has its end
	fills   []*fill
	tail    *tail
	kept    int64 // of a version that is over: bytes up to here may still be read

	readers int
	idle    time.Time // since when nobody reads
	wanted  time.Time // until when the whole is wanted although nobody reads

	// The hash of the whole runs along with fills in order; frontier is the
	// number of slices it has seen.
	whole    hash.Hash
	frontier int
	hashing  bool
	made     *manifest.Manifest
}

func newBlob(path string, size int64) *blob {
	b := &blob{path: path, size: size, changed: make(chan struct{}), idle: time.Now()}
	if size >= 0 && size <= maxSmall {
		b.mem = make([]byte, size)
	} else {
		b.whole = sha256.New()
	}
	if size >= 0 {
		b.slice = manifest.PieceSizeFor(size)
		n := manifest.PieceCount(size, b.slice)
		b.state = make([]sliceState, n)
		b.sums = make([]manifest.Hash, n)
	}
	return b
}

// create makes the empty file.
func (b *blob) create() error {
	if b.mem != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		return &diskError{err}
	}
	f, err := os.OpenFile(b.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return &diskError{err}
	}
	if b.size > 0 {
		err = f.Truncate(b.size + int64(len(b.state))*manifest.HashSize)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(b.path)
		return &diskError{err}
	}
	return nil
}

// sink is where a fill writes.
type sink interface {
	io.WriterAt
	io.Closer
}

func (b *blob) sink() (sink, error) {
	if b.mem != nil {
		return memSink(b.mem), nil
	}
	return os.OpenFile(b.path, os.O_RDWR, 0)
}

type memSink []byte

func (m memSink) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func (m memSink) Close() error { return nil }

// open reads the slice table that an earlier process left. Slices are checked
// against it when they are first read.
func (b *blob) open() error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	table := make([]byte, len(b.sums)*manifest.HashSize)
	if st.Size() != b.size+int64(len(table)) {
		return fmt.Errorf("slice file %s: %d bytes, want %d", b.path, st.Size(), b.size+int64(len(table)))
	}
	if _, err := f.ReadAt(table, b.size); err != nil && len(table) > 0 {
		return err
	}
	for i := range b.sums {
		b.sums[i] = manifest.Hash(table[i*manifest.HashSize:])
		if b.sums[i] != (manifest.Hash{}) {
			b.state[i] = sliceUnverified
			b.present++
		}
	}
	return nil
}

// bounds are the offsets of slice i.
func (b *blob) bounds(i int) (start, end int64) {
	start = int64(i) * b.slice
	return start, min(start+b.slice, b.size)
}

// available returns how many bytes from off may be read now, end at most.
// The caller holds mu.
func (b *blob) available(off, end int64) int64 {
	end = min(end, off+maxRun)
	if b.size < 0 {
		return max(0, min(end, b.grown)-off)
	}
	pos := off
	for pos < end {
		i := int(pos / b.slice)
		_, e := b.bounds(i)
		f := b.owner(i)
		switch {
		case b.state[i] == slicePresent, f != nil && f.last == i, b.kept >= e:
			pos = min(e, end)
			continue
		case f != nil:
			pos = max(pos, min(f.pos, end))
		default:
			pos = max(pos, min(b.kept, end))
		}
		break
	}
	return pos - off
}

// owner is the fill that writes or hashes slice i. The caller holds mu.
func (b *blob) owner(i int) *fill {
	for _, f := range b.fills {
		if f.cur == i || f.last == i {
			return f
		}
	}
	return nil
}

// wake lets every waiter look again. The caller holds mu.
func (b *blob) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// end makes err the answer to all who read or wait. The first error stays.
func (b *blob) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.wake()
}

// over is the error that ended the version, if it has nothing left for a new
// reader.
func (b *blob) over() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tail != nil {
		return nil
	}
	return b.err
}

// complete says whether all bytes are there. The caller holds mu.
func (b *blob) complete() bool {
	if b.size < 0 {
		return b.ended
	}
	return b.present == len(b.state)
}

// claim makes f the owner of slice i if it is missing. The caller holds mu.
func (b *blob) claim(f *fill, i int) bool {
	if i >= len(b.state) || b.state[i] != sliceMissing || b.err != nil {
		return false
	}
	b.state[i] = sliceFilling
	f.cur = i
	f.pos, _ = b.bounds(i)
	return true
}

// unclaim gives up the slices that f has and that are not present. The caller holds mu.
func (b *blob) unclaim(f *fill) {
	for _, i := range []int{f.cur, f.last} {
		if i >= 0 && b.state[i] == sliceFilling {
			b.state[i] = sliceMissing
		}
	}
	f.cur, f.last = -1, -1
}

// wholeAt returns the running hash of the object before slice i, to go on with,
// or nil when it is not there yet.
func (b *blob) wholeAt(i int) hash.Hash {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.frontier != i || b.whole == nil || b.hashing {
		return nil
	}
	return clone(b.whole)
}

// verifyAt checks the slice at off if it was found on disk and nobody has checked
// it yet. The caller holds mu, which is given up meanwhile.
func (b *blob) verifyAt(off int64) bool {
	if b.size < 0 || b.state[off/b.slice] != sliceUnverified {
		return false
	}
	i := int(off / b.slice)
	b.state[i] = sliceVerifying
	b.mu.Unlock()
	ok := b.check(i)
	b.mu.Lock()
	if ok {
		b.state[i] = slicePresent
	} else {
		b.state[i] = sliceMissing
		b.present--
	}
	b.wake()
	return true
}

func (b *blob) check(i int) bool {
	f, err := os.Open(b.path)
	if err != nil {
		return false
	}
	defer f.Close()
	start, end := b.bounds(i)
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(f, start, end-start))
	return err == nil && manifest.Hash(h.Sum(nil)) == b.sums[i]
}

// lose marks slice i as missing: its bytes could not be read back.
func (b *blob) lose(off int64) {
	if b.size < 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := int(off / b.slice); b.state[i] == slicePresent {
		b.state[i] = sliceMissing
		b.present--
	}
}

// saveSum writes the hash of slice i to the table.
func (b *blob) saveSum(f sink, i int, sum manifest.Hash) error {
	if b.mem != nil {
		return nil // the pack has sums of its own
	}
	_, err := f.WriteAt(sum[:], b.size+int64(i)*manifest.HashSize)
	return err
}

// bytesPresent is what the slices found at start occupy. The caller holds mu or
// is alone.
func (b *blob) bytesPresent() (n int64) {
	for i, s := range b.state {
		if s != sliceMissing {
			start, end := b.bounds(i)
			n += end - start
		}
	}
	return n
}

// join and leave count the readers.
func (b *blob) join() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readers++
}

func (b *blob) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readers--; b.readers == 0 {
		b.idle = time.Now()
	}
}

// unwanted says whether a fill serves nobody any more. The caller holds mu.
func (b *blob) unwanted(linger time.Duration) bool {
	now := time.Now()
	return b.readers == 0 && now.Sub(b.idle) > linger && now.After(b.wanted)
}

// wait blocks until something changed after the caller, who holds mu, looked, or
// until the time is up, if any is given.
func (b *blob) wait(ctx context.Context, limit time.Duration) error {
	var up <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		up = t.C
	}
	ch := b.changed
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-ch:
		return nil
	case <-up:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
