package cli

import (
	"strings"

	"github.com/alecthomas/kong"
)

// ordered puts the arguments of a command behind its flags, because people mix
// them, as curl lets them (get -O URL1 -O URL2), and the parser does not. The "-"
// of curl's "-C -" goes.
func ordered(app *kong.Application, args []string) []string {
	var flags, rest []string
	node, takesValue := app.Node, valueFlags(app.Node)
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return append(append(flags, a), append(rest, args[i+1:]...)...)
		case a == "-C" && i+1 < len(args) && args[i+1] == "-":
			flags = append(flags, a)
			i++
		case len(a) > 1 && a[0] == '-':
			flags = append(flags, a)
			if i+1 < len(args) && takesValue[last(a)] {
				i++
				flags = append(flags, args[i])
			}
		case len(rest) == 0 && child(node, a) != nil:
			// Flags belong to the command before them.
			flags = append(flags, a)
			node = child(node, a)
			takesValue = valueFlags(node)
		default:
			rest = append(rest, a)
		}
	}
	return append(flags, rest...)
}

// last is the flag that an argument ends with: of "-fo" it is "-o". One that
// carries its value has none.
func last(arg string) string {
	switch {
	case strings.Contains(arg, "="):
		return ""
	case strings.HasPrefix(arg, "--"):
		return arg
	}
	return "-" + arg[len(arg)-1:]
}

// valueFlags are the flags of a command that have an argument.
func valueFlags(n *kong.Node) map[string]bool {
	names := map[string]bool{}
	for _, level := range n.AllFlags(false) {
		for _, f := range level {
			if !f.IsBool() {
				names["--"+f.Name] = true
				if f.Short != 0 {
					names["-"+string(f.Short)] = true
				}
			}
		}
	}
	return names
}

func child(n *kong.Node, name string) *kong.Node {
	for _, c := range n.Children {
		if c.Name == name {
			return c
		}
	}
	return nil
}
