package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// File holds the settings of a configuration file, checked.
type File struct {
	path   string
	values map[string]any
}

// Locations are where a configuration file is looked for when none is named.
func Locations() []string {
	var paths []string
	if dir, err := os.UserConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "tandem", "tandem.yaml"))
	}
	return append(paths, "/etc/tandem/tandem.yaml")
}

// Find reads the named file or, when path is empty, the first of locations that
// exists. No file there is no error: then nothing is set.
func Find(path string, locations []string) (*File, error) {
	if path != "" {
		return load(path)
	}
	for _, p := range locations {
		f, err := load(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return f, err
	}
	return &File{}, nil
}

func load(path string) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("configuration %s: over %d bytes", path, maxFile)
	}
	values, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return &File{path: path, values: values}, nil
}

// parse checks the document against [Config] and returns its values.
func parse(b []byte) (map[string]any, error) {
	var values map[string]any
	if err := yaml.Unmarshal(b, &values); err != nil {
		return nil, oneLine(err)
	}
	if err := check(values, reflect.TypeFor[Config](), ""); err != nil {
		return nil, err
	}
	var c Config
	if err := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, oneLine(err)
	}
	return values, nil
}

// oneLine makes a line of the YAML package's error, which shows the source.
func oneLine(err error) error {
	var y yaml.Error
	if !errors.As(err, &y) {
		return err
	}
	msg := strings.ReplaceAll(y.GetMessage(), "\n", " ")
	if t := y.GetToken(); t != nil && t.Position != nil {
		return fmt.Errorf("line %d: %s", t.Position.Line, msg)
	}
	return errors.New(msg)
}

// check finds a key that t has not, and says which was probably meant, or a
// value that its type refuses.
func check(values map[string]any, t reflect.Type, prefix string) error {
	known := keys(t)
	names := slices.Sorted(maps.Keys(known))
	for _, k := range slices.Sorted(maps.Keys(values)) {
		section, ok := known[k]
		if !ok {
			hint := ""
			if n := Nearest(k, names); n != "" {
				hint = fmt.Sprintf(", did you mean %q?", prefix+n)
			}
			return fmt.Errorf("unknown key %q%s", prefix+k, hint)
		}
		if sub, ok := values[k].(map[string]any); ok && section.Kind() == reflect.Struct {
			if err := check(sub, section, prefix+k+"."); err != nil {
				return err
			}
		}
		if u, ok := reflect.New(section).Interface().(encoding.TextUnmarshaler); ok && values[k] != nil {
			if err := u.UnmarshalText([]byte(fmt.Sprint(values[k]))); err != nil {
				return fmt.Errorf("%s: %w", prefix+k, err)
			}
		}
	}
	return nil
}

// keys maps the YAML names of a struct's fields to their types.
func keys(t reflect.Type) map[string]reflect.Type {
	names := map[string]reflect.Type{}
	for f := range t.Fields() {
		if f.Anonymous {
			maps.Copy(names, keys(f.Type))
			continue
		}
		names[f.Tag.Get("yaml")] = f.Type
	}
	return names
}

// Lookup finds the value of a command's flag: under the command's name, or at
// the top where all commands share it. A scalar comes as its text, a list as a
// []any.
func (f *File) Lookup(command, flag string) (any, bool) {
	if f == nil {
		return nil, false
	}
	if s, ok := f.values[command].(map[string]any); ok {
		if v, ok := s[flag]; ok {
			return plain(v), true
		}
	}
	v, ok := f.values[flag]
	if _, isSection := v.(map[string]any); !ok || isSection {
		return nil, false
	}
	return plain(v), true
}

// Path is the file's name, "" when there is none.
func (f *File) Path() string { return f.path }

func plain(v any) any {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	texts := make([]any, len(list))
	for i, e := range list {
		texts[i] = fmt.Sprint(e)
	}
	return texts
}
