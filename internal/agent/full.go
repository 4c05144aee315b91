package agent

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/tandem-cdn/tandem/internal/store"
)

// defaultPatience is how long a download waits for a server that is full.
const defaultPatience = 10 * time.Minute

// fullFor is how long a server that answered so wants to be left alone, 0 if it
// is not for being full that it failed.
func fullFor(err error) time.Duration {
	var s *statusError
	if errors.As(err, &s) && (s.status == http.StatusServiceUnavailable || s.status == http.StatusTooManyRequests) {
		return s.retry
	}
	return 0
}

func (d *Download) patience() time.Duration {
	if p := d.e.cfg.Patience; p > 0 {
		return p
	}
	return defaultPatience
}

// brokeOff reports whether a server that was there let go of the connection: full
// ones do that too.
func brokeOff(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op != "dial" && !op.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// patiently asks until a server that says when to come back is no longer full, or
// patience has run out, and a few times when it breaks off. Before each wait,
// meanwhile may find another way, by returning true.
func (d *Download) patiently(ctx context.Context, ask func() (*http.Response, error), meanwhile func() bool) (*http.Response, error) {
	began := time.Now()
	for breaks := 0; ; {
		resp, err := ask()
		wait, why := fullFor(err), "the server is full"
		if brokeOff(err) && breaks < plainTries {
			wait, why = 250*time.Millisecond<<breaks, "the server broke off"
			breaks++
		}
		if wait == 0 || time.Since(began)+wait > d.patience() || meanwhile() {
			return resp, err
		}
		wait += rand.N(wait / 2) // others were told the same
		d.note(why + ", asking again in " + wait.Round(time.Second/10).String())
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
		d.note("")
	}
}

// note is a line for whoever watches the download; empty when there is nothing to
// say.
func (d *Download) note(line string) {
	if line != "" {
		d.e.log.Info("waiting", "url", d.url.Redacted(), "reason", line)
	}
	d.mu.Lock()
	d.notice = line
	d.mu.Unlock()
}

// without is a download's beginning without a byte from its server, which is full:
// what HEAD and the manifest say is enough for peers and mirrors. It reports
// whether there was such a way, and then how the download went.
func (d *Download) without(ctx context.Context) (began bool, err error) {
	if d.e.cfg.NoP2P {
		return false, nil
	}
	resp, err := d.head(ctx) //nolint:bodyclose // head closes it
	if err != nil {
		return false, nil //nolint:nilerr // then there is no such way
	}
	b := d.bootstrap(ctx, resp)
	if b.ordinary() {
		return false, nil
	}
	src := d.sourceOf(resp)
	plain, err := store.CreatePlain(d.target(), src.meta(d.req.URL))
	if err != nil {
		return true, err
	}
	d.mu.Lock()
	d.plain, d.src = plain, src
	d.mu.Unlock()
	return true, d.promote(ctx, b, nil)
}

func (d *Download) head(ctx context.Context) (*http.Response, error) {
	req, err := d.newSource().request(ctx, http.MethodHead)
	if err != nil {
		return nil, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	resp.Body.Close()
	if !isWhole(resp) {
		return nil, newStatusError(resp)
	}
	return resp, nil
}
