package streams

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

// kind is the format of a playlist.
type kind int

const (
	none kind = iota
	isHLS
	isDASH
)

// kindOf tells playlists from other objects by the media type of the answer, or
// where that says nothing by the name. Only reading it will tell whether it is one.
func kindOf(key, mediaType string) kind {
	t, _, _ := strings.Cut(mediaType, ";")
	switch strings.ToLower(strings.TrimSpace(t)) {
	case "application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl":
		return isHLS
	case "application/dash+xml":
		return isDASH
	}
	p, _, _ := strings.Cut(key, "?")
	switch strings.ToLower(path.Ext(p)) {
	case ".m3u8":
		return isHLS
	case ".mpd":
		return isDASH
	}
	return none
}

// reader reads the loads of one playlist, each of which is held against the one
// before.
type reader struct {
	key  string
	base *url.URL // the playlist's URL
	host string   // scheme and host of that
	kind kind
	hls  *hls.Media    // as it was loaded last
	dash *dash.MPD     // likewise
	long time.Duration // of DASH, how long segments are
	old  time.Time     // since when loads have been old copies of that; zero: they are not
	// variables are those that a multivariant playlist defines, or whose multivariant
	// playlist does.
	variables map[string]string
}

func newReader(key string, k kind, public *url.URL) (*reader, error) {
	u, err := public.Parse(key)
	if err != nil {
		return nil, fmt.Errorf("playlist %.200q: %w", key, err)
	}
	return &reader{key: key, base: u, host: public.Scheme + "://" + public.Host, kind: k}, nil
}

// read reads a load. A multivariant playlist has no listing but children, the keys
// of its media playlists.
func (r *reader) read(b []byte, now time.Time) (l *listing, children []string, err error) {
	if r.kind == isDASH {
		l, err := r.readDASH(b, now)
		return l, nil, err
	}
	p, err := hls.Parse(b, hls.Context{Base: r.base, Variables: r.variables, Previous: r.hls})
	if err != nil {
		return nil, nil, err
	}
	if p.Multivariant != nil {
		r.variables = p.Variables
		return nil, r.children(p.Multivariant), nil
	}
	m := p.Media
	change := media.Continues
	if r.hls != nil {
		change, _ = hls.Compare(r.hls, m) // the error says more of the same
	}
	if change = r.judge(change, m.TargetDuration, now); change != media.Stale {
		r.hls = m
	}
	l = listHLS(m, change, r.host)
	if m.ServerControl.CanBlockReload && l.live {
		l.block = m.Reload(r.base).RequestURI()
	}
	return l, nil, nil
}

// leastOld is for how long copies of a playlist may be old, at least.
const leastOld = 2 * time.Second

// judge has a playlist that stays old for longer than it takes the slowest of several
// servers to catch up be one of an origin that began anew: what numbers and names have in
// common then is by chance.
func (r *reader) judge(change media.Change, target time.Duration, now time.Time) media.Change {
	switch {
	case change != media.Stale:
		r.old = time.Time{}
	case r.old.IsZero():
		r.old = now
	case now.Sub(r.old) >= max(leastOld, 3*target/2):
		r.old = time.Time{}
		return media.Restarted
	}
	return change
}

func listHLS(m *hls.Media, change media.Change, host string) *listing {
	l := &listing{
		change: change, live: !m.EndList, target: m.TargetDuration, pace: m.TargetDuration / 2, single: true, base: host, keys: m.Keys,
		renditions: []listed{{Segments: m.Segments}},
	}
	if m.PartTarget > 0 && l.live {
		l.pace = m.PartTarget
	}
	if m.Partial != nil {
		l.renditions[0].Segments = append(slices.Clip(m.Segments), *m.Partial)
	}
	// So renditions of one stream begin at about the same time.
	if s := m.TargetDuration.Seconds() * float64(m.MediaSequence); s < maxFirst.Seconds() {
		l.first = time.Duration(m.MediaSequence) * m.TargetDuration
	}
	return l
}

// maxFirst bounds the time at which a track begins: numbers may be anything.
const maxFirst = 100 * 365 * 24 * time.Hour

// children are the keys of the media playlists on this host.
func (r *reader) children(m *hls.Multivariant) []string {
	var urls []string
	for i := range m.Variants {
		urls = append(urls, m.Variants[i].URL)
	}
	for i := range m.Renditions {
		urls = append(urls, m.Renditions[i].URL)
	}
	var keys []string
	for _, u := range urls {
		key := nameOf(&media.Resource{URL: u}, r.host)
		if key != "" && len(keys) < maxChildren && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// maxChildren bounds the media playlists of a stream.
const maxChildren = 256
