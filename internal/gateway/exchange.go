package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tandem-cdn/tandem/internal/agent"
)

// maxPlaylist bounds the playlists that are read, in bytes; longer ones are passed on
// as they are.
const maxPlaylist = 4 << 20

// exchange is one request and its answer.
type exchange struct {
	g *Gateway
	w http.ResponseWriter
	r *http.Request
	caller
	url    *url.URL
	header http.Header // that goes out
	own    http.Header // of it, what makes the answer the client's own
}

// serve answers from an object if there may be one, else passes the request on.
func (x *exchange) serve() {
	if !x.mayShare() {
		x.through()
		return
	}
	if x.segment() {
		return
	}
	o, resp, err := x.g.objects.get(x.r.Context(), x)
	switch {
	case err != nil:
		x.failed(err)
	case o != nil:
		defer o.release()
		o.serve(x)
	case resp == nil:
		x.through()
	case x.r.Method == http.MethodHead, len(x.header["Range"]) > 0, conditional(x.r.Header): // it was asked for otherwise
		resp.Body.Close()
		x.through()
	default:
		x.answer(resp)
	}
}

// mayShare reports whether a request may be for an object that is shared. Playlists
// are asked for as they change, and never are.
func (x *exchange) mayShare() bool {
	return !namesPlaylist(x.url)
}

// through passes the request on as it is, but for parts of playlists: players ask for
// the part that is the whole, and only the whole can be rewritten.
func (x *exchange) through() {
	if namesPlaylist(x.url) {
		x.wantWhole()
	}
	resp, err := x.ask(x.r.Context(), x.r.Method, x.header)
	if err != nil {
		x.failed(err)
		return
	}
	x.answer(resp)
}

// wantWhole has the request be for all of it; it reports whether it was for a part.
func (x *exchange) wantWhole() bool {
	part := x.header.Get("Range") != ""
	x.header.Del("Range")
	x.header.Del("If-Range")
	return part
}

// ask sends a request to the publisher.
func (x *exchange) ask(ctx context.Context, method string, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, x.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = h
	if h.Get("User-Agent") == "" {
		h["User-Agent"] = nil // not the library's
	}
	return x.g.http.Do(req)
}

// failed answers for a publisher that cannot be had.
func (x *exchange) failed(err error) {
	if x.r.Context().Err() != nil {
		return // nobody is there to hear it
	}
	// Errors of the HTTP client name the whole URL, in which there may be a secret.
	var web *url.Error
	if errors.As(err, &web) {
		err = web.Err
	}
	status := http.StatusBadGateway
	switch {
	case errors.Is(err, ErrRefused):
		status = http.StatusForbidden
	case errors.Is(err, agent.ErrMonthly):
		status = http.StatusServiceUnavailable
	}
	x.g.log.Info("gateway: not answered", "host", x.url.Host, "error", err)
	x.g.fail(x.w, &refusal{status, x.url.Host + ": " + err.Error()})
}

// answer passes a response on.
func (x *exchange) answer(resp *http.Response) {
	resp.Body = x.g.engine.Metered(x.r.Context(), resp.Body)
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusPartialContent && isPlaylist(x.url, resp.Header) && x.wantWhole() {
		x.through()
		return
	}
	h := x.w.Header()
	pass(h, resp.Header)
	x.allowPage(h)
	if location := resp.Header.Get("Location"); location != "" {
		if err := x.redirect(h, location); err != nil {
			x.g.fail(x.w, err)
			return
		}
	}
	var body io.Reader = resp.Body
	if resp.StatusCode == http.StatusOK && x.r.Method == http.MethodGet && resp.Header.Get("Content-Encoding") == "" && (isPlaylist(x.url, resp.Header) || maySteer(resp) && x.g.engine.Steers(x.url)) {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxPlaylist+1))
		if err != nil {
			x.failed(err)
			return
		}
		body = io.MultiReader(bytes.NewReader(text), resp.Body)
		if len(text) <= maxPlaylist {
			x.saw(resp.Header, text)
			body = bytes.NewReader(x.playlist(text, h))
		}
	}
	x.w.WriteHeader(resp.StatusCode)
	x.copy(body, resp.ContentLength < 0)
}

// saw learns from a playlist, an MPD or a steering manifest. What steers is told by what it
// is as well: anybody may name somebody else's playlist as the steering server.
func (x *exchange) saw(h http.Header, text []byte) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		x.g.engine.Steered(x.url, text)
		return
	}
	x.g.variables.saw(x.url, text)
	x.g.engine.Presented(x.url, text, x.g.check)
	x.g.streams.saw(x.url, h, text)
}

// copy sends the body, as it comes if it may go on for ever.
func (x *exchange) copy(body io.Reader, flush bool) {
	rc := http.NewResponseController(x.w)
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := x.w.Write(buf[:n]); werr != nil {
				return
			}
			x.g.traffic.passed.Add(int64(n))
			if flush {
				_ = rc.Flush() // the next write tells
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http has no other way to tell the client that this is not the whole
		}
	}
}

// redirect sets where the client is to go: to the gateway again, if that is a
// publisher's, too. Credentials are for the host that they were given for: to the
// client the gateway is one host and would get them again, so it is sent to the other
// host itself.
func (x *exchange) redirect(h http.Header, location string) error {
	to, err := x.url.Parse(location)
	if err != nil {
		return &refusal{http.StatusBadGateway, x.url.Host + " redirects to what is no URL"}
	}
	there := pathOf(to)
	if there == "" {
		return &refusal{http.StatusForbidden, fmt.Sprintf("%s redirects to %.100s, which the gateway does not take", x.url.Host, to.Redacted())}
	}
	clean, err := parseTarget(there)
	if err != nil {
		return &refusal{http.StatusForbidden, fmt.Sprintf("%s redirects to %.100s: %v", x.url.Host, to.Redacted(), err)}
	}
	if err := x.g.check(x.r.Context(), clean); err != nil {
		return &refusal{http.StatusForbidden, fmt.Sprintf("%s redirects elsewhere: %v", x.url.Host, err)}
	}
	x.g.engine.SteersElsewhere(x.url, clean)
	if x.own != nil && (clean.Host != x.url.Host || clean.Scheme != x.url.Scheme) {
		h.Set("Location", to.String())
		return nil
	}
	if to.Fragment != "" {
		there += "#" + to.EscapedFragment()
	}
	h.Set("Location", x.here()+there)
	return nil
}

// here is the gateway as the client knows it.
func (x *exchange) here() string { return "http://" + x.r.Host + x.prefix }

// playlist keeps the references of a playlist to publishers on the gateway: absolute
// ones, and such as begin with a slash, would lead away. One that cannot be read is
// passed on as it is.
func (x *exchange) playlist(text []byte, h http.Header) []byte {
	verdicts := map[string]bool{x.url.Scheme + "://" + x.url.Host: true}
	out, err := rewrite(x.url, text, x.g.variables.of(x.url), func(abs *url.URL) string {
		there := pathOf(abs)
		u, err := parseTarget(there)
		if err != nil {
			return ""
		}
		host := u.Scheme + "://" + u.Host
		ok, known := verdicts[host]
		if !known && len(verdicts) < maxHosts {
			ok = x.g.check(x.r.Context(), u) == nil
			verdicts[host] = ok
		}
		if !ok {
			return ""
		}
		return x.here() + there
	})
	if err != nil || bytes.Equal(out, text) {
		return text
	}
	// It is not what the server vouches for any more, byte for byte.
	for _, k := range []string{"Accept-Ranges", "Content-Md5", "Content-Digest", "Digest", "Repr-Digest"} {
		h.Del(k)
	}
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		h.Set("ETag", "W/"+tag)
	}
	h.Set("Content-Length", strconv.Itoa(len(out)))
	return out
}

// maxHosts is how many hosts of one playlist are looked at.
const maxHosts = 16
