package hls

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/tandem-cdn/tandem/internal/media"
)

// ErrDelta says that a delta update (EXT-X-SKIP) lacks the playlist that it
// updates. Ask for the whole playlist.
var ErrDelta = errors.New("delta update of a playlist that is not at hand")

// Context is what a playlist refers to beyond its own text.
type Context struct {
	Base *url.URL // the playlist's own URL, after redirects
	// Variables are those of the multivariant playlist, for EXT-X-DEFINE:IMPORT.
	Variables map[string]string
	// Previous is the same media playlist as it was loaded before, for delta
	// updates; nil makes of them [ErrDelta].
	Previous *Media
}

// Parse reads a playlist. Errors in lines are of type [*media.Error].
func Parse(playlist []byte, c Context) (*Playlist, error) {
	if err := media.CheckBase(c.Base); err != nil {
		return nil, fmt.Errorf("HLS playlist: %w", err)
	}
	p := &parser{c: c, seen: map[string]bool{}, urlsLeft: media.MaxURLs}
	for l, err := range lines(playlist) {
		if err == nil {
			err = p.line(l)
		}
		if err != nil {
			return nil, fmt.Errorf("HLS playlist: %w", err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("HLS playlist: %w", err)
	}
	return &p.out, nil
}

type parser struct {
	c        Context
	now      line // the one that is being read
	vars     variables
	seen     map[string]bool // tags that there may be one of
	urlsLeft int
	out      Playlist

	stream *Variant // EXT-X-STREAM-INF that waits for its URI
	seg    segmenter
}

// kind is the kind of playlist that a tag belongs to.
type kind int

const (
	either kind = iota
	multivariantOnly
	mediaOnly
)

// tag is how to read a tag: its value or its attributes.
type tag struct {
	kind  kind
	once  bool
	value func(*parser, string) error
	list  func(*parser, attrs) error
}

var tags = map[string]tag{
	"EXT-X-VERSION":              {either, true, (*parser).version, nil},
	"EXT-X-INDEPENDENT-SEGMENTS": {either, false, (*parser).independent, nil},
	"EXT-X-DEFINE":               {either, false, nil, (*parser).define},

	"EXT-X-MEDIA":              {multivariantOnly, false, nil, (*parser).rendition},
	"EXT-X-STREAM-INF":         {multivariantOnly, false, nil, (*parser).streamInf},
	"EXT-X-I-FRAME-STREAM-INF": {multivariantOnly, false, nil, (*parser).iFrameStreamInf},
	"EXT-X-SESSION-DATA":       {multivariantOnly, false, nil, (*parser).sessionData},
	"EXT-X-SESSION-KEY":        {multivariantOnly, false, nil, (*parser).sessionKey},
	"EXT-X-CONTENT-STEERING":   {multivariantOnly, true, nil, (*parser).steering},

	"EXT-X-TARGETDURATION":         {mediaOnly, true, (*parser).targetDuration, nil},
	"EXT-X-MEDIA-SEQUENCE":         {mediaOnly, true, (*parser).mediaSequence, nil},
	"EXT-X-DISCONTINUITY-SEQUENCE": {mediaOnly, true, (*parser).discontinuitySequence, nil},
	"EXT-X-PLAYLIST-TYPE":          {mediaOnly, true, (*parser).playlistType, nil},
	"EXT-X-I-FRAMES-ONLY":          {mediaOnly, false, (*parser).iFramesOnly, nil},
	"EXT-X-ENDLIST":                {mediaOnly, false, (*parser).endList, nil},
	"EXT-X-PART-INF":               {mediaOnly, true, nil, (*parser).partInf},
	"EXT-X-SERVER-CONTROL":         {mediaOnly, true, nil, (*parser).serverControl},
	"EXT-X-SKIP":                   {mediaOnly, true, nil, (*parser).skip},
	"EXTINF":                       {mediaOnly, false, (*parser).inf, nil},
	"EXT-X-BYTERANGE":              {mediaOnly, false, (*parser).byteRange, nil},
	"EXT-X-DISCONTINUITY":          {mediaOnly, false, (*parser).discontinuity, nil},
	"EXT-X-GAP":                    {mediaOnly, false, (*parser).gap, nil},
	"EXT-X-PROGRAM-DATE-TIME":      {mediaOnly, false, (*parser).programDateTime, nil},
	"EXT-X-KEY":                    {mediaOnly, false, nil, (*parser).key},
	"EXT-X-MAP":                    {mediaOnly, false, nil, (*parser).initialization},
	"EXT-X-PART":                   {mediaOnly, false, nil, (*parser).part},
	"EXT-X-PRELOAD-HINT":           {mediaOnly, false, nil, (*parser).preloadHint},
	"EXT-X-RENDITION-REPORT":       {mediaOnly, false, nil, (*parser).renditionReport},
	"EXT-X-DATERANGE":              {mediaOnly, false, nil, (*parser).dateRange},

	// Not of the standard, and everywhere: where advertisements begin and end.
	"EXT-X-CUE-OUT":      {mediaOnly, false, (*parser).cueOut, nil},
	"EXT-X-CUE-OUT-CONT": {mediaOnly, false, (*parser).cueOut, nil},
	"EXT-X-CUE-IN":       {mediaOnly, false, (*parser).cueIn, nil},
}

func (p *parser) line(l line) error {
	p.now = l
	var err error
	if l.uri != "" {
		err = p.uriLine()
	} else if t, known := tags[l.tag]; known {
		err = p.tag(t)
	}
	if e := (*media.Error)(nil); err != nil && !errors.As(err, &e) {
		return l.err(err)
	}
	return err
}

func (p *parser) tag(t tag) error {
	if t.once && p.seen[p.now.tag] {
		return errors.New("the tag is there twice")
	}
	if t.once {
		p.seen[p.now.tag] = true
	}
	switch t.kind {
	case multivariantOnly:
		if p.out.Media != nil {
			return errors.New("a tag of multivariant playlists among those of a media playlist")
		}
		if p.out.Multivariant == nil {
			p.out.Multivariant = &Multivariant{}
		}
	case mediaOnly:
		if p.out.Multivariant != nil {
			return errors.New("a tag of media playlists among those of a multivariant playlist")
		}
		if p.out.Media == nil {
			p.out.Media = &Media{}
		}
	case either:
	}
	if t.value != nil {
		return t.value(p, p.now.value)
	}
	list, err := parseAttrs(p.now.value)
	if err != nil {
		return err
	}
	return t.list(p, list)
}

func (p *parser) uriLine() error {
	switch {
	case p.out.Media != nil:
		return p.segment()
	case p.stream != nil:
		u, err := p.resolve(p.now.uri)
		if err != nil {
			return err
		}
		p.stream.URL = u
		p.out.Multivariant.Variants = append(p.out.Multivariant.Variants, *p.stream)
		p.stream = nil
		return nil
	default:
		return errors.New("a URI with neither EXTINF nor EXT-X-STREAM-INF before it")
	}
}

func (p *parser) finish() error {
	p.out.Variables = p.vars.values
	switch {
	case p.out.Media != nil:
		return p.finishMedia()
	case p.stream != nil:
		return p.now.err(errors.New("the playlist ends after EXT-X-STREAM-INF, without the URI"))
	case p.out.Multivariant == nil:
		return errors.New("neither a variant nor EXT-X-TARGETDURATION: not a playlist that can be followed")
	}
	return nil
}

func (p *parser) version(s string) error {
	n, err := integer(s)
	if err != nil || n > 1000 {
		return errors.New("not a version")
	}
	p.out.Version = int(n)
	return nil
}

func (p *parser) independent(string) error {
	p.out.IndependentSegments = true
	return nil
}

func (p *parser) define(list attrs) error {
	return p.vars.define(list, p.c.Base, p.c.Variables)
}

// resolve makes a URI of the playlist absolute.
func (p *parser) resolve(ref string) (string, error) {
	ref, err := p.vars.expand(ref)
	if err != nil {
		return "", err
	}
	abs, err := media.Resolve(p.c.Base, ref)
	if err != nil {
		return "", err
	}
	u := media.Location(abs)
	if p.urlsLeft -= len(u); p.urlsLeft < 0 {
		return "", fmt.Errorf("more than %d bytes of URLs", media.MaxURLs)
	}
	return u, nil
}

// uri is the absolute URL of an attribute that has to be there.
func (p *parser) uri(list attrs, name string) (string, error) {
	a, ok := list.find(name)
	if !ok {
		return "", fmt.Errorf("no %s", name)
	}
	u, err := p.resolve(a.value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return u, nil
}

// str is a string attribute, empty where it is not there.
func (p *parser) str(list attrs, name string) (string, error) {
	a, _ := list.find(name)
	s, err := p.vars.expand(a.value)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// strs sets string attributes.
func (p *parser) strs(list attrs, to map[string]*string) error {
	for _, a := range list {
		dst, ok := to[a.name]
		if !ok {
			continue
		}
		var err error
		if *dst, err = p.str(list, a.name); err != nil {
			return err
		}
	}
	return nil
}
