package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

type versionCmd struct{}

// Run implements the command.
func (*versionCmd) Run(p *process) error {
	printVersion(p.Stdout)
	return nil
}

// versionFlag prints the version whatever else is on the command line.
type versionFlag bool

// BeforeReset implements the hook that kong calls when it meets the flag.
func (versionFlag) BeforeReset(ctx *kong.Context) error {
	printVersion(ctx.Stdout)
	return errShown
}

func printVersion(w io.Writer) {
	fmt.Fprintf(w, "tandem %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// version is the module's version, which the go command derives from tag and
// commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
