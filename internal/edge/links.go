package edge

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// objectLinks are the links (RFC 8288) of a shared object: to its manifest, and to
// its copies on mirrors (RFC 6249).
func (e *Edge) objectLinks(o object) []string {
	links := []string{fmt.Sprintf("<%s>; rel=%q; type=%q",
		linkTo(manifestPrefix+e.signer.name(o)+o.key), "describedby", wire.ManifestType)}
	for _, m := range e.cfg.Mirrors {
		links = append(links, fmt.Sprintf("<%s>; rel=%q", linkTo(strings.TrimSuffix(m, "/")+o.key), "duplicate"))
	}
	return links
}

// addLinks adds this edge's own links. Those to manifests and tracks of an edge
// behind this one go: clients trust the keys of the host they talk to.
func (e *Edge) addLinks(h http.Header, own []string) {
	fields := h.Values("Link")
	if len(fields) == 0 && len(own) == 0 {
		return
	}
	var kept []string
	for _, field := range fields {
		for _, l := range splitLinks(field) {
			if !strings.Contains(l, wire.ManifestType) && !strings.Contains(l, wire.TrackType) {
				kept = append(kept, l)
			}
		}
	}
	if kept = append(kept, own...); len(kept) == 0 {
		h.Del("Link")
		return
	}
	h["Link"] = kept
}

// linkTo escapes what a request line may hold and a Link field may not.
func linkTo(s string) string {
	return strings.NewReplacer("<", "%3C", ">", "%3E", `"`, "%22").Replace(s)
}

// splitLinks cuts a field at the commas that stand between links.
func splitLinks(field string) []string {
	var links []string
	begin, in := 0, byte(0) // in is what ends the URL or string that we are in
	for i := range len(field) {
		switch c := field[i]; {
		case in != 0:
			if c == in && (c != '"' || field[i-1] != '\\') {
				in = 0
			}
		case c == '<':
			in = '>'
		case c == '"':
			in = '"'
		case c == ',':
			links = append(links, strings.TrimSpace(field[begin:i]))
			begin = i + 1
		}
	}
	if last := strings.TrimSpace(field[begin:]); last != "" {
		links = append(links, last)
	}
	return links
}
