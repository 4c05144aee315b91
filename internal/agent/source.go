package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// source is one version of an object at an edge; it implements fetch.Edge.
type source struct {
	client   *http.Client
	url      string
	header   http.Header
	etag     string      // strong, or empty
	mod      string      // Last-Modified
	answered http.Header // of the response that began the download
	at       *url.URL    // where that came from, after redirects
	remote   netip.Addr  // and the address, if it is known
	size     int64
	down     flow
	name     string         // for people
	digest   *manifest.Hash // what a mirror's Repr-Digest must say, if it has one
	silence  time.Duration  // how long a body may be silent; 0: as long as any
}

// String names the server.
func (s *source) String() string { return s.name }

// Refresh makes the next request use a new connection, where none is in use.
func (s *source) Refresh() { s.client.CloseIdleConnections() }

// validator is what pins the version in If-Range (RFC 9110 §13.1.5).
func (s *source) validator() string {
	if s.etag != "" && !strings.HasPrefix(s.etag, "W/") {
		return s.etag
	}
	return s.mod
}

func (s *source) request(ctx context.Context, method string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	for k, v := range s.header {
		req.Header[k] = v
	}
	return req, nil
}

// Fetch returns n bytes of the object from off on, of this version or none.
func (s *source) Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	b, err := s.fetch(ctx, off, n)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (s *source) fetch(ctx context.Context, off, n int64) (*body, error) {
	req, err := s.request(ctx, http.MethodGet)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	if v := s.validator(); v != "" {
		req.Header.Set("If-Range", v)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	if err := s.accept(resp, off); err != nil {
		resp.Body.Close()
		return nil, err
	}
	b := newBody(ctx, resp.Body, s.down)
	if s.silence > 0 {
		b.within = s.silence
	}
	if resp.StatusCode == http.StatusPartialContent {
		b.length = resp.ContentLength
	}
	return b, nil
}

// accept checks that a response is the range asked for, of this version.
func (s *source) accept(resp *http.Response, off int64) error {
	if s.digest != nil && checkDigest(resp.Header, *s.digest) != nil {
		return changed("the mirror has other bytes")
	}
	same := s.isVersion(resp.Header)
	if s.etag == "" && resp.StatusCode == http.StatusPartialContent && resp.Header.Get("Last-Modified") == "" {
		same = true // it need not be repeated where If-Range was met (RFC 9110 §15.3.7)
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		first, size, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || first != off || size != s.size || !same {
			return changed(fmt.Sprintf("the server sent %q where byte %d of %d was asked", resp.Header.Get("Content-Range"), off, s.size))
		}
		return nil
	case isWhole(resp):
		if !same || resp.ContentLength != s.size {
			return changed("the server has another version now")
		}
		if off > 0 { // a server without ranges: skip what is there
			if _, err := io.CopyN(io.Discard, newBody(resp.Request.Context(), resp.Body, s.down), off); err != nil {
				return classify(err)
			}
		}
		return nil
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return changed("the object is shorter now")
	}
	return newStatusError(resp)
}

// isVersion reports whether h is of this version, as far as it was told how to
// tell versions apart.
func (s *source) isVersion(h http.Header) bool {
	if s.etag != "" {
		return h.Get("ETag") == s.etag
	}
	return s.mod == "" || h.Get("Last-Modified") == s.mod
}

// follows reports whether s, the answer to a request for the bytes from off on,
// goes on with the version before. Servers that do not know If-Range send the
// rest of whatever they have.
func (s *source) follows(before *source, off int64) bool {
	first, size, ok := contentRange(s.answered.Get("Content-Range"))
	return ok && first == off && size > off && before.isVersion(s.answered)
}

// changedError says that the object is another version now.
type changedError struct{ text string }

func changed(text string) error { return &changedError{text} }

func (e *changedError) Error() string { return ErrChanged.Error() + ": " + e.text }

func (e *changedError) Unwrap() error { return ErrChanged }

// Permanent: this version does not come back.
func (e *changedError) Permanent() bool { return true }
