package hls

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

// Reload is the URL to load the playlist from the next time: where the server can
// block reloads it asks for the first segment or part that is not listed, to be
// answered when that is there, and where it can skip, for a delta update (§6.2.5).
// u is the URL without such directives, and stays as it is.
func (m *Media) Reload(u *url.URL) *url.URL {
	var directives string
	if m.ServerControl.CanBlockReload && !m.EndList {
		directives = "&_HLS_msn=" + strconv.FormatUint(m.MediaSequence+uint64(len(m.Segments)), 10)
		if m.PartTarget > 0 {
			part := 0
			if m.Partial != nil {
				part = len(m.Partial.Parts)
			}
			directives += "&_HLS_part=" + strconv.Itoa(part)
		}
	}
	switch {
	case m.ServerControl.CanSkipUntil == 0 || m.EndList:
	case m.ServerControl.CanSkipDateRanges:
		directives += "&_HLS_skip=v2"
	default:
		directives += "&_HLS_skip=YES"
	}
	if directives == "" {
		return u
	}
	v := *u
	if v.RawQuery == "" {
		directives = directives[1:]
	}
	v.RawQuery += directives
	return &v
}

// Plain is the URL of a playlist, or the path and query of one, without what
// low-latency players put into the query to say which state of it they want (§6.2.5),
// and whether that changed it.
func Plain(ref string) (string, bool) {
	p, query, ok := strings.Cut(ref, "?")
	if !ok || !strings.Contains(query, "_HLS_") {
		return ref, false
	}
	fields := strings.Split(query, "&")
	kept := slices.DeleteFunc(fields, func(f string) bool {
		name, _, _ := strings.Cut(f, "=")
		return name == "_HLS_msn" || name == "_HLS_part" || name == "_HLS_skip"
	})
	if len(kept) == 0 {
		return p, true
	}
	plain := p + "?" + strings.Join(kept, "&")
	return plain, plain != ref
}

// Hints are the URLs of the parts that a playlist hints at (§4.4.5.3), and the part
// target duration: players ask for them before they are there. What cannot be read is
// left out.
func Hints(playlist []byte, base *url.URL) (urls []string, target time.Duration) {
	for l, err := range lines(playlist) {
		if err != nil {
			break
		}
		if l.tag != "EXT-X-PRELOAD-HINT" && l.tag != "EXT-X-PART-INF" {
			continue
		}
		list, err := parseAttrs(l.value)
		if err != nil {
			continue
		}
		if l.tag == "EXT-X-PART-INF" {
			if d, err := list.seconds("PART-TARGET"); err == nil {
				target = d
			}
			continue
		}
		kind, _ := list.find("TYPE")
		ref, _ := list.find("URI")
		if abs, err := media.Resolve(base, ref.value); err == nil && kind.value == "PART" && len(urls) < maxHints {
			urls = append(urls, media.Location(abs))
		}
	}
	return urls, target
}

// maxHints bounds the hints of a playlist that are looked at.
const maxHints = 16
