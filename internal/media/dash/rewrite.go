package dash

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Rewrite gives the URLs of an MPD to f, absolute, and puts what f returns in
// their place: BaseURL, Location, PatchLocation, ContentSteering, xlink:href, the
// templates and URLs of segments, initialization and indices, and the servers of
// UTCTiming. All other bytes stay. Where f returns "" the URL stays as it is
// written, be it relative, and so does what resolves to no http or https URL.
//
// A relative path below a BaseURL is not shown to f, for it follows that, and
// with several of them it stands for several URLs. What f makes of a BaseURL
// must therefore end in the path that it was given, and what it makes of a
// template must keep the identifiers: take [url.URL.RequestURI], not Path. What
// begins at the root of a server, below several BaseURL, becomes that of the
// first.
//
// License servers are none of this. An MPD need not be free of contradictions to
// be rewritten, only well-formed.
func Rewrite(mpd []byte, base *url.URL, f func(abs *url.URL) string) ([]byte, error) {
	if err := media.CheckBase(base); err != nil {
		return nil, fmt.Errorf("rewrite MPD: %w", err)
	}
	w := &rewriter{in: mpd, base: base, f: f}
	if err := walk(mpd, w); err != nil {
		return nil, fmt.Errorf("rewrite MPD: %w", err)
	}
	return append(w.out, w.in[w.done:]...), nil
}

type rewriter struct {
	in, out []byte
	done    int // bytes of in that are in out
	base    *url.URL
	f       func(*url.URL) string
	levels  []level // of the elements that are open
}

// level is what base URLs there are for what is inside an element.
type level struct {
	bases []*url.URL
	based bool // by BaseURL, here or above
	own   bool // by one here
	late  bool // for another
}

// references are the attributes that are URLs or templates of them.
var references = map[string][]string{
	"SegmentTemplate":     {"media", "index", "initialization", "bitstreamSwitching"},
	"SegmentURL":          {"media", "index"},
	"Initialization":      {"sourceURL"},
	"RepresentationIndex": {"sourceURL"},
	"BitstreamSwitching":  {"sourceURL"},
	"InitializationSet":   {"initialization"},
}

// users are the elements that a BaseURL has to precede on their level.
var users = []string{"Period", "AdaptationSet", "Representation", "SegmentBase", "SegmentList", "SegmentTemplate"}

func (w *rewriter) open(path []*element) (bool, error) {
	e := path[len(path)-1]
	l := level{bases: []*url.URL{w.base}}
	if n := len(w.levels); n > 0 {
		up := &w.levels[n-1]
		up.late = up.late || slices.Contains(users, e.name)
		l = level{bases: up.bases, based: up.based}
	}
	for _, a := range e.attrs {
		if err := w.attr(e, a, l); err != nil {
			return false, fmt.Errorf("@%s: %w", a.name, err)
		}
	}
	if e.name == "EventStream" { // what is inside is not of this standard
		return false, nil
	}
	w.levels = append(w.levels, l)
	return true, nil
}

func (w *rewriter) attr(e *element, a attr, l level) error {
	switch {
	case e.name == "UTCTiming" && a.name == "value":
		if strings.Contains(e.str("schemeIdUri"), ":utc:http-") {
			return w.servers(a)
		}
	case e.name == "ContentSteering" && a.name == "proxyServerURL":
		return w.put(a.from, a.to, w.document(a.value))
	case a.name == "xlink:href", slices.Contains(references[e.name], a.name):
		to := w.below(a.value, l)
		if to != "" && !slices.Equal(identifiers(a.value), identifiers(to)) {
			return errors.New("the new URL has other identifiers than the template")
		}
		return w.put(a.from, a.to, to)
	}
	return nil
}

func (w *rewriter) close(path []*element) error {
	e := path[len(path)-1]
	w.levels = w.levels[:len(w.levels)-1]
	text := e.text()
	if text == "" {
		return nil
	}
	to := ""
	switch e.name {
	case "BaseURL":
		if len(w.levels) == 0 {
			return nil
		}
		var err error
		if to, err = w.baseURL(text, &w.levels[len(w.levels)-1]); err != nil {
			return err
		}
	case "ContentSteering":
		if e.str("proxyServerURL") == "" { // else it is for the proxy, which players tell of it
			to = w.document(text)
		}
	case "Location", "PatchLocation", "ImportedMPD":
		to = w.document(text)
	}
	raw := w.in[e.from:e.to]
	from := e.to - len(bytes.TrimLeft(raw, " \t\r\n"))
	return w.put(from, from+len(bytes.TrimSpace(raw)), to)
}

// baseURL is what becomes of a BaseURL. What is inside its level is resolved
// against it, below each of those of the level above.
func (w *rewriter) baseURL(text string, l *level) (string, error) {
	if l.late {
		return "", errLate
	}
	up := level{bases: []*url.URL{w.base}}
	if n := len(w.levels); n > 1 {
		up = w.levels[n-2]
	}
	if !l.own {
		l.bases, l.based, l.own = nil, true, true
	}
	for _, b := range up.bases {
		abs, err := media.Resolve(b, text)
		if err != nil {
			return "", err
		}
		if len(l.bases) < maxBases {
			l.bases = append(l.bases, abs)
		}
	}
	return w.below(text, up), nil
}

// below is the new URL of a reference inside an element; "" if it stays.
func (w *rewriter) below(ref string, l level) string {
	if l.based && !slices.ContainsFunc(l.bases, func(b *url.URL) bool { return !follows(b, ref) }) {
		return ""
	}
	abs, err := media.Resolve(l.bases[0], ref)
	if err != nil {
		return ""
	}
	return w.f(abs)
}

// document is the new URL of a reference that is relative to the MPD's own.
func (w *rewriter) document(ref string) string { return w.below(ref, level{bases: []*url.URL{w.base}}) }

// servers rewrites the list of URLs of a UTCTiming.
func (w *rewriter) servers(a attr) error {
	list := strings.Fields(a.value)
	changed := false
	for i, ref := range list {
		if to := w.document(ref); to != "" {
			list[i], changed = to, true
		}
	}
	if !changed {
		return nil
	}
	return w.put(a.from, a.to, strings.Join(list, " "))
}

// follows is whether a reference is a path that stays on the server of the base
// URL, whatever precedes the path of that.
func follows(base *url.URL, ref string) bool {
	path, _, _ := strings.Cut(ref, "?")
	path, _, _ = strings.Cut(path, "#")
	if strings.HasPrefix(ref, "/") || strings.Contains(path, ":") || strings.Contains(strings.ToLower(path), "%2e") {
		return false
	}
	depth := strings.Count(base.EscapedPath(), "/") - 1
	for _, s := range strings.Split(path, "/") {
		switch s {
		case "..":
			depth--
		case ".":
		default:
			depth++
		}
		if depth < 0 {
			return false
		}
	}
	return true
}

// identifiers are those of a template, in order, with their formats.
func identifiers(template string) []string {
	parts := strings.Split(template, "$")
	var ids []string
	for i := 1; i < len(parts)-1; i += 2 {
		ids = append(ids, parts[i])
	}
	return ids
}

func (w *rewriter) put(from, to int, s string) error {
	switch {
	case s == "":
		return nil
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("the new URL has characters that cannot stand there")
	case len(w.out)+len(s) > media.MaxURLs:
		return fmt.Errorf("more than %d bytes", media.MaxURLs)
	}
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return fmt.Errorf("the new URL: %w", err)
	}
	w.out = append(append(w.out, w.in[w.done:from]...), b.Bytes()...)
	w.done = to
	return nil
}
