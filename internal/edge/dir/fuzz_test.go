package dir

import (
	"path/filepath"
	"strings"
	"testing"
)

// No path of a URL names anything but a visible file below the directory.
func FuzzNameOf(f *testing.F) {
	for _, p := range []string{"/", "/a/b", "/../a", "/a/../b", "/.git/x", "//", "/a\\b", "/a\x00", "", "/a/", "/C:/x", "/ü"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		name, err := nameOf(p)
		if err != nil || name == "." {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(name)) || "/"+name != p {
			t.Fatalf("%q became %q", p, name)
		}
		for elem := range strings.SplitSeq(name, "/") {
			if elem == "" || elem[0] == '.' || strings.ContainsAny(elem, "\x00\\") {
				t.Fatalf("%q has the element %q", p, elem)
			}
		}
	})
}
