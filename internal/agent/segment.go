package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tandem-cdn/tandem/internal/stream"
)

// Segment is a segment, or another file of a stream, that is read while it arrives: an
// [io.ReadSeekCloser] for one goroutine at a time.
type Segment struct {
	s    *Stream
	ctx  context.Context
	url  *url.URL
	size int64
	off  int64
	read int64 // bytes

	r *stream.Reader // nil: an ordinary GET

	resp *http.Response
	body io.ReadCloser
	kept []byte    // of an ordinary GET from its beginning on, to be shared
	from time.Time // when that began to come
}

// maxKept bounds what is kept of an ordinary GET, in bytes.
const maxKept = 16 << 20

// Size is the size in bytes, −1 when the server does not tell.
func (s *Segment) Size() int64 { return s.size }

// Shared reports whether it is in a track: its bytes are verified then, and may come from
// peers.
func (s *Segment) Shared() bool { return s.r != nil }

// Header is the header of the server's response; nil for what is in a track.
func (s *Segment) Header() http.Header {
	if s.resp == nil {
		return nil
	}
	return s.resp.Header
}

// plain asks the server for what is from off on.
func (s *Segment) plain(off int64) error {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrURL, err)
	}
	if off > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	client := *s.s.web
	if s.s.guarded { // where a redirect may lead is its caller's affair
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", s.url.Redacted(), classify(err))
	}
	first, size, part := contentRange(resp.Header.Get("Content-Range"))
	switch {
	case off > 0 && resp.StatusCode == http.StatusPartialContent && part && first == off:
		s.size = size
	case off == 0 && isWhole(resp):
		s.size = resp.ContentLength
	default:
		resp.Body.Close()
		if isWhole(resp) || resp.StatusCode == http.StatusPartialContent {
			return fmt.Errorf("%s: %w: it has no ranges", s.url.Redacted(), ErrServer)
		}
		return fmt.Errorf("%s: %w", s.url.Redacted(), newStatusError(resp))
	}
	s.closeBody()
	s.resp, s.body = resp, newBody(s.ctx, resp.Body, s.s.e.down.flow(Request{}, time.Now()))
	s.kept, s.from = nil, time.Now()
	if off == 0 && s.size > 0 && s.size <= maxKept {
		s.kept = make([]byte, 0, s.size)
	}
	return nil
}

func (s *Segment) closeBody() {
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
}

// Read implements io.Reader.
func (s *Segment) Read(p []byte) (int, error) {
	if s.r != nil {
		n, err := s.r.Read(p)
		s.read += int64(n)
		s.off += int64(n)
		if err == nil || errors.Is(err, io.EOF) || s.ctx.Err() != nil {
			return n, err
		}
		if s.read > 0 { // the rest may be of another version
			return n, fmt.Errorf("%s: %w: %w", s.url.Redacted(), ErrNetwork, err)
		}
		s.s.e.log.Info("segment from the server alone", "url", s.url.Redacted(), "reason", err)
		_ = s.r.Close() // which cannot fail
		s.r = nil
	}
	if s.body == nil {
		if err := s.plain(s.off); err != nil {
			return 0, err
		}
	}
	n, err := s.body.Read(p)
	s.off += int64(n)
	s.read += int64(n)
	if s.kept != nil {
		s.kept = append(s.kept, p[:n]...)
		if int64(len(s.kept)) == s.size {
			s.s.came(s.url, s.kept, s.from)
			s.kept = nil
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", s.url.Redacted(), classify(err))
	}
	return n, err
}

// Seek implements io.Seeker.
func (s *Segment) Seek(offset int64, whence int) (int64, error) {
	if s.r != nil {
		off, err := s.r.Seek(offset, whence)
		s.off = off
		return off, err
	}
	switch whence {
	case io.SeekCurrent:
		offset += s.off
	case io.SeekEnd:
		if s.size < 0 {
			return s.off, fmt.Errorf("%s: %w: the server does not tell the size", s.url.Redacted(), ErrServer)
		}
		offset += s.size
	}
	if offset < 0 {
		return s.off, fmt.Errorf("%s: seek to byte %d", s.url.Redacted(), offset)
	}
	if offset != s.off {
		s.closeBody() // the next Read asks anew
		s.kept, s.off = nil, offset
	}
	return offset, nil
}

// Close has nothing more be fetched for it alone.
func (s *Segment) Close() error {
	s.closeBody()
	if s.r != nil {
		return s.r.Close()
	}
	return nil
}

// paceStep is how much is shown at once, in time.
const paceStep = 20 * time.Millisecond

// Paced is what remains of the segment, no faster than a player should be shown. What had to
// be waited for has shown it how slow the network is, and is made good: it must not come
// later still.
func (s *Segment) Paced() io.Reader { return &paced{s: s, next: time.Now()} }

// paced is a Segment that is not read faster than a player should see.
type paced struct {
	s    *Segment
	next time.Time // when more may be read
}

func (p *paced) Read(b []byte) (int, error) {
	if p.s.r == nil {
		return p.s.Read(b)
	}
	rate := p.s.r.Shown()
	if rate == 0 {
		return p.s.Read(b)
	}
	if wait := time.Until(p.next); wait > 0 {
		select {
		case <-time.After(wait):
		case <-p.s.ctx.Done():
			return 0, p.s.ctx.Err()
		}
	}
	n, err := p.s.Read(b[:min(len(b), max(4<<10, int(rate*paceStep.Seconds())))])
	p.next = p.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	return n, err
}
