package gateway

import (
	"net/http"
	"testing"
	"time"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestStorable(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header http.Header
		own    bool
		want   bool
	}{
		{"etag", 200, header("ETag", `"1"`), false, true},
		{"date", 200, header("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT"), false, true},
		{"weak etag", 200, header("ETag", `W/"1"`), false, false},
		{"nothing to tell versions by", 200, header(), false, false},
		{"part", 206, header("ETag", `"1"`), false, false},
		{"error", 404, header("ETag", `"1"`), false, false},
		{"no-store", 200, header("ETag", `"1"`, "Cache-Control", "max-age=5, No-Store"), false, false},
		{"private", 200, header("ETag", `"1"`, "Cache-Control", `private="x"`), false, false},
		{"cookie", 200, header("ETag", `"1"`, "Set-Cookie", "a=b"), false, false},
		{"compressed", 200, header("ETag", `"1"`, "Content-Encoding", "gzip"), false, false},
		{"vary on what is not passed on", 200, header("ETag", `"1"`, "Vary", "Accept-Encoding, Origin"), false, true},
		{"vary", 200, header("ETag", `"1"`, "Vary", "Accept-Encoding", "Vary", "User-Agent"), false, false},
		{"vary on all", 200, header("ETag", `"1"`, "Vary", "*"), false, false},
		{"credentials", 200, header("ETag", `"1"`, "Cache-Control", "max-age=60"), true, false},
		{"credentials, public", 200, header("ETag", `"1"`, "Cache-Control", "public, max-age=60"), true, true},
		{"credentials, for shared caches", 200, header("ETag", `"1"`, "Cache-Control", "s-maxage=60"), true, true},
	} {
		if got := storable(&http.Response{StatusCode: c.status, Header: c.header}, c.own); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFreshFor(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		header http.Header
		want   time.Duration
	}{
		{header(), 0},
		{header("Last-Modified", date(-1000*time.Hour)), 0}, // no guesses
		{header("Cache-Control", "max-age=60"), time.Minute},
		{header("Cache-Control", "max-age=60", "Age", "50"), 10 * time.Second},
		{header("Cache-Control", "max-age=60", "Age", "500"), 0},
		{header("Cache-Control", "max-age=60, s-maxage=5"), 5 * time.Second},
		{header("Cache-Control", "max-age=60, no-cache"), 0},
		{header("Cache-Control", "max-age=99999999999999999999"), 0},
		{header("Cache-Control", "max-age=999999999"), maxFresh * time.Second},
		{header("Cache-Control", "max-age=-5"), 0},
		{header("Cache-Control", "max-age=60", "Age", "-9"), time.Minute},
		{header("Expires", date(time.Hour), "Date", date(0)), time.Hour},
		{header("Expires", date(time.Hour)), time.Hour},
		{header("Expires", "0"), 0},
		{header("Expires", date(-time.Hour)), 0},
	} {
		if got := freshFor(c.header, now); got != c.want {
			t.Errorf("%v: %v, want %v", c.header, got, c.want)
		}
	}
}

// What a program says of itself goes out, what a browser adds does not, and what makes
// an answer somebody's own is seen.
func TestOutgoing(t *testing.T) {
	in := header("User-Agent", "mpv", "Range", "bytes=0-", "Authorization", "Basic x", "Cookie", "a=b", "Connection", "close, X-Hop", "X-Hop", "1",
		"Origin", page, "Referer", "http://127.0.0.1:1/", "Sec-Fetch-Site", "none", "Accept-Encoding", "gzip", tokenField, "t", "X-Forwarded-For", "10.0.0.1", "Icy-Metadata", "1", "X-Key", "k")
	program := outgoing(&http.Request{Header: in}, false)
	for k, want := range map[string]string{
		"User-Agent": "mpv", "Range": "bytes=0-", "Authorization": "Basic x", "Cookie": "a=b", "Icy-Metadata": "1", "X-Key": "k",
		"Connection": "", "X-Hop": "", "Origin": "", "Referer": "", "Sec-Fetch-Site": "", "Accept-Encoding": "", tokenField: "", "X-Forwarded-For": "",
	} {
		if got := program.Get(k); got != want {
			t.Errorf("%s: %q, want %q", k, got, want)
		}
	}
	if own := personal(program); len(own) != 3 || own.Get("Authorization") == "" || own.Get("Cookie") == "" || own.Get("X-Key") == "" {
		t.Errorf("personal: %v", own)
	}
	if got := outgoing(&http.Request{Header: in}, true).Get("Cookie"); got != "" {
		t.Errorf("cookies that other programs on this machine have set go to the publisher: %q", got)
	}
	if own := personal(outgoing(&http.Request{Header: header("User-Agent", "apt", "Range", "bytes=1-", "If-Range", `"1"`, "Cache-Control", "max-age=0", "Accept", "text/*")}, false)); own != nil {
		t.Errorf("ordinary requests are personal: %v", own)
	}
	out := http.Header{}
	pass(out, header("Content-Type", "text/html", "Set-Cookie", "a=b", "Link", "</m>; rel=x", "Access-Control-Allow-Origin", "*", "Strict-Transport-Security", "x", "Clear-Site-Data", "*",
		"Refresh", "0;url=http://x/", "Content-Security-Policy", "none", "ETag", `"1"`, "Connection", "X-Hop", "X-Hop", "1", "Service-Worker-Allowed", "/"))
	for k, want := range map[string]string{
		"Content-Type": "text/html", "ETag": `"1"`, "Set-Cookie": "", "Link": "", "Access-Control-Allow-Origin": "", "Strict-Transport-Security": "",
		"Clear-Site-Data": "", "Refresh": "", "Content-Security-Policy": "sandbox", "X-Hop": "", "Service-Worker-Allowed": "",
	} {
		if got := out.Get(k); got != want {
			t.Errorf("passed on: %s: %q, want %q", k, got, want)
		}
	}
}
