package dir

import "strings"

// isAlias finds names that Windows resolves to a file of another name: streams
// ("a:b"), short names ("GIT~1"), trailing dots and spaces.
func isAlias(elem string) bool {
	return strings.ContainsAny(elem, ":~") || strings.HasSuffix(elem, ".") || strings.HasSuffix(elem, " ")
}
