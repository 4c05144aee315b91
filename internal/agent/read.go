package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Size waits until the size of the object is known and returns it, in bytes; it
// is −1 for a response that does not tell.
func (d *Download) Size(ctx context.Context) (int64, error) {
	for {
		d.mu.Lock()
		src, changed := d.src, d.changed
		d.mu.Unlock()
		if src != nil {
			return src.size, nil
		}
		if err := d.await(ctx, changed); err != nil {
			return 0, err
		}
	}
}

// ReadAt reads bytes of the object from off on, waiting for them where they have
// not come yet; what is near off is sought first. Where the object has a
// manifest, only verified bytes are returned. It returns io.EOF at the end of
// the object.
//
// Several readers may call it at once. The download works for the one that told last
// where it is, and might leave another's place for good, so those who wait tell again.
func (d *Download) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		n, wait, err := d.readNow(p, off)
		if wait == nil {
			return n, err
		}
		if err := d.awaitFor(ctx, tellAgain, wait); err != nil {
			return 0, err
		}
	}
}

// tellAgain is how long a reader waits before it tells once more where it is.
const tellAgain = time.Second

// awaitFor is await that ends without an error when its time is over.
func (d *Download) awaitFor(ctx context.Context, most time.Duration, changed <-chan struct{}) error {
	alarm, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := d.await(alarm, changed)
	if alarm.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// readNow reads what is there; if nothing is, wait is closed when that changes.
func (d *Download) readNow(p []byte, off int64) (n int, wait <-chan struct{}, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := int64(-1)
	if d.src != nil {
		size = d.src.size
	}
	if size >= 0 && off >= size {
		return 0, nil, io.EOF
	}
	if d.plain != nil {
		d.readerAt(off)
	}
	switch {
	case d.file != nil:
		if d.fetch != nil {
			d.fetch.SetReader(off) // first, so that a request is under way at once
		}
		if n, wait, err = d.file.ReadOrWait(p, off); wait != nil && d.fetch == nil {
			wait = d.changed
		}
		return n, wait, err
	case d.plain != nil && (d.settled || d.isDone()) && d.plain.Size() > off:
		n, err = d.plain.ReadAt(p[:min(int64(len(p)), d.plain.Size()-off)], off)
		return n, nil, err
	case d.isDone():
		if d.err != nil {
			return 0, nil, d.err
		}
		return 0, nil, io.EOF
	}
	return 0, d.changed, nil
}

func (d *Download) isDone() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

func (d *Download) await(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-d.done:
		if d.err != nil {
			return d.err
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", d.url.Redacted(), ErrInterrupted, ctx.Err())
	}
}

// Ordinary waits until it is known whether the object has a manifest, and reports
// whether it has none: then ReadAt delivers bytes in file order only.
func (d *Download) Ordinary(ctx context.Context) (bool, error) {
	for {
		d.mu.Lock()
		settled, ordinary, changed := d.settled, d.file == nil, d.changed
		d.mu.Unlock()
		if settled {
			return ordinary, nil
		}
		if d.isDone() {
			return ordinary, d.err
		}
		if err := d.await(ctx, changed); err != nil {
			return false, err
		}
	}
}

// Range asks the edge for the bytes from off to the end, beside the download. It
// is for seeking in an object without a manifest.
func (d *Download) Range(ctx context.Context, off int64) (io.ReadCloser, error) {
	d.mu.Lock()
	src := d.src
	d.mu.Unlock()
	body, err := src.Fetch(ctx, off, src.size-off)
	if err != nil {
		return nil, d.explain(err)
	}
	return body, nil
}

// Header is the header of the response that began the download; it is nil
// before there is one.
func (d *Download) Header() http.Header {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.src == nil {
		return nil
	}
	return d.src.answered
}
