package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tandem-cdn/tandem/internal/config"
)

const envPrefix = "TANDEM_"

// settings gives the parser the values of flags that are not on the command
// line: from the environment, else from the configuration file.
type settings struct {
	environ   map[string]string
	locations []string // of the file, when none is named
	file      *config.File
	err       error             // of the file
	sources   map[string]string // flag → where its value came from
}

// envName is the variable that sets a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Validate implements [kong.Resolver]: a variable that is nearly the name of a
// flag is a mistake.
func (s *settings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok {
			known[envName(f.Name)] = true
		}
		return next(nil)
	})
	names := slices.Sorted(maps.Keys(known))
	for _, k := range slices.Sorted(maps.Keys(s.environ)) {
		// A variable that is near to nothing may be another program's.
		if short := strings.TrimPrefix(k, envPrefix); !known[k] && len(short) > 3 {
			if n := config.Nearest(k, names); n != "" && config.Nearest(short, trimmed(names)) != "" {
				return fmt.Errorf("environment: unknown variable %s, did you mean %s?", k, n)
			}
		}
	}
	return nil
}

func trimmed(names []string) []string {
	var short []string
	for _, n := range names {
		short = append(short, strings.TrimPrefix(n, envPrefix))
	}
	return short
}

// Resolve implements [kong.Resolver].
func (s *settings) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Name == "help" || flag.Name == "version" {
		return nil, nil //nolint:nilnil // kong's way to say "not set"
	}
	if v, ok := s.environ[envName(flag.Name)]; ok {
		s.note(flag.Name, envName(flag.Name))
		return v, nil
	}
	if flag.Name == "config" || ctx.Selected() == nil {
		return nil, nil //nolint:nilnil // kong's way to say "not set"
	}
	if s.file == nil {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
	}
	if v, ok := s.file.Lookup(ctx.Selected().Name, flag.Name); ok {
		s.note(flag.Name, s.file.Path())
		return v, nil
	}
	return nil, nil //nolint:nilnil // kong's way to say "not set"
}

// open reads the configuration file that the command line or the environment
// names, else the one at its usual place.
func (s *settings) open(ctx *kong.Context) error {
	path := s.environ[envName("config")]
	for _, f := range ctx.Flags() {
		if p, ok := ctx.FlagValue(f).(string); ok && f.Name == "config" && p != "" {
			path = p
		}
	}
	s.file, s.err = config.Find(path, s.locations)
	return s.err
}

func (s *settings) note(flag, source string) {
	if s.sources == nil {
		s.sources = map[string]string{}
	}
	s.sources[flag] = source
}

// blame adds to an error about a flag's value where the value came from.
func (s *settings) blame(err error) error {
	switch {
	case err == nil:
		return nil
	case s.err != nil:
		return s.err // without the flag that was looked for
	}
	for flag, source := range s.sources {
		if strings.Contains(err.Error(), "--"+flag) {
			return fmt.Errorf("%w (from %s)", err, source)
		}
	}
	return err
}
