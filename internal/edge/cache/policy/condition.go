package policy

import (
	"net/http"
	"strings"
	"time"
)

// Validators tell versions of a representation apart (RFC 9110 §8.8).
type Validators struct {
	ETag         string    // as sent, empty when there is none
	LastModified time.Time // zero when there is none
	Date         time.Time // when the response was made
}

// Outcome is the result of a request's preconditions.
type Outcome int

// The outcomes of preconditions (RFC 9110 §13.2.2).
const (
	Proceed     Outcome = iota // do what the method asks
	NotModified                // answer 304
	Failed                     // answer 412
)

// maxTags bounds the entity tags of a condition that are looked at.
const maxTags = 64

// Evaluate works out the preconditions of a GET or HEAD in the order of RFC 9110
// §13.2.2 against a stored response.
func Evaluate(req http.Header, v Validators) Outcome {
	if tags := req.Values("If-Match"); len(tags) > 0 {
		if !anyTag(tags, v.ETag, StrongMatch) {
			return Failed
		}
	} else if t, ok := date(req, "If-Unmodified-Since"); ok && !v.LastModified.IsZero() && v.LastModified.After(t) {
		return Failed
	}
	if tags := req.Values("If-None-Match"); len(tags) > 0 {
		if anyTag(tags, v.ETag, WeakMatch) {
			return NotModified
		}
		return Proceed
	}
	if t, ok := date(req, "If-Modified-Since"); ok {
		changed := v.LastModified
		if changed.IsZero() {
			changed = v.Date // RFC 9111 §4.3.2
		}
		if !changed.After(t) {
			return NotModified
		}
	}
	return Proceed
}

// RangeApplies says whether the Range of a request is to be obeyed given its
// If-Range (RFC 9110 §13.1.5).
func RangeApplies(req http.Header, v Validators) bool {
	cond := strings.TrimSpace(req.Get("If-Range"))
	if cond == "" {
		return true
	}
	if strings.HasSuffix(cond, `"`) {
		return StrongMatch(cond, v.ETag)
	}
	t, err := http.ParseTime(cond)
	return err == nil && !v.LastModified.IsZero() && t.Equal(v.LastModified) && StrongDate(v)
}

// StrongDate says whether Last-Modified is a strong validator: the
// representation had not changed for a minute when it was sent (RFC 9110
// §8.8.2.2; the older, more careful limit).
func StrongDate(v Validators) bool {
	return !v.LastModified.IsZero() && v.Date.Sub(v.LastModified) >= time.Minute
}

// StrongTag says whether tag is a well-formed strong entity tag.
func StrongTag(tag string) bool {
	return len(tag) >= 2 && tag[0] == '"' && strings.IndexByte(tag[1:], '"') == len(tag)-2
}

// StrongMatch is the strong comparison (RFC 9110 §8.8.3.2).
func StrongMatch(a, b string) bool { return StrongTag(a) && a == b }

// WeakMatch is the weak comparison (RFC 9110 §8.8.3.2).
func WeakMatch(a, b string) bool {
	return a != "" && strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

func anyTag(lines []string, tag string, match func(a, b string) bool) bool {
	n := 0
	for _, line := range lines {
		for m := range listMembers(line) {
			if n++; n > maxTags {
				return false
			}
			if m == "*" || match(m, tag) {
				return true
			}
		}
	}
	return false
}

func date(h http.Header, name string) (time.Time, bool) {
	t, err := http.ParseTime(h.Get(name))
	return t, err == nil
}

// ValidatorsOf reads the validators of a response; date is when it was made.
func ValidatorsOf(h http.Header, made time.Time) Validators {
	lm, _ := date(h, "Last-Modified")
	return Validators{ETag: h.Get("ETag"), LastModified: lm, Date: made}
}
