package policy

import (
	"net/http"
	"strings"
)

// hopByHop are the fields of one connection only (RFC 9110 §7.6.1 and the
// authentication of proxies, RFC 9110 §11.7).
func hopByHop() []string {
	return []string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Proxy-Authenticate",
		"Proxy-Authorization", "Proxy-Authentication-Info",
	}
}

// StripHopByHop removes from h what must not be forwarded: the fixed fields and
// those that Connection names.
func StripHopByHop(h http.Header) {
	for _, line := range h.Values("Connection") {
		for name := range listMembers(line) {
			h.Del(name)
		}
	}
	for _, name := range hopByHop() {
		h.Del(name)
	}
}

// ForStorage returns the header of a response as it is stored: without what
// belongs to one connection, and without the fields that a qualified no-cache or
// private holds back (RFC 9111 §3.1 and §5.2.2).
func ForStorage(h http.Header) http.Header {
	s := h.Clone()
	StripHopByHop(s)
	ctl, _ := ControlOf(h)
	for _, name := range ctl.HeldBack {
		s.Del(name)
	}
	return s
}

// ForUpstream returns the header of a request for a whole representation that
// this cache makes in place of a client's: without the fields of one connection,
// without ranges and conditions, which are answered here.
func ForUpstream(h http.Header) http.Header {
	s := h.Clone()
	StripHopByHop(s)
	for _, name := range []string{
		"Range", "If-Range", "If-Match", "If-None-Match",
		"If-Modified-Since", "If-Unmodified-Since", "Expect", "Content-Length",
	} {
		s.Del(name)
	}
	return s
}

// Freshened returns a stored header updated by that of a 304 or a HEAD (RFC 9111
// §3.2): every field but those that describe the stored bytes.
func Freshened(stored, update http.Header) http.Header {
	h := stored.Clone()
	h.Del("Age") // it is that of the update, or none
	for name, values := range ForStorage(update) {
		if !describesBytes(name) {
			h[name] = values
		}
	}
	return h
}

func describesBytes(name string) bool {
	switch name {
	case "Content-Length", "Content-Encoding", "Content-Range", "Etag", "Transfer-Encoding":
		return true
	}
	return false
}

// SameOrigin says whether a Location or Content-Location points to the host of
// the request, so that an unsafe method invalidates it (RFC 9111 §4.4).
func SameOrigin(host, locationHost string) bool {
	return locationHost == "" || strings.EqualFold(host, locationHost)
}
