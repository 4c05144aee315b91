package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/tandem-cdn/tandem/internal/fetch"
)

// firstBytes is for how many bytes a download asks at first. When peers turn up, and a
// response for everything is ended before its time, what the path holds of it arrives
// for nothing: a fifth of a second of a home's downlink. One that is short has ended
// by then.
const firstBytes = 1 << 20

// first asks for the first bytes, or for everything where the rest might not be had
// later.
func (d *Download) first(ctx context.Context) (*http.Response, error) {
	if resp := d.req.Begun; resp != nil {
		d.req.Begun = nil
		return resp, nil
	}
	if d.e.cfg.NoP2P || d.req.Sequential || d.atOnce {
		return d.once(ctx, d.newSource(), 0, 0)
	}
	resp, err := d.once(ctx, d.newSource(), 0, firstBytes)
	var status *statusError
	switch {
	case errors.As(err, &status) && status.aboutRange():
	case err != nil || isWhole(resp) || d.mayGoOn(resp):
		return resp, err
	default:
		resp.Body.Close()
	}
	return d.once(ctx, d.newSource(), 0, 0)
}

// aboutRange reports whether it may be for its Range that a request was refused.
func (e *statusError) aboutRange() bool {
	switch e.status {
	case http.StatusUnauthorized, http.StatusNotFound, http.StatusGone:
		return false
	}
	return e.Permanent() || e.status == http.StatusNotImplemented
}

// mayGoOn reports whether a 206 is of the first bytes, and enough to ask for the rest
// of the same version.
func (d *Download) mayGoOn(resp *http.Response) bool {
	first, size, ok := contentRange(resp.Header.Get("Content-Range"))
	n := min(firstBytes, size)
	return ok && first == 0 && resp.ContentLength == n && (n == size || d.sourceOf(resp).validator() != "")
}

// opening is the body of the response that begins a download. When that was for the
// first bytes alone, and is read to its end, it goes on with the rest. It is read by
// one goroutine; any may end it.
type opening struct {
	src    *source
	ctx    context.Context
	cancel context.CancelFunc
	at     int64 // offset of what is read next
	until  int64 // of the end of the response; -1 is not known
	alone  bool  // it does not go on
	paused bool  // at the end, before it goes on

	mu   sync.Mutex
	body *body
}

func newOpening(ctx context.Context, src *source, resp *http.Response, at int64) *opening {
	o := &opening{src: src, at: at, until: -1, body: newBody(ctx, resp.Body, src.down)}
	o.ctx, o.cancel = context.WithCancel(ctx)
	if resp.ContentLength >= 0 {
		o.until = at + resp.ContentLength
	}
	return o
}

// Read implements [io.Reader].
func (o *opening) Read(p []byte) (int, error) {
	n, err := o.body.Read(p)
	o.at += int64(n)
	if !errors.Is(err, io.EOF) || o.alone || o.at != o.until || o.at >= o.src.size {
		return n, err
	}
	// Who reads has something to do before it waits for the rest, also one who reads on
	// until a read brings nothing.
	if n > 0 {
		return n, nil
	}
	if o.paused = !o.paused; o.paused {
		return 0, nil
	}
	return 0, o.goOn()
}

// goOn asks for the rest. Who cannot have it begins anew, and asks for everything.
func (o *opening) goOn() error {
	rest, err := o.src.fetch(o.ctx, o.at, o.src.size-o.at)
	if permanent(err) {
		return changed(fmt.Sprintf("the rest of it is not to be had: %v", err))
	}
	if err != nil {
		return err
	}
	until := o.src.size
	if rest.length > 0 { // it may be but the next part
		until = min(until, o.at+rest.length)
	}
	o.mu.Lock()
	o.until, o.body = until, rest
	o.mu.Unlock()
	if o.ctx.Err() != nil {
		o.end()
	}
	return nil
}

// stream is what is still to come of the response, behind tail, as a source beside
// others, of which the bytes from offset at on are wanted; nil where there is none.
func (o *opening) stream(tail []byte, at, size int64) *fetch.Stream {
	if o == nil {
		return nil
	}
	o.alone = true
	body := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(tail), o), o}
	s := &fetch.Stream{Body: body, At: at, End: o.until}
	if o.until < 0 {
		s.End = size
	}
	return s
}

// end closes a body that is no longer wanted: what closing says is of no use.
func (o *opening) end() { _ = o.Close() }

// Close implements [io.Closer].
func (o *opening) Close() error {
	if o == nil {
		return nil
	}
	o.cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.body.Close()
}
