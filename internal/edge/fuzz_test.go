package edge

import (
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Whatever an origin puts into a Link field, what comes out of it is part of it,
// and nothing that claims to be a manifest is left.
func FuzzSplitLinks(f *testing.F) {
	f.Add(`</a,b>; t="c, \"d, e", </f> ,`)
	f.Add(`<x>; rel="describedby"; type="` + wire.ManifestType + `"`)
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, field string) {
		rest := field
		for _, l := range splitLinks(field) {
			_, after, ok := strings.Cut(rest, l)
			if !ok {
				t.Fatalf("%q is not in %q", l, field)
			}
			rest = after
		}
	})
}
