// Package scenarios holds the scenarios that come with the program: worlds for
// `tandem sim`, each with what is expected of it. docs/SIMULATOR.md explains the
// language they are written in.
package scenarios

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Names are the scenarios, in order of the alphabet.
func Names() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil // it is in the program
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Read is the text of a scenario. It wraps [fs.ErrNotExist] where there is none
// of that name.
func Read(name string) ([]byte, error) { return files.ReadFile(name + ".yaml") }
