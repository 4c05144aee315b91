package dash

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/internal/media"
)

const xlink = "http://www.w3.org/1999/xlink"

// attr is an attribute; from and to bound its value, without quotes, in the
// document. Those of the xlink namespace have "xlink:" in front of the name.
type attr struct {
	name, value string
	from, to    int
}

// element is one element of the MPD's own namespace. At its end where its inside
// is, and of those written what it says, is known, too.
type element struct {
	name     string
	attrs    []attr
	line     int
	from, to int // of what is between start and end tag
	chars    []byte
}

// written are the elements whose text is a URL.
var written = []string{"BaseURL", "Location", "PatchLocation", "ContentSteering", "ImportedMPD"}

func (e *element) text() string { return string(bytes.TrimSpace(e.chars)) }

func (e *element) get(name string) (string, bool) {
	for _, a := range e.attrs {
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

func (e *element) str(name string) string {
	s, _ := e.get(name)
	return s
}

func (e *element) err(err error) error {
	if at := (*media.Error)(nil); errors.As(err, &at) {
		return err
	}
	return &media.Error{Line: e.line, Tag: e.name, Err: err}
}

// visitor is what walk calls. Of elements for which open says no, nothing inside
// is visited.
type visitor interface {
	open(path []*element) (enter bool, err error)
	close(path []*element) error
}

// walker reads a document, bounded in depth, elements and lengths.
type walker struct {
	in       []byte
	d        *xml.Decoder
	v        visitor
	space    string     // namespace of the root
	path     []*element // those that are open
	skip     int        // depth inside an element that is not visited
	elements int
}

// walk visits the elements of an MPD in order.
func walk(in []byte, v visitor) error {
	if len(in) > media.MaxPlaylist {
		return fmt.Errorf("%d bytes, the limit is %d", len(in), media.MaxPlaylist)
	}
	w := &walker{in: in, d: xml.NewDecoder(bytes.NewReader(in)), v: v}
	for {
		from := int(w.d.InputOffset())
		line, _ := w.d.InputPos()
		tok, err := w.d.Token()
		if errors.Is(err, io.EOF) {
			if w.space == "" && w.elements == 0 {
				return errors.New("no MPD element")
			}
			return nil
		}
		if err == nil {
			err = w.token(tok, from, line)
		}
		if err != nil {
			return syntax(err, line)
		}
	}
}

func syntax(err error, line int) error {
	if se := (*xml.SyntaxError)(nil); errors.As(err, &se) {
		return &media.Error{Line: se.Line, Err: fmt.Errorf("XML: %.200s", se.Msg)}
	}
	if at := (*media.Error)(nil); errors.As(err, &at) {
		return err
	}
	return &media.Error{Line: line, Err: err}
}

func (w *walker) token(tok xml.Token, from, line int) error {
	switch tok := tok.(type) {
	case xml.Directive:
		return errors.New("a DTD or other declaration: an MPD has none")
	case xml.StartElement:
		return w.start(tok, from, line)
	case xml.EndElement:
		if w.skip > 0 {
			w.skip--
			return nil
		}
		e := w.path[len(w.path)-1]
		e.to = from
		if err := w.v.close(w.path); err != nil {
			return e.err(err)
		}
		w.path = w.path[:len(w.path)-1]
	case xml.CharData:
		if w.skip > 0 || len(w.path) == 0 {
			return nil
		}
		e := w.path[len(w.path)-1]
		if !slices.Contains(written, e.name) {
			return nil
		}
		if len(e.chars)+len(tok) > maxText {
			return e.err(fmt.Errorf("more than %d bytes of text", maxText))
		}
		e.chars = append(e.chars, tok...)
	}
	return nil
}

func (w *walker) start(tok xml.StartElement, from, line int) error {
	if w.elements++; w.elements > maxElements {
		return fmt.Errorf("more than %d elements", maxElements)
	}
	if len(w.path)+w.skip >= maxDepth {
		return fmt.Errorf("elements more than %d deep", maxDepth)
	}
	if w.elements == 1 {
		if tok.Name.Local != "MPD" {
			return errors.New("the first element is not MPD: this is no DASH manifest")
		}
		w.space = tok.Name.Space
	} else if len(w.path) == 0 {
		return errors.New("a second root element")
	}
	if w.skip > 0 || tok.Name.Space != w.space {
		w.skip++
		return nil
	}
	e := &element{name: tok.Name.Local, line: line, from: int(w.d.InputOffset())}
	if err := e.read(tok.Attr, w.in[from:e.from], from); err != nil {
		return e.err(err)
	}
	w.path = append(w.path, e)
	enter, err := w.v.open(w.path)
	if err != nil {
		return e.err(err)
	}
	if !enter {
		w.path = w.path[:len(w.path)-1]
		w.skip++
	}
	return nil
}

// read takes the attributes, and finds them in the text of the start tag, which
// has them in the same order.
func (e *element) read(attrs []xml.Attr, tag []byte, at int) error {
	if len(attrs) > maxAttributes {
		return fmt.Errorf("more than %d attributes", maxAttributes)
	}
	i := 0
	for n, a := range attrs {
		eq := bytes.IndexByte(tag[i:], '=')
		if eq < 0 {
			return errors.New("attributes that cannot be found")
		}
		i += eq + 1
		i += len(tag[i:]) - len(bytes.TrimLeft(tag[i:], " \t\r\n"))
		if i >= len(tag) {
			return errors.New("attributes that cannot be found")
		}
		end := bytes.IndexByte(tag[i+1:], tag[i])
		if end < 0 {
			return errors.New("attributes that cannot be found")
		}
		from, to := i+1, i+1+end
		i = to + 1
		if to-from > maxText {
			return fmt.Errorf("an attribute of %d bytes, the limit is %d", to-from, maxText)
		}
		for _, b := range attrs[:n] {
			if a.Name == b.Name {
				return fmt.Errorf("%.64s is there twice", a.Name.Local)
			}
		}
		name := a.Name.Local
		switch {
		case a.Name.Space == xlink:
			name = "xlink:" + name
		case a.Name.Space != "":
			continue
		}
		e.attrs = append(e.attrs, attr{name: name, value: strings.TrimSpace(a.Value), from: at + from, to: at + to})
	}
	return nil
}
