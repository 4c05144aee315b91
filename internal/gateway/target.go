package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxTarget bounds what is asked for, in bytes: what servers commonly take.
const maxTarget = 8 << 10

// errForm says how URLs of the gateway look.
var errForm = errors.New("want /https/HOST[:PORT]/PATH or /http/HOST[:PORT]/PATH")

// parseTarget reads the URL that is asked for off a request target (RFC 9112 §3.2.1):
// "/https/cdn.example/a?b". The path is taken as it is, so that what a server has
// signed or escaped in its own way arrives unchanged.
func parseTarget(s string) (*url.URL, error) {
	if len(s) > maxTarget {
		return nil, tooLong(len(s))
	}
	rest, ok := strings.CutPrefix(s, "/")
	scheme, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || scheme != "http" && scheme != "https" {
		return nil, errForm
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, err := parseHost(scheme, rest[:end])
	if err != nil {
		return nil, err
	}
	path := rest[end:]
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		return nil, fmt.Errorf("path: %w, without spaces and control characters", errForm)
	}
	u, err := url.Parse(scheme + "://" + host + path)
	if err != nil || u.Host != host || u.User != nil {
		return nil, fmt.Errorf("%.100q: %w", path, errForm)
	}
	if strings.Contains(u.EscapedPath(), "/.") { // "." and ".." say nothing to a server (RFC 3986 §6.2.2.3); apt has them
		u = u.ResolveReference(u)
	}
	if n := len(u.EscapedPath()) + len(u.RawQuery) + len(u.Host); n > maxTarget-len("/https/?") { // escaping makes it longer
		return nil, tooLong(n)
	}
	return u, nil
}

func tooLong(n int) error {
	return fmt.Errorf("a URL of %d bytes, the limit is %d", n, maxTarget)
}

// parseHost reads a host with or without a port, and gives it the one form by which it
// is known: in lower case, without the scheme's own port. Numbers that C libraries take
// for addresses (127.1, 0x7f000001) are no hosts.
func parseHost(scheme, s string) (string, error) {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' {
			return "", fmt.Errorf("%.100q: port %.20q, want a number up to 65535", s, port)
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", fmt.Errorf("%.100q: want an IPv6 address in brackets, without a zone", s)
		}
		host = "[" + ip.String() + "]"
	} else if err := checkName(host); err != nil {
		return "", fmt.Errorf("%.100q: %w", s, err)
	}
	host = strings.ToLower(host)
	if port != "" && (scheme == "" || port != defaultPort(scheme)) {
		host += ":" + port
	}
	return host, nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// checkName accepts DNS names in ASCII and IPv4 addresses in their usual form.
func checkName(s string) error {
	if _, err := netip.ParseAddr(s); err == nil && !strings.Contains(s, ":") {
		return nil
	}
	if s == "" || len(s) > 253 {
		return errors.New("want the name of a host")
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, lettersDigits+"-_") != "" || label[0] == '-' {
			return errors.New("want a DNS name in ASCII, without a dot at the end")
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(strings.ToLower(last), "0x") {
		return errors.New("want addresses as four decimal numbers")
	}
	return nil
}

const lettersDigits = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// pathOf is the path by which the gateway knows a URL, "" for one that it does not take.
func pathOf(u *url.URL) string {
	if u.User != nil || u.Opaque != "" {
		return ""
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" || u.ForceQuery {
		path += "?" + u.RawQuery
	}
	s := "/" + u.Scheme + "/" + u.Host + path
	if _, err := parseTarget(s); err != nil {
		return ""
	}
	return s
}

// hostport is the host of u with its port, as dialled.
func hostport(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":" + defaultPort(u.Scheme)
}
