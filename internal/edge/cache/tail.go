package cache

import (
	"io"
)

// tail is what a fill had in hand when the disk refused it: the first reader to
// get there goes on from it.
type tail struct {
	off  int64
	data []byte
	body io.ReadCloser
}

func (t *tail) close() {
	if t != nil {
		t.body.Close()
	}
}

// giveTail leaves the rest of a response that cannot be had again to a reader,
// and says why. Whoever holds the version last closes it.
func (f *fill) giveTail(data []byte, body io.ReadCloser, cause error) error {
	b := f.v.blob
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.v.pin() == "" && b.tail == nil {
		b.tail = &tail{off: f.pos, data: append([]byte(nil), data...), body: body}
		f.keepBody = true
	}
	return &diskError{cause}
}

// hasTail says whether there is a tail that begins at off.
func (b *blob) hasTail(off int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tail != nil && b.tail.off == off
}

// takeTail takes the tail if it begins at off, or wherever if off is negative.
func (b *blob) takeTail(off int64) *tail {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tail
	if t == nil || off >= 0 && t.off != off {
		return nil
	}
	b.tail = nil
	return t
}

func sendTail(w io.Writer, t *tail, n int64) error {
	data := t.data[:min(int64(len(t.data)), n)]
	if _, err := w.Write(data); err != nil {
		return err
	}
	m, err := io.Copy(w, io.LimitReader(t.body, n-int64(len(data))))
	if err == nil && n < 1<<62 && m < n-int64(len(data)) {
		return io.ErrUnexpectedEOF
	}
	return err
}
