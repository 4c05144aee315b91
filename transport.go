package tandem

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tandem-cdn/tandem/internal/agent"
)

// Transport returns a round tripper for programs that speak HTTP already: GET
// requests go through the client, everything else through the servers' ordinary
// connections. Responses carry the header of the server's own response; errors of
// the server and redirects are responses.
func (c *Client) Transport() http.RoundTripper { return transport{c} }

type transport struct{ c *Client }

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	first, last, ok := span(req.Header.Get("Range"))
	if req.Method != http.MethodGet || !ok || conditional(req.Header) || req.Host != "" && req.Host != req.URL.Host {
		return t.ordinary(req)
	}
	if req.Body != nil {
		_ = req.Body.Close() // a GET's body has no meaning
	}
	ctx, cancel := context.WithCancel(req.Context())
	header := req.Header.Clone()
	header.Del("Range")
	o, err := t.c.open(ctx, agent.Request{URL: req.URL.String(), Header: header, NoRedirects: true})
	if err != nil {
		cancel()
		return t.failed(req, err)
	}
	if o.size >= 0 && first > 0 && first >= o.size { // the server says best what is wrong
		cancel()
		if err := o.Close(); err != nil {
			return nil, err
		}
		return t.ordinary(req)
	}
	return respond(req, o, cancel, first, last), nil
}

// failed lets the server speak for itself: an error status is a response, not an
// error, to a round tripper.
func (t transport) failed(req *http.Request, err error) (*http.Response, error) {
	if isStatus(err) {
		return t.ordinary(req)
	}
	return nil, err
}

func (t transport) ordinary(req *http.Request) (*http.Response, error) {
	if rt := t.c.engine.HTTP().Transport; rt != nil {
		return rt.RoundTrip(req)
	}
	return http.DefaultTransport.RoundTrip(req)
}

func conditional(h http.Header) bool {
	for _, k := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		if h.Get(k) != "" {
			return true
		}
	}
	return false
}

// span reads a Range header of one range; without one it is the whole. last is
// −1 for the end. Other forms, which the server can answer better, are not ok.
func span(h string) (first, last int64, ok bool) {
	if h == "" {
		return 0, -1, true
	}
	r, found := strings.CutPrefix(h, "bytes=")
	from, to, found2 := strings.Cut(r, "-")
	if !found || !found2 || from == "" || strings.Contains(r, ",") {
		return 0, 0, false
	}
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 {
		return 0, 0, false
	}
	if to == "" {
		return first, -1, true
	}
	last, err = strconv.ParseInt(to, 10, 64)
	return first, last, err == nil && last >= first
}

func respond(req *http.Request, o *Object, cancel context.CancelFunc, first, last int64) *http.Response {
	resp := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: o.d.Header().Clone(), Request: req, ContentLength: o.size,
	}
	n := o.size
	if req.Header.Get("Range") != "" && o.size > 0 {
		if last < 0 || last >= o.size {
			last = o.size - 1
		}
		n = last - first + 1
		resp.Status, resp.StatusCode = "206 Partial Content", http.StatusPartialContent
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, o.size))
		o.off = first
	}
	body := io.Reader(o)
	if n >= 0 {
		resp.ContentLength = n
		resp.Header.Set("Content-Length", strconv.FormatInt(n, 10))
		body = io.LimitReader(o, n)
	}
	resp.Body = &responseBody{Reader: body, o: o, cancel: cancel}
	return resp
}

type responseBody struct {
	io.Reader
	o      *Object
	cancel context.CancelFunc
}

// Close implements [io.Closer].
func (b *responseBody) Close() error {
	b.cancel()
	return b.o.Close()
}
