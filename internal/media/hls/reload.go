package hls

import (
	"net/url"
	"strconv"
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
