package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// edgeRun is one running request to the edge.
type edgeRun struct {
	req    int
	end    atomic.Int64 // pieces from here on are not wanted
	at     atomic.Int64 // piece in progress
	cancel context.CancelFunc
}

// trim makes the run end before piece end, at once if that has begun.
func (e *edgeRun) trim(end int) {
	e.end.Store(int64(end))
	if int64(end) <= e.at.Load() {
		e.cancel()
	}
}

// runEdge starts a request for pieces first to end−1, or goes on with a body
// that has been opened already.
func (d *Download) runEdge(ctx context.Context, req, first, end int, body io.ReadCloser) {
	ctx, cancel := context.WithCancel(ctx)
	e := &edgeRun{req: req, cancel: cancel}
	e.at.Store(int64(first))
	e.end.Store(int64(end))
	d.edge[req] = e
	d.mu.Lock()
	d.stats.EdgeRequests++
	d.mu.Unlock()
	d.wg.Go(func() {
		defer cancel()
		err := d.stream(ctx, e, first, end, body)
		trimmed := ctx.Err() != nil && e.end.Load() <= e.at.Load()
		d.post(func(now time.Duration) {
			delete(d.edge, req)
			d.due = true
			d.ended(now, req, err, trimmed)
		})
	})
}

// stream reads pieces off the edge, verifies and stores them.
func (d *Download) stream(ctx context.Context, e *edgeRun, first, end int, body io.ReadCloser) error {
	if body == nil {
		off := d.m.Offset(first)
		n := min(d.m.Offset(end), d.m.Size) - off
		var err error
		if body, err = d.o.Edge.Fetch(ctx, off, n); err != nil {
			return err
		}
	}
	defer body.Close()
	stop := context.AfterFunc(ctx, func() { body.Close() })
	defer stop()
	buf := make([]byte, d.m.PieceLen(first))
	for i := first; ; i++ {
		e.at.Store(int64(i)) // before end is looked at: trim does it the other way round
		if int64(i) >= e.end.Load() {
			break
		}
		b := buf[:d.m.PieceLen(i)]
		if err := d.readPiece(body, e.req, b); err != nil {
			return fmt.Errorf("edge: piece %d: %w", i, err)
		}
		if err := d.o.Store.WritePiece(i, b); err != nil {
			d.stored(err)
			return err
		}
		d.o.Announce(i)
		d.post(func(time.Duration) {
			d.due = true
			d.arrived(i, d.plan.EdgePiece(e.req, i), &d.stats.FromEdge)
		})
	}
	if e.end.Load() == int64(end) {
		_, _ = io.CopyN(io.Discard, body, 1) // reach the end, so that the connection is kept
	}
	return nil
}

// readPiece fills b and reports progress.
func (d *Download) readPiece(body io.Reader, req int, b []byte) error {
	const report = 64 << 10
	for len(b) > 0 {
		n, err := io.ReadFull(body, b[:min(len(b), report)])
		if n > 0 {
			d.post(func(now time.Duration) {
				d.progress = now
				d.plan.EdgeBytes(now, req, int64(n))
			})
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// ended tells the plan, and decides whether the error ends the download.
func (d *Download) ended(now time.Duration, req int, err error, trimmed bool) {
	if err == nil || trimmed {
		d.plan.EdgeEnds(now, req, true, 0)
		return
	}
	var retry time.Duration
	var wait interface{ RetryAfter() time.Duration }
	if errors.As(err, &wait) {
		retry = wait.RetryAfter()
	}
	d.plan.EdgeEnds(now, req, false, retry)
	d.lastErr = err
	d.o.Logger.Debug("edge request ended early", "error", err)
	var lasting interface{ Permanent() bool }
	switch {
	case errors.Is(err, d.o.Corrupt):
		if d.corrupt++; d.corrupt >= maxCorruptEdge {
			d.err = ErrCorruptEdge
		}
	case errors.As(err, &lasting) && lasting.Permanent():
		d.err = err
	}
}
