package policy

import (
	"net/http"
	"slices"
	"strings"
)

// maxVary bounds the fields of a Vary header; more are as good as "*".
const maxVary = 16

// VaryNames returns the canonical, sorted names of the request fields that
// select a response, and whether it is selected by things unknown ("*", RFC 9110
// §12.5.5). A response with a content coding is selected by Accept-Encoding even
// when its origin forgot to say so: who did not ask for gzip cannot read it.
func VaryNames(h http.Header) (names []string, star bool) {
	for _, line := range h.Values("Vary") {
		for m := range listMembers(line) {
			if m == "*" {
				return nil, true
			}
			names = append(names, http.CanonicalHeaderKey(m))
		}
	}
	if c := h.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		names = append(names, "Accept-Encoding")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names, len(names) > maxVary
}

// Selection is the part of a request that selects among the variants of a URL:
// requests with equal selections get the same response. Field values are
// normalised so that spelling alone makes no new variant (RFC 9111 §4.1).
func Selection(names []string, req http.Header) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n)
		if vs := req.Values(n); len(vs) > 0 {
			b.WriteByte(':')
			b.WriteString(normalise(n, vs))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func normalise(name string, lines []string) string {
	var members []string
	for _, l := range lines {
		for m := range listMembers(l) {
			members = append(members, m)
		}
	}
	switch name {
	case "Accept-Encoding", "Accept-Language", "Accept-Charset":
		// The order of these lists means nothing, weights do; case neither.
		for i, m := range members {
			members[i] = strings.ToLower(strings.ReplaceAll(m, " ", ""))
		}
		slices.Sort(members)
	}
	return strings.Join(members, ",")
}

// Selecting copies the named fields, so that the same variant can be asked for
// again without the client.
func Selecting(names []string, req http.Header) http.Header {
	h := make(http.Header, len(names))
	for _, n := range names {
		if vs := req.Values(n); len(vs) > 0 {
			h[n] = slices.Clone(vs)
		}
	}
	return h
}
