package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/store"
)

const (
	// plainTries is how often the rest of an ordinary download is asked for.
	plainTries = 5
	// sequentialWindow is how far ahead of its reader a download works, in bytes;
	// readAhead is how far an ordinary one goes before it has one.
	sequentialWindow = 64 << 20
	readAhead        = 1 << 20
)

// retryPlain asks for the rest of an ordinary download that broke off.
func (d *Download) retryPlain(ctx context.Context, src *source, plain *store.Plain, cause error) error {
	last := time.Now()
	for try := 0; try < plainTries; try++ {
		if src.size >= 0 && plain.Size() == src.size {
			return d.streamed(ctx, src, plain, nil) // it broke off behind the last byte
		}
		d.awaitReader(ctx, plain)
		wait := time.Second << try / 2
		if full := fullFor(cause); full > 0 && time.Since(last)+full < d.patience() {
			wait, try = full+rand.N(full/2), try-1
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		before := plain.Size()
		err := d.rest(ctx, src, plain)
		if err == nil {
			return d.streamed(ctx, src, plain, nil)
		}
		if permanent(err) || !errors.Is(err, ErrNetwork) && !errors.Is(err, ErrServer) {
			return err
		}
		if plain.Size() > before {
			try, last = -1, time.Now()
		}
		cause = err
	}
	return cause
}

// permanent reports whether to ask again would not help.
func permanent(err error) bool {
	var lasting interface{ Permanent() bool }
	return errors.As(err, &lasting) && lasting.Permanent()
}

func (d *Download) rest(ctx context.Context, src *source, plain *store.Plain) error {
	if src.validator() == "" || src.size < 0 {
		return fmt.Errorf("%w: it broke off and gave nothing to tell versions by, so the rest cannot be asked for", ErrNetwork)
	}
	body, err := src.Fetch(ctx, plain.Size(), src.size-plain.Size())
	if err != nil {
		return err
	}
	defer body.Close()
	stop := context.AfterFunc(ctx, func() { body.Close() })
	defer stop()
	mem := d.newIntake()
	for {
		d.awaitReader(ctx, plain)
		b, err := mem.read(body)
		if len(b) > 0 {
			if _, werr := plain.Append(b); werr != nil {
				return werr
			}
			d.notify()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return classify(err)
		}
	}
}

// intake is memory for an ordinary response: one half is read into while the other
// is hashed.
type intake struct {
	halves [2][]byte
	gather int // bytes up to which small reads that follow at once are put together
}

// gatherFor is how long reads are gathered, and fullRecord how much of one shows that
// more is on its way: a record of TLS (RFC 8446 §5.1) that is full. After any other what
// came is not held back, for the next read may take for ever.
const (
	gatherFor  = 2 * time.Millisecond
	fullRecord = 16 << 10
)

// newIntake has room for what is read at once: little where a reader is not to be
// run away from, who is not to wait for what comes next, either.
func (d *Download) newIntake() intake {
	size, gather := 1<<20, 256<<10
	if d.req.Sequential {
		size, gather = 128<<10, 0
	}
	return intake{[2][]byte{make([]byte, size), make([]byte, size)}, gather}
}

// read reads into the half that is free, as many records of TLS as come at once: each by
// itself would have to be hashed and written. What it returns is overwritten after the
// next call that brings something: one that brings nothing, as reads may, leaves the
// halves as they are, for the other may still be hashed.
func (m *intake) read(r io.Reader) ([]byte, error) {
	began := time.Now()
	n, err := r.Read(m.halves[0])
	for last := n; last == fullRecord && n < m.gather && err == nil && time.Since(began) < gatherFor; n += last {
		last, err = r.Read(m.halves[0][n:])
	}
	b := m.halves[0][:n]
	if n > 0 {
		m.halves[0], m.halves[1] = m.halves[1], m.halves[0]
	}
	return b, err
}

// awaitReader leaves an ordinary response alone while it is far ahead of the
// reader that it is for. Until it is known whether there is a manifest nobody can
// read, and the response goes on.
func (d *Download) awaitReader(ctx context.Context, plain *store.Plain) {
	far := func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.req.Sequential && d.settled && plain.Size() >= d.reach
	}
	for far() {
		select {
		case <-d.moved:
		case <-ctx.Done():
			return
		}
	}
}

// readerAt tells where the reader of an ordinary response is; d.mu is held.
func (d *Download) readerAt(off int64) {
	d.reach = off + sequentialWindow
	select {
	case d.moved <- struct{}{}:
	default:
	}
}

// checkDigest compares the bytes with the Repr-Digest (RFC 9530) of the response,
// if it has one.
func checkDigest(h http.Header, sum manifest.Hash) error {
	values := h.Values("Repr-Digest")
	if len(values) == 0 {
		return nil
	}
	dict, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return nil //nolint:nilerr // a header nobody can read promises nothing
	}
	member, ok := dict.Get("sha-256")
	item, isItem := member.(httpsfv.Item)
	if !ok || !isItem {
		return nil
	}
	if want, ok := item.Value.([]byte); ok && string(want) != string(sum[:]) {
		return fmt.Errorf("%w: the bytes do not have the SHA-256 that the server names", ErrVerify)
	}
	return nil
}

// warn keeps a line that the user of a download that goes well should see.
func (d *Download) warn(line string) {
	d.e.log.Warn("not all is well", "url", d.url.Redacted(), "warning", line)
	d.mu.Lock()
	d.warning = line
	d.mu.Unlock()
}

// settle records that the download stays an ordinary one.
func (d *Download) settle(why error) {
	if !errors.Is(why, errPlain) {
		d.e.log.Info("going on without a swarm", "url", d.url.Redacted(), "reason", why)
	}
	d.mu.Lock()
	d.settled = true
	d.mu.Unlock()
	d.notify()
}

// window is how far the download works ahead of a reader, in bytes; 0 without
// one.
func (d *Download) window() int64 {
	if d.req.Sequential {
		return sequentialWindow
	}
	return 0
}
