package gateway

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// neutral are the request fields that do not make an answer somebody's own: what they
// say changes the form of the answer, or what is sent of it, at most. Whatever else
// there is, credentials above all, keeps the answer between client and server, unless
// the server says that it is for everybody (RFC 9111 §3.5).
var neutral = fields(
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection", "Dnt",
	"Icy-Metadata", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Keep-Alive",
	"Origin", "Pragma", "Priority", "Range", "Referer", "Te", tokenField, "Upgrade-Insecure-Requests", "User-Agent",
	"Want-Content-Digest", "Want-Digest", "Want-Repr-Digest",
)

// hops are fields between a client and the gateway alone (RFC 9110 §7.6.1), and what is
// of the gateway rather than of the publisher, such as the page that asks. Compression
// is left to nobody: pieces and playlists are of the bytes as they are.
var hops = fields(
	"Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Expect", "Forwarded", "Keep-Alive", "Origin",
	"Proxy-Authorization", "Proxy-Connection", "Referer", "Te", tokenField, "Trailer", "Transfer-Encoding", "Upgrade",
	"Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
)

// kept are the response fields that are not passed on. The gateway is one host to its
// clients, with all publishers on it: what one says of its host would hold for all, and
// its cookies would be sent to all.
var kept = fields(
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Alt-Svc", "Clear-Site-Data", "Connection", "Content-Location",
	"Content-Security-Policy", "Content-Security-Policy-Report-Only", "Cross-Origin-Resource-Policy", "Keep-Alive", "Link", "Nel",
	"Proxy-Authenticate", "Proxy-Connection", "Refresh", "Report-To", "Reporting-Endpoints", "Service-Worker-Allowed", "Set-Cookie",
	"Sourcemap", "Strict-Transport-Security", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Frame-Options",
)

func fields(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[http.CanonicalHeaderKey(n)] = true
	}
	return m
}

// protect makes what publishers send harmless in a browser: the gateway's origin is all
// publishers', so none of their pages may act in its name.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// outgoing is what is passed on of a request's header.
func outgoing(r *http.Request, page bool) http.Header {
	h := http.Header{}
	drop := named(r.Header)
	for k, v := range r.Header {
		if !hops[k] && !drop[k] && !strings.HasPrefix(k, "Sec-") && (!page || k != "Cookie") {
			h[k] = slices.Clone(v)
		}
	}
	return h
}

// named are the fields that Connection names.
func named(h http.Header) map[string]bool {
	m := map[string]bool{}
	for _, v := range h.Values("Connection") {
		for f := range strings.SplitSeq(v, ",") {
			m[http.CanonicalHeaderKey(strings.TrimSpace(f))] = true
		}
	}
	return m
}

// personal are the fields of a header that goes out which make the answer somebody's
// own; nil if there are none.
func personal(h http.Header) http.Header {
	var own http.Header
	for k, v := range h {
		if !neutral[k] {
			if own == nil {
				own = http.Header{}
			}
			own[k] = v
		}
	}
	return own
}

// pass copies what is passed on of a response's header.
func pass(to, from http.Header) {
	drop := named(from)
	for k, v := range from {
		if !kept[k] && !drop[k] {
			to[k] = slices.Clone(v)
		}
	}
	if _, ok := from["Content-Type"]; !ok {
		to["Content-Type"] = nil // or it would be guessed
	}
	protect(to)
}

// directives are those of Cache-Control, in lower case, with their values.
func directives(h http.Header) map[string]string {
	m := map[string]string{}
	for _, field := range h.Values("Cache-Control") {
		for d := range strings.SplitSeq(field, ",") {
			k, v, _ := strings.Cut(strings.TrimSpace(d), "=")
			m[strings.ToLower(k)] = strings.Trim(v, `"`)
		}
	}
	return m
}

// has reports whether one of the directives is there.
func has(d map[string]string, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { _, ok := d[n]; return ok })
}

// storable reports whether the whole answer to a GET may be kept and given to others.
func storable(resp *http.Response, own bool) bool {
	d := directives(resp.Header)
	switch {
	case resp.StatusCode != http.StatusOK, resp.Header.Get("Content-Encoding") != "", resp.Header.Get("Set-Cookie") != "":
		return false
	case has(d, "no-store", "private"), own && !has(d, "public", "s-maxage"):
		return false
	case resp.Header.Get("Last-Modified") == "" && !strings.HasPrefix(resp.Header.Get("ETag"), `"`):
		return false // versions could not be told apart
	}
	for _, field := range resp.Header.Values("Vary") {
		for name := range strings.SplitSeq(field, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "" && name != "Accept-Encoding" && name != "Origin" {
				return false
			}
		}
	}
	return true
}

// freshFor is how long an answer may be given without asking again (RFC 9111 §4.2.1).
// Without a word of the server it is not at all: guesses would mix versions of files
// that belong together, such as the lists of a package repository.
func freshFor(h http.Header, now time.Time) time.Duration {
	d := directives(h)
	if has(d, "no-cache") || h.Get("Pragma") == "no-cache" {
		return 0
	}
	age, _ := strconv.Atoi(h.Get("Age"))
	for _, name := range []string{"s-maxage", "max-age"} {
		if v, ok := d[name]; ok {
			s, err := strconv.Atoi(v)
			if err != nil {
				return 0
			}
			return time.Duration(max(min(s, maxFresh)-max(age, 0), 0)) * time.Second
		}
	}
	expires, err := http.ParseTime(h.Get("Expires"))
	if err != nil {
		return 0
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		date = now
	}
	return min(max(expires.Sub(date)-time.Duration(max(min(age, maxFresh), 0))*time.Second, 0), maxFresh*time.Second)
}

// maxFresh bounds freshFor, in seconds: a year.
const maxFresh = 365 * 24 * 3600

// asksAnew reports whether a client wants the server to be asked (RFC 9111 §5.2.1).
func asksAnew(h http.Header) bool {
	return has(directives(h), "no-cache", "no-store", "max-age") || h.Get("Pragma") == "no-cache"
}

// conditional reports whether a request is for what the client has not got yet.
func conditional(h http.Header) bool {
	for _, k := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if h.Get(k) != "" {
			return true
		}
	}
	return false
}

// isPlaylist reports whether an answer is an HLS playlist or a DASH MPD.
func isPlaylist(u *url.URL, h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl", "application/dash+xml":
		return true
	}
	return namesPlaylist(u)
}

// maySteer reports whether an answer may be a steering manifest. Anybody may name somebody
// else's URL as that of a steering server, and what goes on for long is not to be held up.
func maySteer(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.ContentLength <= maxPlaylist && (kind == "" || kind == "text/plain" || kind == "application/octet-stream" ||
		kind == "application/vnd.apple.steering-list" || kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

// namesPlaylist reports whether a URL looks like a playlist's, or a steering manifest's.
func namesPlaylist(u *url.URL) bool {
	path := strings.ToLower(u.Path)
	return strings.HasSuffix(path, ".m3u8") || strings.HasSuffix(path, ".m3u") || strings.HasSuffix(path, ".mpd") || strings.Contains(u.RawQuery, "_HLS_") || strings.Contains(u.RawQuery, "_DASH_")
}
