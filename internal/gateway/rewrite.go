package gateway

import (
	"bytes"
	"errors"
	"net/url"

	"github.com/tandem-cdn/tandem/internal/media/hls"
)

// errNoPlaylist says that what was called a playlist is none that can be rewritten.
var errNoPlaylist = errors.New("not an HLS playlist")

// rewrite puts f(URL) for the references of an HLS playlist that came from base, "" for
// those that stay.
func rewrite(base *url.URL, text []byte, f func(*url.URL) string) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), []byte("#EXTM3U")) {
		return nil, errNoPlaylist
	}
	return hls.Rewrite(text, base, f)
}
