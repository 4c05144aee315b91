package tandem

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tandem-cdn/tandem/internal/agent"
)

// Object is an object that is read while it arrives. It is an
// [io.ReadSeekCloser] for one goroutine at a time.
type Object struct {
	ctx      context.Context
	d        *agent.Download
	stop     func() bool // makes the end of ctx mean nothing
	size     int64       // −1: not known
	off      int64
	ordinary bool // without a manifest
	// tail is a response that goes on at off, for an ordinary object whose reader
	// is ahead of the download.
	tail   io.ReadCloser
	tailAt int64
}

// skipAhead is how far ahead of an ordinary download a read must lie to be worth
// a request of its own, in bytes.
const skipAhead = 256 << 10

// Size is the size in bytes, −1 when the server does not tell.
func (o *Object) Size() int64 { return o.size }

// Read reads what comes next, waiting for it if need be.
func (o *Object) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if o.size >= 0 && o.off >= o.size {
		return 0, io.EOF
	}
	n, err := o.read(p)
	o.off += int64(n)
	if end := o.ctx.Err(); end != nil && err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, end) {
		err = fmt.Errorf("%w: %w", err, end)
	}
	return n, err
}

func (o *Object) read(p []byte) (int, error) {
	if o.tail != nil && o.tailAt != o.off {
		o.closeTail()
	}
	if o.ordinary && o.tail == nil && o.size >= 0 && o.off > o.d.Progress().Done+skipAhead {
		tail, err := o.d.Range(o.ctx, o.off)
		if err != nil {
			return 0, err
		}
		o.tail, o.tailAt = tail, o.off
	}
	if o.tail == nil {
		return o.d.ReadAt(o.ctx, p, o.off)
	}
	n, err := o.tail.Read(p)
	o.tailAt += int64(n)
	if err != nil && n > 0 {
		err = nil // the next Read sees to it
	}
	if err != nil {
		o.closeTail()
		return o.d.ReadAt(o.ctx, p, o.off)
	}
	return n, nil
}

func (o *Object) closeTail() {
	_ = o.tail.Close() // only read from
	o.tail = nil
}

// Seek sets the position of the next Read. Nothing is fetched until then.
func (o *Object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += o.off
	case io.SeekEnd:
		if o.size < 0 {
			return 0, errors.New("seek: the server does not tell where the end is")
		}
		offset += o.size
	default:
		return 0, fmt.Errorf("seek: whence %d", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek: position %d", offset)
	}
	o.off = offset
	return offset, nil
}

// Close ends the download and removes what it had on disk.
func (o *Object) Close() error {
	o.stop()
	if o.tail != nil {
		o.closeTail()
	}
	return o.d.Close()
}
