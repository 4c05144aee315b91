//go:build !windows

package dir

// isAlias is about Windows.
func isAlias(string) bool { return false }
