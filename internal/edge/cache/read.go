package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrTooLarge is an answer that is larger than who reads it wants.
var ErrTooLarge = errors.New("the answer is too large")

// Read returns the current version of key and its bytes, of which there may be
// most. It asks the origin where a request without any fields would. The errors are
// those of [Cache.WaitManifest], or wrap [ErrTooLarge].
func (c *Cache) Read(ctx context.Context, key string, most int64) (*Version, []byte, error) {
	for range maxAttempts {
		v, err := c.current(ctx, key)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", key, err)
		}
		b, err := c.readAll(ctx, v, most)
		c.release(v)
		if err == nil {
			return v, b, nil
		}
		if !errors.Is(err, errRestart) && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrAbandoned) {
			return nil, nil, fmt.Errorf("read %s: %w", key, err)
		}
	}
	return nil, nil, fmt.Errorf("read %s: %w", key, ErrChanged)
}

// readAll returns the bytes of v, which the caller holds.
func (c *Cache) readAll(ctx context.Context, v *Version, most int64) ([]byte, error) {
	if v.Size > most {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, v.Size, most)
	}
	v.blob.join()
	defer v.blob.leave()
	r := &reader{c: c, v: v, ctx: ctx}
	if v.blob.mem == nil {
		var err error
		if r.file, err = os.Open(v.blob.path); err != nil {
			c.drop(v) // its file is lost
			return nil, errRestart
		}
		defer r.file.Close()
	}
	w := &bounded{most: most}
	for v.Size < 0 || int64(len(w.b)) < v.Size {
		end := v.Size
		if end < 0 {
			end = most + 1
		}
		off := int64(len(w.b))
		n, err := r.next(off, end)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = r.copyRun(w, off, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return w.b, nil
}

// bounded keeps what is written, up to a bound.
type bounded struct {
	b    []byte
	most int64
}

func (w *bounded) Write(p []byte) (int, error) {
	if int64(len(w.b)+len(p)) > w.most {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, w.most)
	}
	w.b = append(w.b, p...)
	return len(p), nil
}
