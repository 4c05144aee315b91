package gateway

import (
	"bytes"
	"hash/maphash"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/media/hls"
)

// maxDefining bounds the multivariant playlists whose variables are remembered.
const maxDefining = 64

// variables are those that multivariant playlists have defined: their media playlists may
// import them (EXT-X-DEFINE).
type variables struct {
	seed maphash.Seed

	mu    sync.Mutex
	byURL map[string]*defining
}

// defining is a multivariant playlist with variables.
type defining struct {
	host   string // with its scheme
	values map[string]string
	of     map[uint64]bool // URLs of its media playlists, hashed
	came   time.Time
}

func newVariables() *variables {
	return &variables{seed: maphash.MakeSeed(), byURL: map[string]*defining{}}
}

// saw remembers the variables of a playlist that came from at, if it is such a one.
func (v *variables) saw(at *url.URL, playlist []byte) {
	if !bytes.Contains(playlist, []byte("#EXT-X-DEFINE")) || !bytes.Contains(playlist, []byte("#EXT-X-STREAM-INF")) {
		return
	}
	p, err := hls.Parse(playlist, hls.Context{Base: at})
	if err != nil || p.Multivariant == nil {
		return
	}
	d := &defining{host: at.Scheme + "://" + at.Host, values: p.Variables, of: map[uint64]bool{}, came: time.Now()}
	for i := range p.Multivariant.Variants {
		d.of[v.key(p.Multivariant.Variants[i].URL)] = true
	}
	for i := range p.Multivariant.Renditions {
		d.of[v.key(p.Multivariant.Renditions[i].URL)] = true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	key := at.String()
	if v.byURL[key] == nil && len(v.byURL) >= maxDefining {
		oldest := ""
		for k, o := range v.byURL {
			if oldest == "" || o.came.Before(v.byURL[oldest].came) {
				oldest = k
			}
		}
		delete(v.byURL, oldest)
	}
	v.byURL[key] = d
}

// key stands for the URL of a media playlist, without what players add to its query.
func (v *variables) key(s string) uint64 {
	path, query, _ := strings.Cut(s, "?")
	if strings.Contains(query, "_HLS_") {
		query = strings.Join(slices.DeleteFunc(strings.Split(query, "&"), func(f string) bool { return strings.HasPrefix(f, "_HLS_") }), "&")
	}
	return maphash.String(v.seed, path+"?"+query)
}

// of are the variables that a media playlist may import: those of the multivariant
// playlist that has named it last, of its own host if there is one, so that others do not
// say what it means. They are not to be changed.
func (v *variables) of(at *url.URL) map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, host := v.key(at.String()), at.Scheme+"://"+at.Host
	var last *defining
	for _, d := range v.byURL {
		if !d.of[key] || last != nil && last.host == host && d.host != host {
			continue
		}
		if last == nil || d.came.After(last.came) || last.host != host && d.host == host {
			last = d
		}
	}
	if last == nil {
		return nil
	}
	return last.values
}
