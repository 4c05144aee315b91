package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/store"
)

const (
	// pauseRate and maxPause bound the pause before the first byte of a response
	// is read: the time that its size takes at this rate, in bytes per second.
	pauseRate = 64 << 20
	maxPause  = time.Second
	// verdictWithin bounds the wait for a manifest behind the last byte.
	verdictWithin = 300 * time.Millisecond
	// hangWithin is how long the first response may bring nothing once the manifest
	// is there.
	hangWithin = 1500 * time.Millisecond
)

// fresh begins with a GET of the first bytes, and then of the rest. They flow to the
// disk while the manifest, the grant and the swarm are sought; when they are found in
// time, the response goes on as one source among others.
func (d *Download) fresh(ctx context.Context) error {
	if d.req.Begun == nil {
		if began, err := d.update(ctx); began || err != nil {
			return err
		}
	}
	if !d.e.cfg.NoP2P {
		d.e.group.Go(func() error {
			_, _ = d.e.hosts.get(ctx, d.web, d.url) // asked for again, and judged, by bootstrap
			return nil
		})
	}
	var began bool
	var went error
	resp, err := d.patiently(ctx, func() (*http.Response, error) { return d.first(ctx) }, func() bool {
		began, went = d.without(ctx)
		return began
	})
	if began {
		return went
	}
	if err != nil {
		return err
	}
	src := d.sourceOf(resp)
	plain, err := store.CreatePlain(d.target(), src.meta(d.req.URL))
	if err != nil {
		resp.Body.Close()
		return err
	}
	return d.stream(ctx, src, plain, resp)
}

func (s *source) meta(url string) store.Meta {
	return store.Meta{URL: url, ETag: s.etag, LastModified: s.mod}
}

// resume goes on with what an earlier run has left.
func (d *Download) resume(ctx context.Context, r *store.Resumed) error {
	src := d.newSource()
	src.etag, src.mod = r.Meta.ETag, r.Meta.LastModified
	if r.Plain != nil {
		return d.resumePlain(ctx, src, r)
	}
	src.size = r.File.Manifest().Size
	d.mu.Lock()
	d.file, d.src, d.kept = r.File, src, r.Bytes
	d.mu.Unlock()
	never := func() bool { return false }
	resp, err := d.patiently(ctx, func() (*http.Response, error) { return d.probe(ctx) }, never) //nolint:bodyclose // probe closes it
	if err != nil {
		return err
	}
	src.answered, src.at = resp.Header, resp.Request.URL
	if d.sourceOf(resp).size != src.size || !src.isVersion(resp.Header) {
		return changed("it is another version than the partial file")
	}
	b, err := d.rejoin(ctx, resp.Request.URL, r.File.Signed())
	if err != nil {
		return err
	}
	if err := d.reuse(ctx, resp, b); err != nil {
		return err
	}
	if err = d.swarm(ctx, b, nil); errors.Is(err, fetch.ErrCorruptEdge) {
		return changed("the edge sends other bytes than the partial file's manifest says")
	}
	return err
}

// probe asks for the first byte, to learn what the server has: URLs that are
// signed for GET answer nothing else.
func (d *Download) probe(ctx context.Context) (*http.Response, error) {
	req, err := d.newSource().request(ctx, http.MethodGet)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", "bytes=0-0")
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent, isWhole(resp):
		return resp, nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return nil, changed("it is empty now")
	}
	return nil, newStatusError(resp)
}

// resumePlain asks for the rest of an ordinary object, or begins anew when the
// server has another version, or cannot tell.
func (d *Download) resumePlain(ctx context.Context, src *source, r *store.Resumed) error {
	d.mu.Lock()
	d.plain, d.kept = r.Plain, r.Plain.Size() // closed by Close, whatever happens
	d.mu.Unlock()
	if src.validator() != "" && d.kept > 0 {
		resp, err := d.open(ctx, src, d.kept)
		var status *statusError
		switch {
		case errors.As(err, &status) && status.status == http.StatusRequestedRangeNotSatisfiable:
			// Nothing behind what is there: ask for all of it, to be sure.
		case err != nil:
			return err
		case isWhole(resp):
			return d.restart(ctx, r.Plain, resp)
		default:
			if now := d.sourceOf(resp); now.follows(src, d.kept) {
				return d.stream(ctx, now, r.Plain, resp)
			}
			resp.Body.Close()
		}
	}
	resp, err := d.open(ctx, d.newSource(), 0)
	if err != nil {
		return err
	}
	return d.restart(ctx, r.Plain, resp)
}

// restart writes the response over what an earlier run has left.
func (d *Download) restart(ctx context.Context, plain *store.Plain, resp *http.Response) error {
	now := d.sourceOf(resp)
	if err := plain.Restart(now.meta(d.req.URL)); err != nil {
		resp.Body.Close()
		return err
	}
	d.mu.Lock()
	d.kept = 0
	d.mu.Unlock()
	return d.stream(ctx, now, plain, resp)
}

// stream writes the response to the disk until it ends or the swarm is ready.
func (d *Download) stream(ctx context.Context, src *source, plain *store.Plain, resp *http.Response) error {
	b := newOpening(ctx, src, resp, plain.Size())
	plain.Expect(src.size)
	d.mu.Lock()
	d.plain, d.src = plain, src
	d.mu.Unlock()
	d.notify()
	bctx, cancel := context.WithCancel(ctx)
	found := make(chan *bootstrapped, 1)
	var reading atomic.Bool
	var seeking sync.WaitGroup
	defer seeking.Wait()
	defer cancel()
	seeking.Go(func() {
		got := d.bootstrap(bctx, resp)
		if got.ordinary() && bctx.Err() == nil {
			d.settle(got.err) // at once: readers wait for it, whatever the response does
		}
		found <- got
		if got.ordinary() {
			return
		}
		select { // a response that hangs is not waited for
		case <-bctx.Done():
		case <-time.After(hangWithin):
			if reading.Load() {
				b.end()
			}
		}
	})
	defer context.AfterFunc(ctx, b.end)()
	d.pause(ctx, src, resp.Header, found)
	mem := d.newIntake()
	for {
		select {
		case got := <-found:
			cancel()
			if !got.ordinary() {
				return d.promote(ctx, got, b)
			}
			found = nil
		default:
		}
		d.awaitReader(ctx, plain)
		reading.Store(true)
		part, err := mem.read(b)
		reading.Store(false)
		if len(part) > 0 {
			if _, werr := plain.Append(part); werr != nil {
				b.end()
				return werr
			}
			d.notify()
		}
		if errors.Is(err, io.EOF) {
			b.end()
			return d.streamed(ctx, src, plain, found)
		}
		if err != nil {
			b.end()
			return d.broken(ctx, src, plain, err, found)
		}
	}
}

// pause leaves the response alone for a moment when the manifest is sure to come
// at once: its bytes are the same for all who start together, and those are the
// ones that a crowd needs least.
func (d *Download) pause(ctx context.Context, src *source, h http.Header, found chan *bootstrapped) {
	if d.e.cfg.NoP2P || !HasManifest(h) {
		return
	}
	most := min(time.Duration(float64(src.size)/pauseRate*float64(time.Second)), maxPause)
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case got := <-found:
		found <- got // for the caller
	case <-timer.C:
	case <-ctx.Done():
	}
}

// streamed ends a download that the first response has brought whole. A manifest
// that is sure to come at once is still waited for, so that it does not depend on
// the speed of the line whether one that is bad is noticed.
func (d *Download) streamed(ctx context.Context, src *source, plain *store.Plain, found chan *bootstrapped) error {
	if found != nil && d.ready.Load() {
		select {
		case got := <-found:
			if !got.ordinary() {
				return d.promote(ctx, got, nil)
			}
			found = nil
		case <-time.After(verdictWithin):
		}
	}
	if src.size >= 0 && plain.Size() != src.size {
		return fmt.Errorf("%w: the response ended at byte %d of %d", ErrNetwork, plain.Size(), src.size)
	}
	if err := checkDigest(src.answered, plain.Sum()); err != nil {
		d.discard()
		return err
	}
	if found != nil {
		d.late = true
		d.settle(errPlain)
	}
	return nil
}

// broken decides how to go on after the first response broke off: with the swarm
// if there is one, else by asking for the rest.
func (d *Download) broken(ctx context.Context, src *source, plain *store.Plain, err error, found chan *bootstrapped) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case got := <-found: // never, when it is nil
		if !got.ordinary() {
			return d.promote(ctx, got, nil)
		}
	case <-time.After(maxPause):
		if found != nil {
			d.settle(errPlain)
		}
	}
	if permanent(err) {
		return err
	}
	return d.retryPlain(ctx, src, plain, classify(err))
}

// promote goes on with the swarm, or ends when the manifest is refused. body is
// the rest of the first response.
func (d *Download) promote(ctx context.Context, b *bootstrapped, body *opening) error {
	if b.signed == nil {
		return d.refuse(b.err, body)
	}
	d.mu.Lock()
	plain := d.plain
	d.mu.Unlock()
	p, err := plain.Promote(ctx, b.signed)
	if err == nil && p.Bad > 0 {
		d.e.log.Warn("first bytes do not match the manifest", "url", d.url.Redacted(), "pieces", p.Bad)
		body.end() // the response is of another version, or damaged
		body = nil
	}
	if err != nil {
		body.end()
		return err
	}
	m := p.File.Manifest()
	var at int64
	for i := range m.NumPieces() {
		if !p.File.Has(i) {
			at = m.Offset(i)
			break
		}
	}
	d.mu.Lock()
	var had int64
	for i := range m.NumPieces() {
		if p.File.Has(i) {
			had += m.PieceLen(i)
		}
	}
	d.base.FromEdge = max(had-d.kept, 0)
	d.plain, d.file = nil, p.File
	d.mu.Unlock()
	if p.File.Have().Full() {
		body.end()
		body = nil
	}
	stream := body.stream(p.Tail, at, m.Size)
	if !stream.Useful(m) {
		d.mu.Lock()
		d.base.Wasted += int64(len(p.Tail))
		d.mu.Unlock()
	}
	return d.swarm(ctx, b, stream)
}

// swarm downloads what the file lacks from edge and peers together.
func (d *Download) swarm(ctx context.Context, b *bootstrapped, stream *fetch.Stream) error {
	d.mu.Lock()
	file, src := d.file, d.src
	d.mu.Unlock()
	m := newMember(d, b, file)
	o := fetch.Options{
		Store: file, Edge: src, Stream: stream, Seed: m.seed(), Uploads: d.e.cfg.Upload,
		Window: d.window(), Announce: m.announce, Credit: m.credit, Corrupt: store.ErrCorrupt, Logger: d.e.log,
		Patience: d.patience(), Class: d.req.Class, FinishBy: d.req.FinishBy,
	}
	if d.basis != nil {
		o.Basis = d.basis
	}
	f := fetch.NewDownload(o)
	m.fetch = f
	if err := m.join(); err != nil {
		d.e.log.Info("going on without a swarm", "url", d.url.Redacted(), "reason", err)
	}
	d.mu.Lock()
	d.fetch, d.settled = f, true
	if m.swarm != nil {
		d.member = m
	}
	d.mu.Unlock()
	d.notify()
	d.e.log.Debug("swarm begins", "url", d.url.Redacted(), "after", time.Since(d.start).Round(time.Millisecond), "pieces", file.Have().Count())
	more := d.seekMirrors(ctx, f, b, src)
	err := f.Run(ctx)
	more.close()
	m.stopSeeking()
	return err
}
