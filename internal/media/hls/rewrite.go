package hls

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Rewrite gives every URI of a playlist to f, absolute, and puts what f returns
// in its place: URIs of variants, renditions and segments, of keys, maps, parts,
// hints, reports, session data, interstitials and the steering server, and of
// whatever else has an attribute whose name ends in URI and that says something.
// All other bytes stay.
// Where f returns "" the URI stays as it is written, be it relative; URIs that
// are not http or https (data, skd) are not shown to f.
//
// What is a reference to a variable in a URI is replaced by its value before f
// sees it. EXT-X-DEFINE itself stays, so a player that gets the result must find
// the parameters of QUERYPARAM in the URL that it asked for. Of the context Previous
// does not count.
//
// A playlist need not be free of contradictions to be rewritten, only legible.
func Rewrite(playlist []byte, c Context, f func(abs *url.URL) string) ([]byte, error) {
	if err := media.CheckBase(c.Base); err != nil {
		return nil, fmt.Errorf("rewrite HLS playlist: %w", err)
	}
	w := &rewriter{in: playlist, c: c, f: f}
	for l, err := range lines(playlist) {
		if err == nil {
			err = w.line(l)
		}
		if err != nil {
			return nil, fmt.Errorf("rewrite HLS playlist: %w", err)
		}
	}
	return append(w.out, w.in[w.done:]...), nil
}

type rewriter struct {
	in, out []byte
	done    int // bytes of in that are in out
	c       Context
	f       func(*url.URL) string
	vars    variables
}

func (w *rewriter) line(l line) error {
	if l.uri != "" {
		at := l.at + len(l.text) - len(l.uri)
		if err := w.uri(l.uri, at, false); err != nil {
			return l.err(err)
		}
		return nil
	}
	if !strings.Contains(l.value, "=") || l.tag == "EXTINF" {
		return nil
	}
	list, err := parseAttrs(l.value)
	if err != nil {
		if tags[l.tag].list == nil { // not a list of attributes, then
			return nil
		}
		return l.err(err)
	}
	if l.tag == "EXT-X-DEFINE" {
		if err := w.vars.define(list, w.c.Base, w.c.Variables); err != nil {
			return l.err(err)
		}
		return nil
	}
	for _, a := range list {
		if !a.quoted || !isURI(a.name) {
			continue
		}
		err := w.uri(a.value, l.at+len(l.text)-len(l.value)+a.from, true)
		if err != nil && isRead(l.tag, list, a.name) {
			return l.err(fmt.Errorf("%s: %w", a.name, err))
		}
	}
	return nil
}

func isURI(name string) bool {
	return name == "URI" || strings.HasSuffix(name, "-URI") || name == "X-ASSET-LIST"
}

// isRead is whether players and [Parse] follow the URI, so that one that says
// nothing is an error. Others stay as they are.
func isRead(tag string, list attrs, name string) bool {
	switch tag {
	case "EXT-X-CONTENT-STEERING":
		return name == "SERVER-URI"
	case "EXT-X-DATERANGE":
		return name == "X-ASSET-URI" || name == "X-ASSET-LIST"
	case "EXT-X-KEY", "EXT-X-SESSION-KEY":
		method, _ := list.find("METHOD")
		return name == "URI" && method.value != "NONE"
	case "EXT-X-STREAM-INF", "EXT-X-PART-INF", "EXT-X-SERVER-CONTROL", "EXT-X-SKIP":
		return false
	}
	return name == "URI" && tags[tag].list != nil
}

// uri puts another in the place of what is written at a place of the playlist.
func (w *rewriter) uri(written string, at int, quoted bool) error {
	ref, err := w.vars.expand(written)
	if err != nil {
		return err
	}
	if ref == "" {
		return nil
	}
	abs, err := media.Resolve(w.c.Base, ref)
	if errors.Is(err, media.ErrScheme) {
		return nil
	}
	if err != nil {
		return err
	}
	to := w.f(abs)
	switch {
	case to == "":
		return nil
	case strings.ContainsAny(to, "\r\n") || strings.Contains(to, "{$") || quoted && strings.Contains(to, `"`) || !quoted && strings.HasPrefix(to, "#"):
		return errors.New("the new URI has characters that cannot stand there")
	case len(w.out)+len(to) > media.MaxURLs:
		return fmt.Errorf("more than %d bytes", media.MaxURLs)
	}
	w.out = append(append(w.out, w.in[w.done:at]...), to...)
	w.done = at + len(written)
	return nil
}
