package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/store"
)

// maxRestarts is how often a download begins anew because the object changed.
const maxRestarts = 2

// Download is one download, and after that a seed until it is closed.
type Download struct {
	e      *Engine
	req    Request
	url    *url.URL
	http   *http.Client // for the object
	web    *http.Client // for what describes it
	start  time.Time
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when result and err are set
	ended  chan struct{} // closed when nothing of the download runs any more
	late   bool          // the object was whole before its manifest was found
	ready  atomic.Bool   // the manifest is there already, only not here yet

	result Result
	err    error
	atOnce bool // it begins with a request for everything

	mu      sync.Mutex
	plain   *store.Plain
	file    *store.File
	fetch   *fetch.Download
	member  *member
	src     *source
	settled bool          // whether there is a manifest is known
	changed chan struct{} // closed and replaced when one of the above changes
	reach   int64         // where an ordinary response is left alone; see awaitReader
	moved   chan struct{} // told when reach changes
	kept    int64         // bytes an earlier run had left
	base    fetch.Stats   // bytes counted before fetch began
	basis   *store.Basis  // older versions; the download's goroutine's
	reused  int64         // bytes of whole pieces that they had
	temp    string        // directory to remove at the end
	warning string        // see Result
	notice  string        // see Progress
}

// Download begins a download. ctx bounds its start only: Close ends it.
func (e *Engine) Download(ctx context.Context, req Request) (*Download, error) {
	u, err := parseURL(req.URL)
	if err != nil {
		return nil, err
	}
	d := &Download{
		e: e, req: req, url: u, start: time.Now(),
		done: make(chan struct{}), changed: make(chan struct{}), ended: make(chan struct{}),
		reach: readAhead, moved: make(chan struct{}, 1),
	}
	d.req.Header = req.Header.Clone()
	if err := d.useHTTP(); err != nil {
		return nil, err
	}
	if e.ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w: the client is closed", u.Redacted(), ErrInterrupted)
	}
	if req.File == "" {
		if d.temp, err = os.MkdirTemp(e.data, "open-"); err != nil {
			return nil, fmt.Errorf("temporary file: %w: %w", ErrDisk, err)
		}
		d.req.File = filepath.Join(d.temp, "object")
	}
	d.ctx, d.cancel = context.WithCancelCause(e.ctx)
	e.start(func() {
		ctx, end := e.down.during(d.ctx, d.req.Class)
		d.result, d.err = d.run(ctx)
		end()
		d.notify()
		close(d.done)
		if d.late && d.e.cfg.Upload && d.temp == "" {
			d.shareLate(d.ctx)
		}
		close(d.ended)
	})
	return d, nil
}

// useHTTP picks the client for servers.
func (d *Download) useHTTP() error {
	d.web = d.e.http
	if d.req.Guarded {
		if d.web = d.e.guarded; d.web == nil {
			return fmt.Errorf("%s: %w", d.url.Redacted(), errUnguarded)
		}
	}
	d.http = d.web
	if d.req.NoRedirects {
		c := *d.web
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		d.http = &c
	}
	return nil
}

// Wait returns the result when the object is whole, verified and in its place,
// or the error that ended the download. When ctx ends first, the download goes
// on.
func (d *Download) Wait(ctx context.Context) (Result, error) {
	select {
	case <-d.done:
		return d.result, d.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("%s: %w: %w", d.url.Redacted(), ErrInterrupted, ctx.Err())
	}
}

// Close ends the download, or the sharing of a finished one, and waits for that.
// An unfinished object stays resumable.
func (d *Download) Close() error {
	d.cancel(ErrInterrupted)
	<-d.ended
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.member != nil {
		d.member.leave()
		d.member = nil
	}
	var err error
	if d.file != nil {
		err = d.file.Close()
	}
	if d.plain != nil {
		err = errors.Join(err, d.plain.Close())
	}
	d.forget()
	if d.temp != "" {
		err = errors.Join(err, os.RemoveAll(d.temp))
	}
	return err
}

// notify wakes whoever waits for the download to get on.
func (d *Download) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// Progress returns where the download is.
func (d *Download) Progress() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := Progress{Size: -1, FromDisk: d.kept, Elapsed: time.Since(d.start), Note: d.notice}
	st := d.base
	if d.src != nil {
		p.Size = d.src.size
	}
	if d.fetch != nil {
		f := d.fetch.Stats()
		st.FromEdge += f.FromEdge
		st.FromPeers, st.Peers, st.Rate = f.FromPeers, f.Peers, f.Rate
		st.Wasted += f.Wasted
		st.FromBasis = f.FromBasis
		if f.Full {
			p.Note = "the server is full, waiting"
		}
	}
	if d.plain != nil {
		st.FromEdge = d.plain.Size() - d.kept
		if s := p.Elapsed.Seconds(); s > 0 {
			st.Rate = int64(float64(st.FromEdge) / s)
		}
	}
	if d.member != nil {
		p.Object, p.Uploaded = d.member.object(), d.member.swarm.Uploaded()
	}
	p.FromEdge, p.FromPeers, p.Wasted, p.Peers, p.Rate = st.FromEdge, st.FromPeers, st.Wasted, st.Peers, st.Rate
	p.FromOld = d.reused + st.FromBasis
	p.Done = p.FromEdge + p.FromPeers + p.FromDisk + p.FromOld
	select {
	case <-d.done:
		p.Complete = d.err == nil
		if p.Complete {
			p.Elapsed = d.result.Elapsed
		}
	default:
	}
	return p
}

// run downloads, and begins anew when the object turns out to have changed.
func (d *Download) run(ctx context.Context) (Result, error) {
	for try := 0; ; try++ {
		err := d.attempt(ctx)
		if err == nil {
			return d.finish()
		}
		if cause := context.Cause(ctx); errors.Is(cause, ErrMonthly) {
			return Result{}, d.explain(cause)
		}
		// A reader may have had bytes of the version before.
		if errors.Is(err, ErrChanged) && try < maxRestarts && !d.req.Sequential && ctx.Err() == nil {
			d.e.log.Info("object changed, beginning anew", "url", d.url.Redacted(), "error", err)
			d.discard()
			d.atOnce = true
			continue
		}
		return Result{}, d.explain(err)
	}
}

// explain names the object and gives errors of other packages their cause.
func (d *Download) explain(err error) error {
	for _, known := range []error{ErrURL, ErrNotFound, ErrDenied, ErrServer, ErrNetwork, ErrTLS, ErrVerify, ErrChanged, ErrExists, ErrDisk, ErrMonthly, ErrInterrupted} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s: %w", d.url.Redacted(), err)
		}
	}
	cause := ErrServer
	var web *url.Error
	var system syscall.Errno
	switch {
	case errors.Is(err, context.Canceled):
		cause = ErrInterrupted
	case errors.Is(err, store.ErrExists):
		cause = ErrExists
	case errors.Is(err, fetch.ErrCorruptEdge):
		cause = ErrManifest
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrStale):
		cause = ErrVerify
	case errors.Is(err, fetch.ErrStalled):
		cause = ErrNetwork
	case errors.As(err, &web):
		return fmt.Errorf("%s: %w", d.url.Redacted(), classify(err))
	case errors.As(err, &system), errors.Is(err, store.ErrNoSpace), errors.Is(err, store.ErrReadOnly), errors.Is(err, store.ErrLocked), errors.Is(err, fs.ErrNotExist):
		cause = ErrDisk
	}
	return fmt.Errorf("%s: %w: %w", d.url.Redacted(), cause, err)
}

// discard throws away what has come of a version that is no more.
func (d *Download) discard() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.member != nil {
		d.member.leave()
		d.member = nil
	}
	if d.file != nil {
		d.logError("discard", d.file.Abort())
	}
	if d.plain != nil {
		d.logError("discard", d.plain.Abort())
	}
	d.forget()
	d.file, d.plain, d.fetch, d.src, d.kept, d.base, d.reused = nil, nil, nil, nil, 0, fetch.Stats{}, 0
	d.req.Resume = false
}

func (d *Download) logError(what string, err error) {
	if err != nil {
		d.e.log.Warn("not cleaned up", "what", what, "url", d.url.Redacted(), "error", err)
	}
}

// finish gives the object its name and accounts for it.
func (d *Download) finish() (Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := Result{URL: d.req.URL, File: d.req.File, Elapsed: time.Since(d.start), FromDisk: d.kept, Warning: d.warning}
	r.FromEdge, r.Wasted = d.base.FromEdge, d.base.Wasted
	var err error
	if d.file != nil {
		err = d.file.Commit()
		r.Object = d.file.Manifest().ID()
		r.Size, r.SHA256 = d.file.Manifest().Size, d.file.Manifest().Digest
	} else {
		err = d.plain.Commit()
		r.Size, r.SHA256 = d.plain.Size(), d.plain.Sum()
		r.FromEdge = r.Size - d.kept
	}
	if err != nil {
		return Result{}, d.explain(err)
	}
	r.FromOld = d.reused
	if d.fetch != nil {
		st := d.fetch.Stats()
		r.FromOld += st.FromBasis
		r.FromEdge += st.FromEdge
		r.FromPeers, r.Peers = st.FromPeers, st.Senders
		r.Wasted += st.Wasted
		r.Edges = st.Edges
		r.Edges[0].Bytes += d.base.FromEdge
	}
	if d.member != nil {
		d.member.complete(r)
	}
	d.forget()
	if d.temp == "" {
		d.logError("list of downloads", d.e.history.add(d.req.URL, d.req.File))
	}
	d.e.log.Info("object complete", "url", d.url.Redacted(), "bytes", r.Size, "from_edge", r.FromEdge, "from_peers", r.FromPeers, "from_old", r.FromOld, "wasted", r.Wasted)
	return r, nil
}

// target is where the object goes.
func (d *Download) target() store.Target {
	return store.Target{Path: d.req.File, Overwrite: d.req.Overwrite}
}

// attempt downloads the version that the server has now.
func (d *Download) attempt(ctx context.Context) error {
	if _, err := os.Lstat(d.req.File); err == nil && !d.req.Overwrite {
		return fmt.Errorf("%w: %s", ErrExists, d.req.File)
	}
	if d.req.Resume {
		r, err := store.Resume(ctx, d.target(), store.Meta{URL: d.req.URL})
		switch {
		case err == nil:
			return d.resume(ctx, r)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrStale), errors.Is(err, store.ErrDamaged):
			d.e.log.Info("beginning anew", "url", d.url.Redacted(), "reason", err)
		default:
			return err
		}
	}
	return d.fresh(ctx)
}

// open sends the request that begins a download, for the bytes from off on, and
// waits while the server is full.
func (d *Download) open(ctx context.Context, src *source, off int64) (*http.Response, error) {
	never := func() bool { return false }
	return d.patiently(ctx, func() (*http.Response, error) { return d.once(ctx, src, off, 0) }, never)
}

// once is open without the patience. It asks for most bytes at most, if that is not 0.
func (d *Download) once(ctx context.Context, src *source, off, most int64) (*http.Response, error) {
	req, err := src.request(traced(ctx), http.MethodGet)
	if err != nil {
		return nil, err
	}
	if most > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+most-1))
	} else if off > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	if off > 0 {
		if v := src.validator(); v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	if !isWhole(resp) && (off+most == 0 || resp.StatusCode != http.StatusPartialContent) {
		defer resp.Body.Close()
		return nil, newStatusError(resp)
	}
	return resp, nil
}

// sourceOf reads the version off the response that begins a download.
func (d *Download) sourceOf(resp *http.Response) *source {
	s := d.newSource()
	s.answered, s.at, s.remote = resp.Header, resp.Request.URL, remoteOf(resp)
	s.etag, s.mod, s.size = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified"), resp.ContentLength
	if first, size, ok := contentRange(resp.Header.Get("Content-Range")); ok {
		s.size = size
		if first == 0 { // users are told of the object, not of this part of it
			s.answered = resp.Header.Clone()
			s.answered.Del("Content-Range")
			s.answered.Set("Content-Length", strconv.FormatInt(size, 10))
		}
	}
	return s
}

func (d *Download) newSource() *source {
	return &source{client: d.http, url: d.req.URL, header: d.req.Header, size: -1, down: d.e.down.flow(d.req, d.start), name: d.url.Redacted()}
}
