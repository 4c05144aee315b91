package steering

import (
	"bytes"
	"net/url"
	"slices"
	"strings"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

const (
	// maxPlaces bounds the places of one rendition, and maxHosts the hosts of all.
	maxPlaces = 8
	maxHosts  = 16 // of pathway clones as well
	// maxBytes bounds what is remembered of one presentation, in bytes of URLs and names;
	// what exceeds it is left out.
	maxBytes = 256 << 10
)

// layout is where the renditions of a presentation lie. Only those on the host that the
// playlist came from have groups: what it says of others is not its to say.
type layout struct {
	dash   bool
	host   string             // scheme and host of the playlist
	server string             // the steering server; "": none
	first  []string           // pathways to begin with
	groups map[string][]group // by rendition
	left   int                // bytes that may still be remembered
	known  map[string]group   // those that were read, by what is in them
}

// group are the places that have the same rendition, in the order of the playlist.
type group []member

// member is a place of a rendition: the URL of its media playlist, or a base URL.
type member struct {
	pathway, url string
	stable       string // ID by which pathway clones name it
	media        bool   // it is of EXT-X-MEDIA
}

// mayTell reports whether a playlist may say anything of places.
func mayTell(text []byte) bool {
	if bytes.Contains(text, []byte("<MPD")) {
		return bytes.Contains(text, []byte("<ContentSteering")) || bytes.Count(text, []byte("<BaseURL")) > 1
	}
	return bytes.Contains(text, []byte("#EXT-X-STREAM-INF"))
}

// read returns what a playlist that came from at says of places; nil for nothing.
func read(text []byte, at *url.URL) *layout {
	if !mayTell(text) {
		return nil
	}
	l := &layout{host: hostOf(media.Location(at)), groups: map[string][]group{}, left: maxBytes, known: map[string]group{}}
	if bytes.Contains(text, []byte("<MPD")) {
		m, err := dash.Parse(text, at)
		if err != nil {
			return nil
		}
		l.readDASH(m, at)
	} else {
		p, err := hls.Parse(text, hls.Context{Base: at})
		if err != nil || p.Multivariant == nil {
			return nil
		}
		l.readHLS(p.Multivariant)
	}
	l.known = nil
	if l.server == "" && len(l.groups) == 0 {
		return nil
	}
	return l
}

func (l *layout) readDASH(m *dash.MPD, at *url.URL) {
	l.dash = true
	if s := m.Steering; s != nil {
		l.server, l.first = s.URL, s.Default
	}
	for _, r := range m.Representations {
		var g group
		for _, b := range r.Bases {
			g = append(g, member{pathway: b.ServiceLocation, url: b.URL})
		}
		l.add(media.Location(at)+"#"+url.PathEscape(r.ID), g)
	}
}

func (l *layout) readHLS(m *hls.Multivariant) {
	if s := m.Steering; s != nil {
		l.server = s.URL
		if s.Pathway != "" {
			l.first = []string{s.Pathway}
		}
	}
	renditions := newRenditions(m)
	for _, variants := range m.Alternatives() {
		var g group
		for _, v := range variants {
			g = append(g, member{pathway: v.Pathway, url: v.URL, stable: v.StableID})
		}
		l.addToAll(g)
		for _, of := range []func(hls.Variant) string{
			func(v hls.Variant) string { return v.Audio }, func(v hls.Variant) string { return v.Video }, func(v hls.Variant) string { return v.Subtitles },
		} {
			for _, g := range renditions.of(variants, of) {
				l.addToAll(g)
			}
		}
	}
}

// renditions are those of EXT-X-MEDIA with a URL, by group.
type renditions struct {
	groups map[string][]hls.Rendition
	named  map[hls.Rendition]hls.Rendition // by what is the same at all places
	done   map[string]bool                 // groups whose variants are the same
}

func newRenditions(m *hls.Multivariant) *renditions {
	r := &renditions{map[string][]hls.Rendition{}, map[hls.Rendition]hls.Rendition{}, map[string]bool{}}
	for _, o := range m.Renditions {
		if _, twice := r.named[nameIn(o, o.Group)]; o.URL != "" && !twice {
			r.groups[o.Group] = append(r.groups[o.Group], o)
			r.named[nameIn(o, o.Group)] = o
		}
	}
	return r
}

// nameIn is what a rendition is known by in a group.
func nameIn(r hls.Rendition, in string) hls.Rendition {
	return hls.Rendition{Type: r.Type, Group: in, Name: r.Name, Language: r.Language}
}

// of are the places of the renditions of a kind that go with variants which are the same.
func (r *renditions) of(variants []hls.Variant, kind func(hls.Variant) string) (all []group) {
	key := ""
	for _, v := range variants {
		key += kind(v) + "\n"
	}
	if r.done[key] {
		return nil
	}
	r.done[key] = true
	for _, first := range r.groups[kind(variants[0])] {
		var g group
		for _, v := range variants[:min(len(variants), maxPlaces)] {
			if o, ok := r.named[nameIn(first, kind(v))]; ok {
				g = append(g, member{pathway: v.Pathway, url: o.URL, stable: o.StableID, media: true})
			}
		}
		all = append(all, g)
	}
	return all
}

// addToAll adds a group to the rendition as each of its media playlists has it.
func (l *layout) addToAll(g group) {
	for _, m := range g {
		l.add(m.url, g)
	}
}

// add adds a group to a rendition. One without a choice may get one by pathway clones.
func (l *layout) add(rendition string, g group) {
	if l.left <= 0 {
		return
	}
	var kept group
	size, key := len(rendition), ""
	for _, m := range g {
		if len(kept) == maxPlaces || slices.ContainsFunc(kept, func(o member) bool { return o.url == m.url }) {
			continue
		}
		kept = append(kept, m)
		key += m.pathway + "\n" + m.url + "\n" + m.stable + "\n"
	}
	if len(kept) < 2 && l.server == "" || hostOf(rendition) != l.host {
		return
	}
	if same, ok := l.known[key]; ok {
		kept = same
	} else {
		size += len(key)
	}
	if l.left < size {
		l.left = 0 // no more is looked at
		return
	}
	if slices.ContainsFunc(l.groups[rendition], func(o group) bool { return slices.Equal(o, kept) }) {
		return
	}
	l.left -= size
	l.known[key] = kept
	l.groups[rendition] = append(l.groups[rendition], kept)
}

// clone adds the pathways that a steering manifest makes of others, to what was read.
func (l *layout) clone(clones []media.Clone) map[string][]group {
	if len(clones) == 0 {
		return l.groups
	}
	clones = clones[:min(len(clones), maxHosts)]
	out, left := make(map[string][]group, len(l.groups)), l.left
	for rendition, groups := range l.groups {
		for _, g := range groups {
			g = slices.Clone(g)
			for _, c := range clones {
				if m, ok := g.clone(c, &left); ok {
					g = append(g, m)
				}
			}
			out[rendition] = append(out[rendition], g)
		}
	}
	return out
}

// clone makes the place of a pathway clone, if the group has that of its base. What it takes
// is taken from left, also where nothing comes of it: there are many renditions.
func (g group) clone(c media.Clone, left *int) (member, bool) {
	i := slices.IndexFunc(g, func(m member) bool { return m.pathway == c.Base })
	if *left < 0 || i < 0 || len(g) == maxPlaces || slices.ContainsFunc(g, func(m member) bool { return m.pathway == c.ID }) {
		return member{}, false
	}
	m := g[i]
	*left -= len(m.url) + len(c.ID) + len(c.Host)
	for k, v := range c.Params {
		*left -= len(k) + len(v)
	}
	if *left < 0 {
		return member{}, false
	}
	at, err := url.Parse(m.url)
	if err != nil {
		return member{}, false
	}
	byID := c.Variants
	if m.media {
		byID = c.Renditions
	}
	if m.url, err = c.URL(at, byID, m.stable); err != nil {
		return member{}, false
	}
	*left -= len(m.url)
	m.pathway = c.ID
	return m, true
}

// own is the place that a segment of a rendition is at; −1 for none.
func (g group) own(rendition, segment string) int {
	for _, is := range []func(member) bool{
		func(m member) bool { return m.url == rendition },
		func(m member) bool { return strings.HasPrefix(segment, dir(m.url)+"/") },
		func(m member) bool { return hostOf(m.url) == hostOf(segment) },
	} {
		if i := slices.IndexFunc(g, is); i >= 0 {
			return i
		}
	}
	return -1
}

// there is where a place has what another has at a URL; false where nothing tells.
func there(segment, from, to string) (u string, ok bool) {
	from, to = roots(from, to)
	rest, ok := strings.CutPrefix(segment, from)
	if !ok || !strings.HasPrefix(rest, "/") {
		return "", false
	}
	return to + rest, true
}

// roots are what is different in the URLs of two places: they end before the path that
// both have, at the least before the last element of it.
func roots(a, b string) (string, string) {
	leastA, leastB := len(hostOf(a)), len(hostOf(b))
	a, b = dir(a), dir(b)
	for {
		i, j := strings.LastIndexByte(a, '/'), strings.LastIndexByte(b, '/')
		if i < leastA || j < leastB || a[i:] != b[j:] {
			return a, b
		}
		a, b = a[:i], b[:j]
	}
}

// dir is a URL up to the last slash of its path, without that.
func dir(s string) string {
	host := hostOf(s)
	path, _, _ := strings.Cut(s[len(host):], "?")
	return host + path[:max(0, strings.LastIndexByte(path, '/'))]
}

// hostOf is the scheme and host that a URL begins with.
func hostOf(s string) string {
	i := strings.Index(s, "://")
	if i < 0 {
		return s
	}
	if n := strings.IndexAny(s[i+3:], "/?#"); n >= 0 {
		return s[:i+3+n]
	}
	return s
}
