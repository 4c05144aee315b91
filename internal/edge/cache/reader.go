package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// maxFails is how many fills in a row may bring a reader nothing before it
	// gives up.
	maxFails   = 2
	retryDelay = 200 * time.Millisecond
	// coming is how near a running fill must be, in time, for a reader to wait
	// for it instead of starting its own.
	coming = 500 * time.Millisecond
)

// reader follows one version for one response.
type reader struct {
	c    *Cache
	v    *Version
	ctx  context.Context
	file *os.File // nil where the bytes are in memory
	// client is the header of the request, nil for none: its credentials are sent
	// along when the reader has to start a fill.
	client http.Header

	started bool // it started a fill
	fails   int
	lost    int
}

// next waits until bytes at off are there and returns how many may be read at
// once, end at most. It starts a fill where bytes are missing and none is about
// to bring them. At the end of a version of unknown size it returns io.EOF.
func (r *reader) next(off, end int64) (int64, error) {
	b := r.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if n := b.available(off, end); n > 0 {
			r.fails = 0
			return n, nil
		}
		switch {
		case b.size < 0 && b.ended:
			return 0, io.EOF
		case b.err != nil:
			return 0, b.err
		}
		if b.verifyAt(off) {
			continue
		}
		f, err := r.fillFor(off, end)
		if err != nil {
			return 0, err
		}
		var limit time.Duration
		if f != nil && !f.sole && f.pos < off {
			limit = coming // it may slow down before it comes here
		}
		if err := b.wait(r.ctx, limit); err != nil {
			return 0, err
		}
		if f != nil && f.done && f.err != nil && b.available(off, end) == 0 {
			if r.fails++; permanent(f.err) || r.fails >= maxFails {
				return 0, f.err
			}
		}
	}
}

// fillFor returns the fill that will bring the byte at off, starting one if need
// be, or nil when something else is to be waited for. The caller holds the
// blob's mu.
func (r *reader) fillFor(off, end int64) (*fill, error) {
	b := r.v.blob
	if b.size < 0 {
		if len(b.fills) == 0 {
			return nil, ErrAbandoned
		}
		return b.fills[0], nil
	}
	i := int(off / b.slice)
	switch b.state[i] {
	case sliceFilling:
		return b.owner(i), nil
	case sliceMissing:
		if f := b.approaching(off, time.Now()); f != nil {
			return f, nil
		}
		if r.v.pin() == "" {
			r.c.drop(r.v) // its only fill is over
			return nil, ErrAbandoned
		}
		r.started = true
		return r.v.startFill(i, end, credentials(r.client), time.Duration(r.fails)*retryDelay), nil
	case slicePresent, sliceUnverified, sliceVerifying: // somebody is checking it
	}
	return nil, nil
}

// approaching returns a fill that will soon come to off. The caller holds mu.
func (b *blob) approaching(off int64, now time.Time) *fill {
	for _, f := range b.fills {
		if f.pos > off || off >= f.end {
			continue
		}
		near := max(float64(b.slice), f.rate(now)*coming.Seconds())
		if f.sole || float64(off-f.pos) <= near {
			return f
		}
	}
	return nil
}

// send copies the bytes [off,end) to w, as they come. A negative end is the end
// of a version of unknown size.
func (r *reader) send(w http.ResponseWriter, off, end int64) error {
	if end < 0 {
		end = 1<<63 - 1
	}
	for off < end {
		n, err := r.next(off, end)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case isDiskError(err):
			return r.direct(w, off, end)
		case err != nil:
			return err
		}
		m, err := r.copyRun(w, off, n)
		off += m
		if err != nil {
			return err
		}
		if off < end {
			// What came is to leave before the next wait.
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyRun sends n bytes that are on disk. net/http hands a limited *os.File to
// the kernel (sendfile) where the connection allows.
func (r *reader) copyRun(w io.Writer, off, n int64) (int64, error) {
	if mem := r.v.blob.mem; mem != nil {
		m, err := w.Write(mem[off : off+n])
		return int64(m), err
	}
	if _, err := r.file.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	m, err := io.Copy(w, &io.LimitedReader{R: r.file, N: n})
	if err == nil && m < n {
		// The file is shorter than it was: get the slice anew, but not forever.
		if r.lost++; r.lost > maxFails {
			return m, io.ErrUnexpectedEOF
		}
		r.v.blob.lose(off + m)
	}
	return m, err
}

// direct sends [off,end) past the disk, which refused the bytes: from what the
// broken fill had in hand, or by a request of its own.
func (r *reader) direct(w io.Writer, off, end int64) error {
	if t := r.v.blob.takeTail(off); t != nil {
		defer t.close()
		return sendTail(w, t, end-off)
	}
	if r.v.pin() == "" {
		return fmt.Errorf("%s at byte %d: %w", r.v.Key, off, ErrNoSpace)
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	resp, err := r.c.askPart(ctx, r.v, off, end, credentials(r.client))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if _, err := io.CopyN(io.Discard, resp.Body, off); err != nil {
			return err
		}
	}
	_, err = io.CopyN(w, resp.Body, end-off)
	return err
}
