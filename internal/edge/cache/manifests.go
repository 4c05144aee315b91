package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// wholeWanted is how long after the last WaitManifest the rest of an object is
// still fetched although nobody reads it.
const wholeWanted = 2 * time.Minute

// WaitManifest returns the current version of key and its manifest. Where bytes
// are missing it has them fetched, from the start when the object is unknown, and
// waits. The fetching goes on for a while when ctx ends first, so that asking
// again later helps.
//
// Errors wrap [ErrNotCacheable], [ErrOrigin], [ErrChanged], [ErrNoSpace],
// [ErrClosed] or ctx's, or are a [*StatusError] when the origin has no such
// object.
func (c *Cache) WaitManifest(ctx context.Context, key string) (*Version, *manifest.Manifest, error) {
	for try := 0; ; try++ {
		v, err := c.current(ctx, key)
		if err != nil {
			return nil, nil, fmt.Errorf("manifest of %s: %w", key, err)
		}
		m, err := c.wholeOf(ctx, v)
		c.release(v)
		if again := errors.Is(err, errGrown) || errors.Is(err, ErrChanged) && try == 0; again {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("manifest of %s: %w", key, err)
		}
		return v, m, nil
	}
}

// current returns a held version of key that is an object, asking the origin if
// there is none that may be used.
func (c *Cache) current(ctx context.Context, key string) (*Version, error) {
	h := make(http.Header)
	for range maxAttempts {
		prev, _ := c.match(key, h)
		if prev != nil && c.usable(prev, noDirectives()) {
			return c.objectOnly(prev)
		}
		fl, _ := c.join(key, h, prev, false)
		err := fl.wait(ctx)
		switch {
		case err != nil:
		case fl.v != nil && c.hold(fl.v):
			c.releaseIf(prev)
			return c.objectOnly(fl.v)
		case fl.v != nil: // gone since; look again
		case prev != nil && c.standsIn(prev, fl, noDirectives()):
			return c.objectOnly(prev)
		case fl.err != nil:
			err = fl.err
		case fl.status != http.StatusOK:
			err = &StatusError{fl.status}
		default:
			err = fmt.Errorf("%w: %s", ErrNotCacheable, fl.reason)
		}
		c.releaseIf(prev)
		if err != nil {
			return nil, err
		}
	}
	return nil, ErrChanged
}

func (c *Cache) objectOnly(v *Version) (*Version, error) {
	if v.Status != http.StatusOK {
		c.release(v)
		return nil, &StatusError{v.Status}
	}
	return v, nil
}

func (c *Cache) releaseIf(v *Version) {
	if v != nil {
		c.release(v)
	}
}

// errGrown says that a version of unknown size has its successor.
var errGrown = errors.New("the object has its size now")

// maxPasses bounds how often an object that the disk corrupts is fetched anew.
const maxPasses = 3

// wholeOf waits until all of v was seen, and fetches what nobody else does.
func (c *Cache) wholeOf(ctx context.Context, v *Version) (*manifest.Manifest, error) {
	b := v.blob
	b.join()
	defer b.leave()
	for range maxPasses {
		if m := v.Manifest(); m != nil {
			return m, nil
		}
		if err := c.readWhole(ctx, v); err != nil {
			return nil, err
		}
		if err := b.await(ctx, b.filling); err != nil {
			return nil, err
		}
		c.describeWhole(v)
		if err := b.await(ctx, func() bool { return b.hashing }); err != nil {
			return nil, err
		}
		if v.Size < 0 {
			return nil, errGrown
		}
	}
	return nil, &diskError{errors.New("slices do not keep what was written")}
}

// readWhole walks over all bytes of v, so that those missing are fetched and
// those of an earlier process checked.
func (c *Cache) readWhole(ctx context.Context, v *Version) error {
	r := &reader{c: c, v: v, ctx: ctx}
	for off := int64(0); v.Size < 0 || off < v.Size; {
		v.blob.want(time.Now().Add(wholeWanted))
		end := v.Size
		if end < 0 {
			end = off + maxRun
		}
		n, err := r.next(off, end)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		off += n
	}
	return nil
}

func (b *blob) want(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wanted = until
}

// filling says whether slices are being written or checked. The caller holds mu.
func (b *blob) filling() bool {
	return slices.ContainsFunc(b.state, func(s sliceState) bool { return s == sliceFilling || s == sliceVerifying })
}

// await waits while what busy reports, called with mu held, goes on and there is
// no manifest.
func (b *blob) await(ctx context.Context, busy func() bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.made == nil && busy() {
		if b.err != nil {
			return b.err
		}
		if err := b.wait(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// describeWhole makes the manifest of v, all of whose slices are present: from
// the hash that ran along, or by reading the file once more.
func (c *Cache) describeWhole(v *Version) {
	b := v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made != nil || b.hashing || b.size < 0 || !b.complete() {
		return
	}
	if len(b.state) == 1 || b.frontier == len(b.state) {
		digest := b.sums[0] // of the whole, if it is one slice
		if len(b.state) > 1 {
			digest = manifest.Hash(b.whole.Sum(nil))
		}
		b.setManifest(digest)
		c.saveLater(v)
		return
	}
	if !c.hold(v) {
		return
	}
	b.hashing = true
	ok := c.background(func() {
		defer c.release(v)
		m, err := buildManifest(c.base, b.path, b.size)
		b.mu.Lock()
		b.hashing = false
		if err == nil && b.complete() && agree(m, b.sums) {
			b.setManifest(m.Digest)
		}
		made := b.made != nil
		b.wake()
		b.mu.Unlock()
		if made {
			c.save(v)
		} else {
			c.log.Warn("slices changed on disk", "url", v.Key, "error", err)
			b.distrust()
		}
	})
	if !ok {
		b.hashing = false
		c.release(v)
	}
}

// setManifest publishes the manifest. The caller holds mu.
func (b *blob) setManifest(digest manifest.Hash) {
	b.made = &manifest.Manifest{
		Size: b.size, PieceSize: b.slice, Digest: digest,
		Pieces: append(make([]manifest.Hash, 0, len(b.sums)), b.sums...),
	}
	b.whole = nil
	b.wake()
}

// distrust has every slice checked again before it is read.
func (b *blob) distrust() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, s := range b.state {
		if s == slicePresent {
			b.state[i] = sliceUnverified
		}
	}
	b.wake()
}

func agree(m *manifest.Manifest, sums []manifest.Hash) bool {
	for i := range sums {
		if m.Pieces[i] != sums[i] {
			return false
		}
	}
	return true
}

// buildManifest reads size bytes of a file.
func buildManifest(ctx context.Context, path string, size int64) (*manifest.Manifest, error) {
	mb, err := manifest.NewBuilder(size)
	if err != nil {
		return nil, err
	}
	if err := readBlob(ctx, path, size, mb); err != nil {
		return nil, err
	}
	return mb.Finish()
}

// readBlob writes size bytes of a file to w.
func readBlob(ctx context.Context, path string, size int64, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	const step = 4 << 20
	for off := int64(0); off < size; off += step {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := io.CopyN(w, f, min(step, size-off)); err != nil {
			return err
		}
	}
	return nil
}

// endGrowth gives a version of unknown size, all of whose bytes came, a successor
// with the size.
func (c *Cache) endGrowth(v *Version, size int64) error {
	b := v.blob
	b.mu.Lock()
	b.ended, b.hashing = true, true
	b.wake()
	b.mu.Unlock()
	next, err := c.sized(v, size)
	b.mu.Lock()
	b.hashing = false
	b.wake()
	b.mu.Unlock()
	if err != nil {
		return &diskError{err}
	}
	c.succeed(v, next)
	return nil
}

func appendSums(path string, m *manifest.Manifest) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	table := make([]byte, 0, len(m.Pieces)*manifest.HashSize)
	for i := range m.Pieces {
		table = append(table, m.Pieces[i][:]...)
	}
	_, err = f.WriteAt(table, m.Size)
	return errors.Join(err, f.Close())
}

// sized is v with the size and manifest that became known at its end.
func (c *Cache) sized(v *Version, size int64) (*Version, error) {
	m, err := buildManifest(c.base, v.blob.path, size)
	if err != nil {
		return nil, err
	}
	n := &Version{
		ID: v.ID, Key: v.Key, ETag: v.ETag, LastModified: v.LastModified, Status: v.Status,
		Size: m.Size, Authorized: v.Authorized, c: v.c, blob: newBlob(v.blob.path, m.Size),
		names: v.names, selection: v.selection, selecting: v.selecting, originTag: v.originTag,
	}
	n.meta.Store(v.meta.Load())
	n.blob.fromManifest(m)
	if n.blob.mem == nil {
		return n, appendSums(n.blob.path, m)
	}
	data, err := os.ReadFile(n.blob.path)
	if err != nil || int64(len(data)) < size {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	copy(n.blob.mem, data)
	return n, nil
}

// fromManifest marks all slices as present. The caller is alone.
func (b *blob) fromManifest(m *manifest.Manifest) {
	copy(b.sums, m.Pieces)
	for i := range b.state {
		b.state[i] = slicePresent
	}
	b.present, b.made, b.whole = len(b.state), m, nil
}

// succeed puts next in the place of v. Readers of v go on with the same file, of
// which a small version takes the bytes away.
func (c *Cache) succeed(v, next *Version) {
	c.mu.Lock()
	indexed := v.elem != nil
	small := next.blob.mem != nil
	if indexed {
		c.unlistLocked(v)
		c.bytes -= v.disk
		if !small {
			next.disk = v.disk
		}
		v.gone, v.disk = true, 0
		c.listLocked(next)
		next.refs = 1 // until it is saved
		e := c.entries[v.Key]
		for i, x := range e.variants {
			if x == v {
				e.variants[i] = next
			}
		}
	}
	c.mu.Unlock()
	if !indexed {
		return
	}
	c.save(next)
	c.release(next)
	if small {
		v.remove()
	}
}

func emptyDigest() manifest.Hash { return sha256.Sum256(nil) }
