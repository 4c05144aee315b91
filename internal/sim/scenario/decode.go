package scenario

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/tandem-cdn/tandem/internal/config"
)

// value is a piece of YAML that is kept for later.
type value struct {
	node ast.Node
	text string // as written, on one line
}

// maxList bounds the elements of any list.
const maxList = 1000

// Error is something wrong with a scenario, and where.
type Error struct {
	Line, Column int // 0 when it is not in the file
	Path         string
	Problem      string
}

func (e *Error) Error() string {
	s := e.Problem
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Line > 0 {
		s = fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, s)
	}
	return s
}

// decoder fills a scenario from a document and remembers where everything was.
type decoder struct {
	at map[string]*token.Position // of values, by path
}

func (d *decoder) fail(path string, n ast.Node, format string, args ...any) error {
	e := &Error{Path: path, Problem: fmt.Sprintf(format, args...)}
	if p := position(n); p != nil {
		e.Line, e.Column = p.Line, p.Column
	} else if p := d.nearest(path); p != nil {
		e.Line, e.Column = p.Line, p.Column
	}
	return e
}

// nearest is where path is, or what it is in.
func (d *decoder) nearest(path string) *token.Position {
	for path != "" {
		if p := d.at[path]; p != nil {
			return p
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return nil
}

// position is where a node begins: of a mapping, its first key.
func position(n ast.Node) *token.Position {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return position(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return position(n.Key)
	}
	if t := n.GetToken(); t != nil {
		return t.Position
	}
	return nil
}

// decode fills v from n.
func (d *decoder) decode(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) error {
	if p := position(n); p != nil {
		d.at[path] = p
	}
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return d.fail(path, n, "anchors, aliases and tags are not taken here")
	}
	switch p := v.Addr().Interface().(type) {
	case *value:
		*p = value{n, oneLine(n)}
		return nil
	case *[]Axis:
		return d.axes(n, p, path)
	case *[]Setting:
		return d.settings(n, p, path)
	case drawn:
		return d.draw(n, p, path)
	case encoding.TextUnmarshaler:
		return d.text(n, p, v, path, tag)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(n, v, path)
	case reflect.Slice:
		return d.list(n, v, path, tag)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.decode(n, v.Elem(), path, tag)
	default:
		return d.plain(n, v, path, tag)
	}
}

// pairs are the keys and values of a mapping.
func (d *decoder) pairs(n ast.Node, path string) ([]*ast.MappingValueNode, error) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		return nil, d.fail(path, n, "want fields, as in \"name: value\"")
	}
	for _, kv := range pairs {
		if kv.Value == nil || kv.Value.Type() == ast.NullType {
			return nil, d.fail(join(path, key(kv)), kv.Key, "no value")
		}
	}
	return pairs, nil
}

func key(kv *ast.MappingValueNode) string {
	if t := kv.Key.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

func (d *decoder) object(n ast.Node, v reflect.Value, path string) error {
	pairs, err := d.pairs(n, path)
	if err != nil {
		return err
	}
	for _, kv := range pairs {
		f, ok := field(v.Type(), key(kv))
		if !ok {
			return d.fail(join(path, key(kv)), kv.Key, "no such field%s", hint(key(kv), names(v.Type())))
		}
		if err := d.decode(kv.Value, v.FieldByIndex(f.Index), join(path, key(kv)), f.Tag); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) list(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) error {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return d.fail(path, n, "want a list, as in [a, b]")
	}
	if len(seq.Values) > maxList {
		return d.fail(path, n, "%d elements, at most %d", len(seq.Values), maxList)
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, e := range seq.Values {
		if err := d.decode(e, v.Index(i), join(path, strconv.Itoa(i)), tag); err != nil {
			return err
		}
	}
	return nil
}

// scalar is the text of a scalar.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return strings.TrimSpace(n.GetToken().Value), true
	}
	return "", false
}

func (d *decoder) text(n ast.Node, u encoding.TextUnmarshaler, v reflect.Value, path string, tag reflect.StructTag) error {
	s, ok := scalar(n)
	if !ok {
		return d.fail(path, n, "want one value")
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		return d.fail(path, n, "%v", err)
	}
	if q, ok := u.(quantity); ok {
		if lo, hi, ok := strings.Cut(tag.Get("check"), ".."); ok {
			low, high := reflect.New(v.Type()).Interface().(quantity), reflect.New(v.Type()).Interface().(quantity)
			if low.UnmarshalText([]byte(lo)) != nil || high.UnmarshalText([]byte(hi)) != nil || q.number() < low.number() || q.number() > high.number() {
				return d.fail(path, n, "%s is not from %s to %s", s, lo, hi)
			}
		}
	}
	return nil
}

// plain fills strings, numbers and truths.
func (d *decoder) plain(n ast.Node, v reflect.Value, path string, tag reflect.StructTag) error {
	s, ok := scalar(n)
	if !ok {
		return d.fail(path, n, "want one value")
	}
	var x float64
	var err error
	switch v.Kind() {
	case reflect.String:
		if words := strings.Fields(tag.Get("oneof")); len(words) > 0 && !slices.Contains(words, s) {
			return d.fail(path, n, "%.40q is none of %s%s", s, strings.Join(words, ", "), hint(s, words))
		}
		v.SetString(s)
		return nil
	case reflect.Bool:
		if s != "true" && s != "false" {
			return d.fail(path, n, "%.40q is neither true nor false", s)
		}
		v.SetBool(s == "true")
		return nil
	case reflect.Int:
		var i int64
		i, err = strconv.ParseInt(s, 0, 64)
		v.SetInt(i)
		x = float64(i)
	case reflect.Uint64:
		var u uint64
		u, err = strconv.ParseUint(s, 0, 64)
		v.SetUint(u)
	default:
		x, err = strconv.ParseFloat(s, 64)
		v.SetFloat(x)
	}
	if err != nil {
		return d.fail(path, n, "%.40q is no %s", s, map[bool]string{true: "number", false: "whole number"}[v.Kind() == reflect.Float64])
	}
	if lo, hi, ok := strings.Cut(tag.Get("check"), ".."); ok {
		low, _ := strconv.ParseFloat(lo, 64)
		high, _ := strconv.ParseFloat(hi, 64)
		if !(x >= low && x <= high) {
			return d.fail(path, n, "%s is not from %s to %s", s, lo, hi)
		}
	}
	return nil
}

// draw reads a fixed value or a distribution.
func (d *decoder) draw(n ast.Node, v drawn, path string) error {
	draw, number := v.draw()
	*draw = Draw{}
	if s, ok := scalar(n); ok {
		x, err := number([]byte(s))
		if err != nil {
			return d.fail(path, n, "%v", err)
		}
		draw.Mid = x
		return nil
	}
	pairs, err := d.pairs(n, path)
	if err != nil {
		return err
	}
	for _, kv := range pairs {
		if err := d.drawField(draw, number, kv, join(path, key(kv))); err != nil {
			return err
		}
	}
	if draw.Kind == "" {
		return d.fail(path, n, "want a value or one of lognormal, exponential, weibull")
	}
	if err := draw.check(); err != nil {
		return d.fail(path, n, "%v", err)
	}
	return nil
}

func (d *decoder) drawField(draw *Draw, number unit, kv *ast.MappingValueNode, path string) error {
	k := key(kv)
	read, into := number, &draw.Mid
	switch k {
	case "lognormal", "exponential", "weibull":
		if draw.Kind != "" {
			return d.fail(path, kv.Key, "a second distribution")
		}
		draw.Kind = k
	case "min":
		into = &draw.Min
	case "max":
		into = &draw.Max
	case "sigma", "shape":
		into, read = &draw.Shape, func(b []byte) (float64, error) { return strconv.ParseFloat(string(b), 64) }
	default:
		return d.fail(path, kv.Key, "no such field%s", hint(k, []string{"lognormal", "exponential", "weibull", "sigma", "shape", "min", "max"}))
	}
	s, ok := scalar(kv.Value)
	if !ok {
		return d.fail(path, kv.Value, "want one value")
	}
	x, err := read([]byte(s))
	if err != nil {
		return d.fail(path, kv.Value, "%v", err)
	}
	*into = x
	return nil
}

func (d *decoder) axes(n ast.Node, into *[]Axis, path string) error {
	pairs, err := d.pairs(n, path)
	if err != nil {
		return err
	}
	*into = nil
	for _, kv := range pairs {
		seq, ok := kv.Value.(*ast.SequenceNode)
		if !ok || len(seq.Values) == 0 {
			return d.fail(join(path, key(kv)), kv.Value, "want a list of values, as in [10, 100]")
		}
		a := Axis{Path: key(kv)}
		for _, v := range seq.Values {
			a.Values = append(a.Values, value{v, oneLine(v)})
		}
		*into = append(*into, a)
	}
	return nil
}

func (d *decoder) settings(n ast.Node, into *[]Setting, path string) error {
	pairs, err := d.pairs(n, path)
	if err != nil {
		return err
	}
	*into = nil
	for _, kv := range pairs {
		*into = append(*into, Setting{key(kv), value{kv.Value, oneLine(kv.Value)}})
	}
	return nil
}

// oneLine shows a value as it was written.
func oneLine(n ast.Node) string {
	if s, ok := scalar(n); ok {
		return strings.Join(strings.Fields(s), " ")
	}
	return strings.Join(strings.Fields(n.String()), " ")
}

// field is the field of that name in the language.
func field(t reflect.Type, name string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if y := f.Tag.Get("yaml"); y != "" && y == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func names(t reflect.Type) []string {
	var list []string
	for f := range t.Fields() {
		if y := f.Tag.Get("yaml"); y != "" {
			list = append(list, y)
		}
	}
	return list
}

func hint(name string, known []string) string {
	if n := config.Nearest(name, known); n != "" {
		return fmt.Sprintf(", did you mean %q?", n)
	}
	return "; there are " + strings.Join(known, ", ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
