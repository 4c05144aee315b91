package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	dialWithin   = 10 * time.Second
	headerWithin = 30 * time.Second
	// silenceWithin is how long the body of a response may be silent.
	silenceWithin = 20 * time.Second
	maxRedirects  = 10
)

// newHTTPClient returns a client for bulk data: HTTP/1.1, which costs about half
// the CPU of HTTP/2 per byte, and no compression, since pieces are of the bytes
// as they are.
func newHTTPClient(cfg Config, d *dialer) (*http.Client, error) {
	roots, err := rootsWith(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           d.DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   dialWithin,
			ResponseHeaderTimeout: headerWithin,
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       60 * time.Second,
			ReadBufferSize:        64 << 10,
			DisableCompression:    true,
			Protocols:             &protocols,
		},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			return nil
		},
	}, nil
}

func rootsWith(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates to trust: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates to trust: no PEM certificate in %s", file)
	}
	return roots, nil
}

// parseURL accepts absolute http and https URLs.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%.200q: %w", s, ErrURL)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%.200q: %w: it must begin with http:// or https:// and name a host", s, ErrURL)
	}
	return u, nil
}

// classify gives an error of the HTTP client its cause.
func classify(err error) error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &host), errors.As(err, &verify), errors.As(err, &record):
		return fmt.Errorf("%w: %w", ErrTLS, err)
	default:
		return fmt.Errorf("%w: %w", ErrNetwork, err)
	}
}

// isWhole reports whether a response has the whole object: 203 is 200 from a
// proxy that says it has been at it (RFC 9110 §15.3.4).
func isWhole(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNonAuthoritativeInfo
}

// statusError is an answer of a server that is not the object.
type statusError struct {
	status int
	url    string
	cause  error
	retry  time.Duration
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%v: %d %s", e.cause, e.status, http.StatusText(e.status))
}

func (e *statusError) Unwrap() error { return e.cause }

// Permanent reports whether asking again will not help.
func (e *statusError) Permanent() bool {
	return e.status >= 400 && e.status < 500 && e.status != http.StatusRequestTimeout && e.status != http.StatusTooManyRequests
}

// RetryAfter is how long the server asks to wait; one that is full and does not
// say is asked again after a second.
func (e *statusError) RetryAfter() time.Duration {
	if e.retry == 0 && (e.status == http.StatusServiceUnavailable || e.status == http.StatusTooManyRequests) {
		return time.Second
	}
	return e.retry
}

func newStatusError(resp *http.Response) *statusError {
	e := &statusError{status: resp.StatusCode, url: resp.Request.URL.Redacted(), cause: ErrServer}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		e.cause = ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		e.cause = ErrDenied
	case http.StatusPreconditionFailed:
		e.cause = ErrChanged
	}
	e.retry = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

// retryAfter reads the field of that name (RFC 9110 §10.2.3): seconds or a date.
func retryAfter(v string) time.Duration {
	const most = time.Hour
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return min(time.Duration(min(s, 3600))*time.Second, most)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), most)
	}
	return 0
}

// body is the body of a response that is limited in rate and closed when it has
// been silent for too long.
type body struct {
	io.ReadCloser
	length int64 // of a part, where it is known
	ctx    context.Context
	down   flow          // zero: what is read is not object data
	within time.Duration // how long it may be silent
	timer  *time.Timer
}

func newBody(ctx context.Context, rc io.ReadCloser, down flow) *body {
	return &body{ReadCloser: rc, ctx: ctx, down: down, within: silenceWithin, timer: time.AfterFunc(silenceWithin, func() { rc.Close() })}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	p = p[:b.down.Step(len(p), false)]
	b.timer.Reset(b.within)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if b.down.downlink != nil && n > 0 {
		if werr := b.down.Wait(b.ctx, n, false); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.timer.Stop()
	return b.ReadCloser.Close()
}

// contentRange reads the first byte and the size of a Content-Range header
// (RFC 9110 §14.4).
func contentRange(h string) (first, size int64, ok bool) {
	rest, found := strings.CutPrefix(h, "bytes ")
	if !found {
		return 0, 0, false
	}
	span, total, found := strings.Cut(rest, "/")
	from, _, found2 := strings.Cut(span, "-")
	if !found || !found2 {
		return 0, 0, false
	}
	first, err1 := strconv.ParseInt(from, 10, 64)
	size, err2 := strconv.ParseInt(total, 10, 64)
	return first, size, err1 == nil && err2 == nil && first >= 0 && size >= 0
}
