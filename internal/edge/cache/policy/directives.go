package policy

import (
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// Seconds is the value of a directive that carries delta-seconds (RFC 9111
// §1.2.2), or [None].
type Seconds int64

const (
	// None says that a directive is absent.
	None Seconds = -1
	// Forever is what larger values are cut to (RFC 9111 §1.2.2).
	Forever Seconds = 1 << 31

	maxControlBytes   = 8 << 10
	maxControlMembers = 64
)

// Duration is the value as a duration; [None] is zero.
func (s Seconds) Duration() time.Duration { return time.Duration(max(s, 0)) * time.Second }

// Directives are the members of a Cache-Control field that a shared cache obeys
// (RFC 9111 §5.2, RFC 5861, RFC 8246). Others are ignored.
type Directives struct {
	NoStore, NoCache, Private, Public bool
	MustRevalidate, ProxyRevalidate   bool
	MustUnderstand, Immutable         bool
	OnlyIfCached                      bool

	// Fields named by the qualified forms no-cache="…" and private="…". Such a
	// directive binds only these fields, and does not set NoCache or Private.
	HeldBack []string

	MaxAge, SMaxAge, MaxStale, MinFresh Seconds
	StaleWhileRevalidate, StaleIfError  Seconds
}

func noDirectives() Directives {
	return Directives{
		MaxAge: None, SMaxAge: None, MaxStale: None, MinFresh: None,
		StaleWhileRevalidate: None, StaleIfError: None,
	}
}

// ParseDirectives reads the field lines of a Cache-Control header. A number that
// cannot be read counts as 0, of repeated numbers the smallest counts, and a
// field too large to read is no-store: when in doubt, the response is staler.
func ParseDirectives(lines []string) Directives {
	d := noDirectives()
	size, members := 0, 0
	for _, line := range lines {
		if size += len(line); size > maxControlBytes {
			d.NoStore = true
			return d
		}
		for member := range listMembers(line) {
			if members++; members > maxControlMembers {
				d.NoStore = true
				return d
			}
			name, value, _ := strings.Cut(member, "=")
			d.set(strings.ToLower(strings.TrimRight(name, " \t")), argument(name, value))
		}
	}
	return d
}

// argument unquotes the argument of a directive. White space around "=" is no
// grammar: such an argument is one that cannot be read.
func argument(name, value string) string {
	if strings.TrimRight(name, " \t") != name {
		return "?"
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return unquote(value[1 : len(value)-1])
	}
	return value
}

func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (d *Directives) set(name, value string) {
	switch name {
	case "no-store":
		d.NoStore = true
	case "no-cache":
		d.NoCache = d.hold(value) || d.NoCache
	case "private":
		d.Private = d.hold(value) || d.Private
	case "public":
		d.Public = true
	case "must-revalidate":
		d.MustRevalidate = true
	case "proxy-revalidate":
		d.ProxyRevalidate = true
	case "must-understand":
		d.MustUnderstand = true
	case "immutable":
		d.Immutable = true
	case "only-if-cached":
		d.OnlyIfCached = true
	case "max-stale":
		if value == "" { // any staleness
			value = "2147483648"
		}
		least(&d.MaxStale, deltaSeconds(value))
	default:
		if n := d.number(name); n != nil {
			least(n, deltaSeconds(value))
		}
	}
}

// hold notes the fields of a qualified directive and reports whether the
// directive is the unqualified one, which binds the whole response.
func (d *Directives) hold(fields string) (unqualified bool) {
	if fields == "" || fields == "?" {
		return true
	}
	for f := range strings.SplitSeq(fields, ",") {
		if f = strings.TrimSpace(f); f != "" {
			d.HeldBack = append(d.HeldBack, http.CanonicalHeaderKey(f))
		}
	}
	return false
}

func (d *Directives) number(name string) *Seconds {
	switch name {
	case "max-age":
		return &d.MaxAge
	case "s-maxage":
		return &d.SMaxAge
	case "min-fresh":
		return &d.MinFresh
	case "stale-while-revalidate":
		return &d.StaleWhileRevalidate
	case "stale-if-error":
		return &d.StaleIfError
	}
	return nil
}

func least(s *Seconds, v Seconds) {
	if *s == None || v < *s {
		*s = v
	}
}

// deltaSeconds reads 1*DIGIT; anything else is 0.
func deltaSeconds(s string) Seconds {
	n, ok := digits(s)
	if !ok {
		return 0
	}
	return Seconds(min(n, int64(Forever)))
}

// digits reads 1*DIGIT, cutting at 2^53.
func digits(s string) (n int64, ok bool) {
	const limit = 1 << 53
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), limit)
	}
	return n, s != ""
}

// ControlOf returns the directives of a response that govern this cache: those
// of CDN-Cache-Control where that field is present and valid, in which case
// Cache-Control and Expires do not count (RFC 9213 §2.2), else Cache-Control's.
func ControlOf(h http.Header) (d Directives, targeted bool) {
	if lines := h.Values("CDN-Cache-Control"); len(lines) > 0 {
		if d, ok := parseTargeted(lines); ok {
			return d, true
		}
	}
	return ParseDirectives(h.Values("Cache-Control")), false
}

// parseTargeted reads a targeted field, which is a dictionary (RFC 9213 §2.1).
// It is invalid as a whole when it does not parse or a value has the wrong type.
func parseTargeted(lines []string) (Directives, bool) {
	d := noDirectives()
	if len(strings.Join(lines, ",")) > maxControlBytes {
		return d, false
	}
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) == 0 || len(dict.Names()) > maxControlMembers {
		return d, false
	}
	for _, name := range dict.Names() {
		m, _ := dict.Get(name)
		item, ok := m.(httpsfv.Item)
		if !ok {
			continue
		}
		if n := d.number(name); n != nil {
			v, ok := item.Value.(int64)
			if !ok || v < 0 {
				return d, false
			}
			*n = Seconds(min(v, int64(Forever)))
			continue
		}
		switch v := item.Value.(type) {
		case bool:
			if v {
				d.set(name, "")
			}
		case string:
			d.set(name, v)
		}
	}
	return d, true
}
