package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/store"
)

// The pauses between tries to share again while the edge cannot be reached.
const (
	minSeedPause = 15 * time.Second
	maxSeedPause = 15 * time.Minute
)

// Seed shares File, which an earlier download of URL has left, from where it
// lies. The edge is asked again for manifest and grant, patiently when it cannot
// be reached. Wait returns once the file is shared, or with the reason why it
// can no longer be: it is gone, has changed, or the URL has another version now.
func (e *Engine) Seed(_ context.Context, req Request) (*Download, error) {
	u, err := parseURL(req.URL)
	if err != nil {
		return nil, err
	}
	d := &Download{
		e: e, req: req, url: u, start: time.Now(),
		done: make(chan struct{}), changed: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := d.useHTTP(); err != nil {
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancelCause(e.ctx)
	e.start(func() {
		if err := d.seed(d.ctx); err != nil {
			d.err = d.explain(err)
		}
		d.notify()
		close(d.done)
		close(d.ended)
	})
	return d, nil
}

// seed tries until the file is shared or cannot be.
func (d *Download) seed(ctx context.Context) error {
	for pause := minSeedPause; ; pause = min(2*pause, maxSeedPause) {
		err := d.seedOnce(ctx)
		if err == nil || unshareable(err) || ctx.Err() != nil {
			return err
		}
		d.e.log.Info("not shared yet", "url", d.url.Redacted(), "reason", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// unshareable reports whether waiting will not help.
func unshareable(err error) bool {
	for _, e := range []error{ErrURL, ErrNotFound, ErrDenied, ErrVerify, ErrChanged, ErrDisk, errPlain, store.ErrChanged} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (d *Download) seedOnce(ctx context.Context) error {
	signed, err := d.share(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = signed.Size
	d.result = Result{
		URL: d.req.URL, File: d.req.File, Size: signed.Size, FromDisk: signed.Size,
		Object: signed.Object, SHA256: signed.Digest,
	}
	return nil
}

// share joins the swarm with a file that is whole and in its place.
func (d *Download) share(ctx context.Context) (*manifest.Signed, error) {
	fi, err := os.Stat(d.req.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	resp, err := d.probe(ctx) //nolint:bodyclose // probe has closed it
	if err != nil {
		return nil, err
	}
	src := d.sourceOf(resp)
	if src.size != fi.Size() {
		return nil, changed(fmt.Sprintf("%d bytes at the server, %d in %s", src.size, fi.Size(), d.req.File))
	}
	b := d.bootstrap(ctx, resp)
	if b.err != nil {
		return nil, b.err
	}
	file, err := store.Seed(d.req.File, b.signed.Manifest)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.file, d.src = file, src
	d.mu.Unlock()
	// Pieces are hashed when a peer first asks for them: a file that was changed
	// behind our back gives no wrong bytes.
	return b.signed, d.swarm(ctx, b, nil)
}

// shareLate shares an object that was whole before its manifest was found, and
// accounts for it.
func (d *Download) shareLate(ctx context.Context) {
	if _, err := d.share(ctx); err != nil {
		level := slog.LevelInfo
		if errors.Is(err, ErrManifest) {
			level = slog.LevelWarn // it came too late to refuse the object
		}
		d.e.log.Log(ctx, level, "not shared", "url", d.url.Redacted(), "reason", err)
		return
	}
	d.mu.Lock()
	m := d.member
	d.mu.Unlock()
	if m != nil {
		m.complete(d.result)
	}
}
