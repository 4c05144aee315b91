package policy

import (
	"iter"
	"strings"
)

// listMembers yields the members of a comma-separated field line (RFC 9110
// §5.6.1), trimmed, without the empty ones. Commas in quoted strings separate
// nothing; a quote that is never closed runs to the end of the line.
func listMembers(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i <= len(line); i++ {
			switch {
			case i == len(line) || line[i] == ',' && !quoted:
				if m := strings.Trim(line[start:i], " \t"); m != "" && !yield(m) {
					return
				}
				start = i + 1
			case line[i] == '"':
				quoted = !quoted
			case line[i] == '\\' && quoted && i+1 < len(line):
				i++
			}
		}
	}
}
