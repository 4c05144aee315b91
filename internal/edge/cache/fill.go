package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// fill is one response of the origin being written to a blob, slice after slice
// from where it began. It owns the slice it is at, and the one before while that is
// hashed. The slices before these are present; those after belong to whoever comes
// first.
type fill struct {
	v     *Version
	creds http.Header // credentials of the client that caused it
	start int64
	began time.Time

	// Guarded by the blob's mu; written by the fill's goroutine alone.
	cur  int   // slice that is written, -1 for none
	last int   // slice whose bytes are all there and whose hash is not, -1 for none
	pos  int64 // bytes of the object up to here are written
	end  int64 // where the response ends
	sole bool  // no other response can bring the missing bytes
	done bool
	err  error

	// Of the fill's goroutine alone.
	hashes   *hashes
	behind   *written // slice last
	keepBody bool     // the body lives on in a tail
}

// startFill begins a fill at missing slice i for a reader that wants bytes up to
// end. It takes the whole run of missing slices, so that one response brings
// them. The caller holds the blob's mu.
func (v *Version) startFill(i int, end int64, creds http.Header, delay time.Duration) *fill {
	b := v.blob
	f := &fill{v: v, creds: creds, began: time.Now(), last: -1}
	b.claim(f, i)
	f.start = f.pos
	for j := i; j < len(b.state) && (j == i || b.state[j] == sliceMissing) && f.end < end; j++ {
		_, f.end = b.bounds(j)
	}
	b.fills = append(b.fills, f)
	ok := v.c.hold(v) && v.c.background(func() {
		f.finish(f.request(delay))
		v.c.release(v)
	})
	if !ok {
		f.close(ErrClosed)
	}
	return f
}

// request asks the origin for the bytes from f.pos to f.end and pours them in.
func (f *fill) request(delay time.Duration) error {
	ctx, cancel := context.WithCancelCause(f.v.c.base)
	defer cancel(nil)
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	resp, err := f.v.c.askPart(ctx, f.v, f.pos, f.end, f.creds)
	if err != nil {
		return err
	}
	defer func() {
		if !f.keepBody {
			resp.Body.Close()
		}
	}()
	if resp.StatusCode == http.StatusOK {
		if !f.restart() {
			return nil
		}
	}
	return f.pour(resp.Body)
}

// restart turns the fill into one of the whole object: the origin does not do
// ranges. It reports false when another such fill is under way.
func (f *fill) restart() bool {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unclaim(f)
	for _, g := range b.fills {
		if g != f && g.sole {
			return false
		}
	}
	f.sole, f.start, f.pos, f.end = true, 0, 0, b.size
	return true
}

// pour writes body to the slices from f.pos on, until its end or until a slice
// that somebody else has.
func (f *fill) pour(body io.ReadCloser) error {
	b := f.v.blob
	file, err := b.sink()
	if err != nil {
		return f.giveTail(nil, body, err)
	}
	defer file.Close()
	if b.size < 0 {
		return f.grow(file, body)
	}
	f.hashes = hashAside(f.v.c.giveBack)
	defer f.hashes.end()
	err = f.pourSlices(file, body)
	return errors.Join(err, f.settle(file, body))
}

func (f *fill) pourSlices(file sink, body io.ReadCloser) error {
	for at := f.pos; ; {
		gap, ok := f.nextSlice(at)
		if !ok {
			if err := f.settle(file, body); err != nil {
				return err
			}
			return f.enough()
		}
		if _, err := io.CopyN(io.Discard, body, gap); err != nil {
			return fmt.Errorf("fill %s: %w: %w", f.v.Key, ErrOrigin, err)
		}
		if err := f.writeSlice(file, body); err != nil {
			return err
		}
		at = f.pos
	}
}

// nextSlice makes the slice at offset at, or the next one that is missing when
// the fill is the sole one, the fill's own. gap is how many bytes of the body
// come before it.
func (f *fill) nextSlice(at int64) (gap int64, ok bool) {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil || b.unwanted(f.v.c.cfg.Linger) {
		return 0, false
	}
	if f.cur >= 0 { // claimed before the response came
		return 0, true
	}
	for i := int(at / b.slice); at < f.end && i < len(b.state); i++ {
		if start, _ := b.bounds(i); start < f.end && b.claim(f, i) {
			return start - at, true
		}
		if !f.sole {
			break
		}
	}
	return 0, false
}

// enough judges a fill that ends before its response does: a version that can
// only be had whole is lost by it.
func (f *fill) enough() error {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.v.pin() == "" && !b.complete() {
		return ErrAbandoned
	}
	return nil
}

// writeSlice fills slice f.cur from body. Its hash may come when the next is written,
// so that neither waits for the other.
func (f *fill) writeSlice(file sink, body io.ReadCloser) error {
	b, c := f.v.blob, f.v.c
	start, end := b.bounds(f.cur)
	// A slice that is fetched once more must be what it was. Nobody sees it before
	// that is known: those who read on would mix it with the others.
	again := b.sums[f.cur] != manifest.Hash{}
	room := end - start
	if again {
		room = 0 // it has it
	}
	if err := c.reserve(f.v, room); err != nil {
		return f.giveTail(nil, body, err)
	}
	w, err := f.follow(file, body)
	if err == nil {
		err = f.copySlice(file, body, start, end, w, again)
		f.hashes.close(w)
	}
	if err == nil {
		err = f.settle(file, body)
	}
	if err != nil {
		c.unreserve(f.v, room)
		return err
	}
	f.behind = w
	if again {
		err = f.settle(file, body)
	}
	if err == nil {
		f.step(again)
	}
	return err
}

// follow has the hashes ready for slice f.cur: that of the whole goes on from the slice
// before, or from what the blob knows.
func (f *fill) follow(file sink, body io.ReadCloser) (*written, error) {
	w := &written{i: f.cur, sum: sha256.New(), done: make(chan struct{})}
	if f.behind != nil && f.behind.i == w.i-1 {
		w.before = f.behind
		return w, nil
	}
	if err := f.settle(file, body); err != nil {
		return nil, err
	}
	w.whole = f.v.blob.wholeAt(w.i)
	return w, nil
}

// copySlice copies the bytes [start,end) from body to file and has them hashed.
func (f *fill) copySlice(file sink, body io.ReadCloser, start, end int64, w *written, again bool) error {
	for off := start; off < end; {
		buf := f.v.c.borrow(f.v.blob.slice)
		n, err := f.copyPart(file, body, *buf, off, end)
		off += int64(n)
		if n == 0 {
			f.v.c.giveBack(buf)
		} else {
			if !again {
				f.progress(off)
			}
			f.hashes.add(w, buf, n)
		}
		if off < end && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("fill %s at byte %d: %w", f.v.Key, off, err)
		}
		if off < end && f.pointless() {
			return ErrAbandoned
		}
	}
	return nil
}

// copyPart copies what body gives at once, n bytes from off on, to file and to buf.
func (f *fill) copyPart(file sink, body io.ReadCloser, buf []byte, off, end int64) (n int, err error) {
	room := aligned(buf, off)
	n, err = body.Read(room[:min(int64(len(room)), end-off)])
	if n > 0 {
		if _, werr := file.WriteAt(buf[:n], off); werr != nil {
			return 0, f.giveTail(buf[:n], body, werr)
		}
	}
	return n, err
}

// aligned is what of buf reaches from offset off to the next multiple of its length:
// to writes that end there the page cache gives large folios, which are cheaper to
// write and, whenever the object is asked for, to send.
func aligned(buf []byte, off int64) []byte { return buf[:int64(len(buf))-off%int64(len(buf))] }

func (f *fill) progress(off int64) {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	f.pos = off
	b.wake()
}

func (f *fill) pointless() bool {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil || b.unwanted(f.v.c.cfg.Linger)
}

// step goes on behind a slice of which all bytes are there, and may be read unless it
// is settled anyway. It takes the next at once, so that nobody else starts on it in
// between.
func (f *fill) step(settled bool) {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	i := f.cur
	f.cur = -1
	if !settled {
		f.last = i
	}
	_, f.pos = b.bounds(i)
	if f.pos < f.end && !b.unwanted(f.v.c.cfg.Linger) {
		b.claim(f, i+1)
	}
}

// settle waits for the hash of the slice that was written, if there is one, and marks
// it as present.
func (f *fill) settle(file sink, body io.ReadCloser) error {
	w, b := f.behind, f.v.blob
	if w == nil {
		return nil
	}
	f.behind = nil
	<-w.done
	sum := manifest.Hash(w.sum.Sum(nil))
	known := b.sums[w.i]
	if known != (manifest.Hash{}) && known != sum {
		return fmt.Errorf("fill %s: %w: slice %d is not what it was", f.v.Key, ErrChanged, w.i)
	}
	if err := b.saveSum(file, w.i, sum); err != nil {
		if known == (manifest.Hash{}) {
			start, end := b.bounds(w.i)
			f.v.c.unreserve(f.v, end-start)
		}
		return f.giveTail(nil, body, err)
	}
	b.mu.Lock()
	b.sums[w.i], b.state[w.i] = sum, slicePresent
	b.present++
	if w.whole != nil {
		b.whole, b.frontier = w.whole, w.i+1
	}
	f.last = -1
	last := b.complete()
	b.wake()
	b.mu.Unlock()
	if last {
		f.v.c.describeWhole(f.v)
	}
	return nil
}

// grow writes a body of unknown length. Only its end makes it an object.
func (f *fill) grow(file sink, body io.ReadCloser) error {
	b, c := f.v.blob, f.v.c
	bufp := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(bufp)
	for off := int64(0); ; {
		n, err := body.Read(aligned(*bufp, off))
		if n > 0 {
			data := (*bufp)[:n]
			if rerr := c.reserve(f.v, int64(n)); rerr != nil {
				return f.giveTail(data, body, rerr)
			}
			if _, werr := file.WriteAt(data, off); werr != nil {
				return f.giveTail(data, body, werr)
			}
			off += int64(n)
			b.mu.Lock()
			f.pos, b.grown = off, off
			b.wake()
			b.mu.Unlock()
		}
		switch {
		case errors.Is(err, io.EOF):
			return c.endGrowth(f.v, off)
		case err != nil:
			return fmt.Errorf("fill %s at byte %d: %w", f.v.Key, off, err)
		case f.pointless():
			return ErrAbandoned
		}
	}
}

// finish records how the fill ended and what that means for the version.
func (f *fill) finish(err error) {
	v := f.v
	switch {
	case err == nil:
	case errors.Is(err, ErrChanged), v.pin() == "":
		v.c.drop(v) // first, so that nobody else begins to read what cannot be finished
		v.blob.end(err)
	}
	if errors.Is(err, syscall.ENOSPC) {
		v.c.makeRoom()
	}
	if err != nil && !errors.Is(err, ErrAbandoned) && !errors.Is(err, ErrClosed) {
		v.c.log.Warn("fill broke off", "url", v.Key, "from", f.start, "at", f.pos, "error", err)
	}
	f.close(err)
}

func (f *fill) close(err error) {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unclaim(f)
	for i, g := range b.fills {
		if g == f {
			b.fills = append(b.fills[:i:i], b.fills[i+1:]...)
			break
		}
	}
	if err != nil && f.v.pin() == "" {
		b.kept = f.pos
	}
	f.done, f.err = true, err
	b.wake()
}

// rate is the mean speed in bytes per second. The caller holds the blob's mu.
func (f *fill) rate(now time.Time) float64 {
	return float64(f.pos-f.start) / max(now.Sub(f.began).Seconds(), 1e-3)
}
