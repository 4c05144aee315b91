// Package cli is the command line: one file per subcommand, each an options
// struct taken from internal/config and a run function. It owns what is shown to
// people: help, progress, one-line errors and exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tandem-cdn/tandem/internal/config"
)

// Streams is what a command has of the process it runs in.
type Streams struct {
	Stdout, Stderr io.Writer
	// Environ is the environment, as "key=value".
	Environ []string
	// ConfigFiles are where a configuration file is looked for.
	ConfigFiles []string
}

// Std is the running process.
func Std() Streams {
	return Streams{Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), ConfigFiles: config.Locations()}
}

// grammar is the command line.
type grammar struct {
	Help    helpFlag    `short:"h" help:"Show this help." group:"common"`
	Version versionFlag `help:"Print the version." group:"common"`
	Config  string      `help:"Configuration file (YAML); otherwise tandem/tandem.yaml in the user's or /etc." placeholder:"FILE" group:"common"`
	config.Common

	Serve   serveCmd   `cmd:"" help:"Serve a directory: edge and control in one process."`
	Edge    edgeCmd    `cmd:"" help:"Serve an origin from a cache whose objects clients share."`
	Control controlCmd `cmd:"" help:"Bring clients together: a node of the control plane."`
	Get     getCmd     `cmd:"" help:"Download from the edge and from other clients."`
	Agent   agentCmd   `cmd:"" help:"Keep and share what was fetched, in the background."`
	Publish publishCmd `cmd:"" help:"Make manifests for a directory that any HTTP server serves."`
	Doctor  doctorCmd  `cmd:"" help:"Look at this machine's network, in plain words."`
	Status  statusCmd  `cmd:"" help:"Show what the running agent does."`
	Pair    pairCmd    `cmd:"" help:"Let a web page use the gateway of the running agent."`
	Sim     simCmd     `cmd:"" help:"Simulate crowds of up to a million clients."`
	Vers    versionCmd `cmd:"" name:"version" help:"Print the version."`
}

// process is what the run function of a command is given.
type process struct {
	Streams
	ctx context.Context
	log *slog.Logger
}

const description = `Peer-assisted CDN: clients that download the same thing help each other, the edge stays the backstop.

Every flag can also be set as TANDEM_… in the environment (TANDEM_LIMIT_RATE=2M) or in the configuration file; a flag wins over the environment, the environment over the file.`

// Run runs the command of args, which are without the program's name, until it
// ends or ctx does, and returns the exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	var g grammar
	command, err := run(ctx, args, &g, s)
	if err != nil && !errors.Is(err, errShown) {
		fmt.Fprintln(s.Stderr, errorLine(command, err))
	}
	return exitCode(err)
}

func run(ctx context.Context, args []string, g *grammar, s Streams) (command string, err error) {
	settings := &settings{environ: environ(s.Environ), locations: s.ConfigFiles}
	parser, err := kong.New(g,
		kong.Name("tandem"), kong.Description(description),
		kong.Writers(s.Stdout, s.Stderr),
		kong.NoDefaultHelp(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ValueFormatter(withDefault),
		kong.ExplicitGroups([]kong.Group{{Key: "common", Title: "Flags of every command:"}}),
		kong.Resolvers(settings),
	)
	if err != nil {
		return "", fmt.Errorf("command line: %w", err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(ordered(parser.Model, args))
	command = commandOf(parser, err, kctx)
	if errors.Is(err, errShown) {
		return command, errShown
	}
	if err != nil {
		return command, usage(settings.blame(err))
	}
	log := logger(g.Common, command, s.Stderr)
	kctx.Bind(&process{Streams: s, ctx: ctx, log: log})
	return command, kctx.Run()
}

// withDefault adds to the help of a flag what it is when not set.
func withDefault(v *kong.Value) string {
	switch v.Default {
	case "", "0", "0s", "default":
		return v.Help
	}
	return strings.TrimSuffix(v.Help, ".") + " [" + v.Default + "]."
}

// commandOf is the subcommand's name, as far as the parser got.
func commandOf(parser *kong.Kong, err error, kctx *kong.Context) string {
	var pe *kong.ParseError
	if errors.As(err, &pe) {
		kctx = pe.Context
	}
	if kctx == nil || kctx.Selected() == nil || kctx.Selected() == parser.Model.Node {
		return ""
	}
	return kctx.Selected().Name
}

// errShown ends a command line that asked for nothing but its help.
var errShown = errors.New("help was shown")

// helpFlag shows the help of the command it is given to.
type helpFlag bool

// BeforeReset implements the hook that kong calls when it meets the flag.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	return errShown
}

// IsBool tells kong that the flag has no argument.
func (helpFlag) IsBool() bool { return true }

// logger is the process's log. Servers tell what they do, the rest only what is
// wrong: their results are on the screen.
func logger(c config.Common, command string, w io.Writer) *slog.Logger {
	level := slog.LevelError
	switch command {
	case "serve", "edge", "control", "agent":
		level = slog.LevelInfo
	}
	if c.LogLevel != "default" {
		// The parser let only names of levels through.
		_ = level.UnmarshalText([]byte(c.LogLevel))
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func environ(list []string) map[string]string {
	env := map[string]string{}
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, envPrefix) && v != "" {
			env[k] = v
		}
	}
	return env
}
