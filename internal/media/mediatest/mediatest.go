// Package mediatest has what the tests of the readers of playlists share.
package mediatest

import (
	"net/url"
	"testing"
)

// Gateway is a path on a gateway for URLs of cdn.example, and leaves all others.
func Gateway(u *url.URL) string {
	if u.Host != "cdn.example" {
		return ""
	}
	return "/gw/" + u.Host + u.RequestURI()
}

// Rewrites checks that a rewriter makes want of in for [Gateway], and nothing else of in
// where all URLs are left.
func Rewrites(t *testing.T, rewrite func([]byte, *url.URL, func(*url.URL) string) ([]byte, error), base *url.URL, in, want string) {
	t.Helper()
	got, err := rewrite([]byte(in), base, Gateway)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("rewritten to\n%s\nwant\n%s", got, want)
	}
	same, err := rewrite([]byte(in), base, func(*url.URL) string { return "" })
	if err != nil || string(same) != in {
		t.Errorf("rewritten to nothing else: %v, %q", err, same)
	}
}
