package scenario

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/tandem-cdn/tandem/internal/sim"
)

const (
	maxFile  = 64 << 10 // bytes of a scenario file
	maxDepth = 16       // brackets in brackets
	maxRuns  = 64       // variants times sweeps
)

// File is a parsed scenario file.
type File struct {
	Name     string
	Scenario Scenario // without what its runs change
	Runs     []Run    // never none
	root     ast.Node
	sets     []Setting
}

// Run is one world of a scenario.
type Run struct {
	Name     string
	Swept    string      // its part of the sweep, which it shares with runs of other variants
	Set      [][2]string // what it changes: field and value, as written
	Scenario Scenario
	// World draws the world of a seed; nil is [Scenario.Config].
	World func(seed uint64) sim.Config
}

// Config draws the world of a seed.
func (r Run) Config(seed uint64) sim.Config {
	if r.World != nil {
		return r.World(seed)
	}
	return r.Scenario.Config(seed)
}

// Parse reads a scenario and checks every run of it. sets change fields, as
// "hosts.count=50", after the file and before what its runs change.
func Parse(name string, b []byte, sets []string) (*File, error) {
	root, err := document(b)
	if err != nil {
		return nil, err
	}
	f := &File{Name: name, root: root}
	for _, s := range sets {
		path, text, ok := strings.Cut(s, "=")
		n, err := document([]byte(text))
		if !ok || err != nil || n == nil {
			return nil, &Error{Path: path, Problem: fmt.Sprintf("%.60q sets nothing; want field=value", s)}
		}
		f.sets = append(f.sets, Setting{path, value{n, text}})
	}
	base, d, err := f.build(nil)
	if err != nil {
		return nil, err
	}
	f.Scenario = *base
	if err := f.expand(); err != nil {
		return nil, err
	}
	return f, f.checkExpectations(d)
}

// document parses YAML; nil when there is nothing in it.
func document(b []byte) (ast.Node, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("over %d bytes", maxFile)
	}
	if deep(b) {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, syntax(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			return nil, errors.New("more than one document")
		}
		body = doc.Body
	}
	return body, nil
}

// deep reports whether brackets or indentation nest more than the language can
// mean: the parser calls itself for every level.
func deep(b []byte) bool {
	level := 0
	for line := range strings.Lines(string(b)) {
		indent := len(line) - len(strings.TrimLeft(line, " -?:\t"))
		if indent > 8*maxDepth {
			return true
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				level++
			case ']', '}':
				level--
			}
			if level > maxDepth {
				return true
			}
		}
	}
	return false
}

func syntax(err error) error {
	var y yaml.Error
	if !errors.As(err, &y) {
		return err
	}
	e := &Error{Problem: strings.Join(strings.Fields(y.GetMessage()), " ")}
	if t := y.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}

// build makes the scenario of the file with fields changed.
func (f *File) build(changes []Setting) (*Scenario, *decoder, error) {
	s := standard()
	d := &decoder{at: map[string]*token.Position{}}
	if f.root != nil {
		if err := d.decode(f.root, reflect.ValueOf(&s).Elem(), "", ""); err != nil {
			return nil, nil, err
		}
	}
	for i, set := range append(f.sets[:len(f.sets):len(f.sets)], changes...) {
		if i < len(f.sets) {
			// Of the command line, not of the file.
			sub := &decoder{at: map[string]*token.Position{}}
			if err := sub.apply(&s, set); err != nil {
				return nil, nil, unplaced(err)
			}
			continue
		}
		if err := d.apply(&s, set); err != nil {
			return nil, nil, err
		}
	}
	if err := d.check(&s); err != nil {
		return nil, nil, err
	}
	return &s, d, nil
}

func unplaced(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Path: e.Path, Problem: e.Problem}
	}
	return err
}

// apply changes the fields that a path names.
func (d *decoder) apply(s *Scenario, set Setting) error {
	top, _, _ := strings.Cut(set.Path, ".")
	switch top {
	case "title", "about", "facts", "runs", "sweep", "expect":
		return d.fail(set.Path, set.Value.node, "%s is the same in all runs", top)
	}
	return d.set(reflect.ValueOf(s).Elem(), strings.Split(set.Path, "."), "", set.Value.node, "")
}

func (d *decoder) set(v reflect.Value, path []string, done string, n ast.Node, tag reflect.StructTag) error {
	if len(path) == 0 {
		return d.decode(n, v, done, tag)
	}
	here := join(done, path[0])
	switch v.Kind() {
	case reflect.Struct:
		if f, ok := field(v.Type(), path[0]); ok {
			return d.set(v.FieldByIndex(f.Index), path[1:], here, n, f.Tag)
		}
		return d.fail(here, n, "no such field%s", hint(path[0], names(v.Type())))
	case reflect.Slice:
		if i, err := strconv.Atoi(path[0]); err == nil {
			if i < 0 || i >= v.Len() {
				return d.fail(here, n, "there are %d of them", v.Len())
			}
			return d.set(v.Index(i), path[1:], here, n, tag)
		}
		// Without an index it is said of all of them.
		for i := range v.Len() {
			if err := d.set(v.Index(i), path, join(done, strconv.Itoa(i)), n, tag); err != nil {
				return err
			}
		}
		return nil
	default:
		return d.fail(here, n, "%s has no fields", done)
	}
}

// expand makes the runs: every variant with every combination of swept values.
func (f *File) expand() error {
	variants := f.Scenario.Runs
	if len(variants) == 0 {
		variants = []Variant{{}}
	}
	total := len(variants)
	for _, a := range f.Scenario.Sweep {
		if total *= len(a.Values); total > maxRuns {
			return &Error{Path: "sweep", Problem: fmt.Sprintf("more than %d runs", maxRuns)}
		}
	}
	for _, v := range variants {
		if err := f.sweep(Run{Name: v.Name}, v.Set, f.Scenario.Sweep); err != nil {
			return err
		}
	}
	return nil
}

func (f *File) sweep(r Run, changes []Setting, axes []Axis) error {
	if len(axes) > 0 {
		for _, v := range axes[0].Values {
			next := r
			step := axes[0].Path + "=" + v.text
			next.Name, next.Swept = strings.TrimSpace(r.Name+" "+step), strings.TrimSpace(r.Swept+" "+step)
			with := append(changes[:len(changes):len(changes)], Setting{axes[0].Path, v})
			if err := f.sweep(next, with, axes[1:]); err != nil {
				return err
			}
		}
		return nil
	}
	s, _, err := f.build(changes)
	if err != nil {
		return err
	}
	for _, c := range changes {
		r.Set = append(r.Set, [2]string{c.Path, c.Value.text})
	}
	r.Scenario = *s
	f.Runs = append(f.Runs, r)
	return nil
}
