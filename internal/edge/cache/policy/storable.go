package policy

import "net/http"

// Reasons why a response is not stored, for Cache-Status details.
const (
	NoReason        = ""
	ReasonMethod    = "method"
	ReasonStatus    = "status"
	ReasonNoStore   = "no-store"
	ReasonPrivate   = "private"
	ReasonAuth      = "authorization"
	ReasonCookie    = "set-cookie"
	ReasonVary      = "vary"
	ReasonNoUse     = "never-reusable"
	ReasonHeaderBig = "header-too-large"
)

// MaxHeaderBytes bounds the header of a stored response.
const MaxHeaderBytes = 64 << 10

// Refusal says why the response to a request must not be stored by a shared
// cache (RFC 9111 §3); [NoReason] means it may be.
func Refusal(method string, req http.Header, r Response) string {
	ctl, _ := ControlOf(r.Header)
	reqCtl := ParseDirectives(req.Values("Cache-Control"))
	_, star := VaryNames(r.Header)
	switch {
	case method != http.MethodGet:
		return ReasonMethod
	case r.Status < 200 || r.Status == http.StatusPartialContent || r.Status == http.StatusNotModified:
		return ReasonStatus
	case ctl.MustUnderstand && !understood(r.Status):
		return ReasonStatus
	case ctl.NoStore && !ctl.MustUnderstand, reqCtl.NoStore:
		return ReasonNoStore
	case ctl.Private:
		return ReasonPrivate
	case req.Get("Authorization") != "" && !ctl.Public && !ctl.MustRevalidate && ctl.SMaxAge == None:
		return ReasonAuth
	case r.Header.Get("Set-Cookie") != "" && !ctl.Public:
		return ReasonCookie
	case star:
		return ReasonVary
	case headerSize(r.Header) > MaxHeaderBytes:
		return ReasonHeaderBig
	}
	return useless(r, ctl)
}

// useless says whether storing could ever help: the response is fresh for a
// time, can be validated, or may be used stale.
func useless(r Response, ctl Directives) string {
	f := FactsOf(r)
	if !f.Explicit && !ctl.Public && !heuristicStatus(r.Status) {
		return ReasonStatus
	}
	if f.TTL(r.Received) > 0 || ctl.StaleIfError > 0 || ctl.StaleWhileRevalidate > 0 {
		return NoReason
	}
	if r.Header.Get("ETag") != "" || r.Header.Get("Last-Modified") != "" {
		return NoReason
	}
	return ReasonNoUse
}

// understood lists the statuses whose caching rules this cache implements.
func understood(status int) bool {
	switch status {
	case 302, 303, 307, 400, 403:
		return true
	}
	return heuristicStatus(status)
}

func headerSize(h http.Header) int {
	n := 0
	for k, vs := range h {
		for _, v := range vs {
			n += len(k) + len(v) + 4
		}
	}
	return n
}
