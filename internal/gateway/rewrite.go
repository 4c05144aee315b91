package gateway

import (
	"bytes"
	"errors"
	"net/url"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

// errNoPlaylist says that what was called a playlist is none.
var errNoPlaylist = errors.New("neither an HLS playlist nor an MPD, nor a steering manifest")

// rewrite puts f(URL) for the references of a playlist, an MPD or a steering manifest that
// came from base, and leaves those for which that is "". A media playlist may import
// variables.
func rewrite(base *url.URL, text []byte, variables map[string]string, f func(*url.URL) string) ([]byte, error) {
	start := bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	switch {
	case bytes.HasPrefix(start, []byte("#EXTM3U")):
		return hls.Rewrite(text, hls.Context{Base: base, Variables: variables}, f)
	case bytes.HasPrefix(start, []byte("<")) && bytes.Contains(start, []byte("<MPD")):
		return dash.Rewrite(text, base, f)
	case bytes.HasPrefix(start, []byte("{")):
		return media.RewriteSteering(text, base, f)
	}
	return nil, errNoPlaylist
}
