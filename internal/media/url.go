package media

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ErrScheme says that a reference is no http or https URL: a data URL, say, or
// the URI of a key system. Such a thing is no media, and is not to be rewritten.
var ErrScheme = errors.New("not an http or https URL")

// CheckBase says whether a playlist can have this URL.
func CheckBase(base *url.URL) error {
	if base == nil || !web(base.Scheme) || base.Host == "" {
		return fmt.Errorf("URL of the playlist: %w", ErrScheme)
	}
	return nil
}

// Resolve makes a reference absolute (RFC 3986 §5), as players do: a colon in
// the first segment of a relative path is taken for part of it where what
// precedes it is no scheme. Errors do not repeat the reference, which may be
// signed.
func Resolve(base *url.URL, ref string) (*url.URL, error) {
	scheme := schemeOf(ref)
	if scheme != "" && !web(scheme) {
		return nil, ErrScheme
	}
	if ref == "" {
		return nil, errors.New("empty URI")
	}
	if len(ref) > MaxURL {
		return nil, fmt.Errorf("URI of %d bytes, the limit is %d", len(ref), MaxURL)
	}
	u, err := url.Parse(ref)
	if err != nil && scheme == "" {
		u, err = url.Parse("./" + ref)
	}
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("URI: %w", err)
	}
	abs := base.ResolveReference(u)
	if abs.Opaque != "" || abs.Host == "" || !web(abs.Scheme) {
		return nil, ErrScheme
	}
	abs.RawQuery = quotable.Replace(abs.RawQuery)
	if n := len(abs.String()); n > MaxURL {
		return nil, fmt.Errorf("URL of %d bytes, the limit is %d", n, MaxURL)
	}
	return abs, nil
}

// quotable keeps of a query what cannot stand in an attribute or would be read
// as a variable, or as an identifier of a template, from being seen as such.
var quotable = strings.NewReplacer(`"`, "%22", " ", "%20", "{", "%7B", "<", "%3C", ">", "%3E")

// Location is the URL as a resource has it: without the fragment, which is the
// player's own affair.
func Location(u *url.URL) string {
	if u.Fragment == "" && u.RawFragment == "" {
		return u.String()
	}
	v := *u
	v.Fragment, v.RawFragment = "", ""
	return v.String()
}

func web(scheme string) bool {
	return strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
}

// schemeOf is the scheme that a reference begins with, if it does (RFC 3986 §3.1).
func schemeOf(ref string) string {
	for i := range len(ref) {
		switch c := ref[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z':
		case i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'):
		case i > 0 && c == ':':
			return ref[:i]
		default:
			return ""
		}
	}
	return ""
}
