package edge

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/edge/signedurl"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// web is an origin of a few resources.
type web struct {
	mu  sync.Mutex
	has map[string]resource
	got map[string]int // requests
}

type resource struct {
	body   string
	fields []string // "Name: value"
	status int      // 200 if 0
}

func newWeb(t *testing.T) (*web, string) {
	w := &web{has: map[string]resource{}, got: map[string]int{}}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	return w, s.URL
}

func (w *web) put(path, body string, fields ...string) {
	w.set(path, resource{body: body, fields: fields})
}

func (w *web) set(path string, r resource) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.has[path] = r
}

func (w *web) asked(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got[path]
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	res, ok := w.has[r.URL.RequestURI()]
	w.got[r.URL.RequestURI()]++
	w.mu.Unlock()
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(res.body))))
	rw.Header().Set("Cache-Control", "max-age=0")
	for _, f := range res.fields {
		name, value, _ := strings.Cut(f, ": ")
		rw.Header().Set(name, value)
	}
	rw.Header().Set("Content-Length", fmt.Sprint(len(res.body)))
	if res.status != 0 {
		rw.WriteHeader(res.status)
	}
	fmt.Fprint(rw, res.body)
}

const head = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n"

// vod is a playlist of these segments.
func vod(segments ...string) string {
	var b strings.Builder
	b.WriteString(head)
	for _, s := range segments {
		fmt.Fprintf(&b, "#EXTINF:4,\n%s\n", s)
	}
	return b.String() + "#EXT-X-ENDLIST\n"
}

// What may not be in a track is not, whatever a playlist says, and does not keep
// the rest out.
func TestNeverInATrack(t *testing.T) {
	w, origin := newWeb(t)
	for _, s := range []string{"/good.ts", "/last.ts", "/key", "/map.mp4", "/whole.mp4", "/ad.ts", "/gap.ts"} {
		w.put(s, "bytes of "+s)
	}
	w.put("/private.ts", "a", "Cache-Control: private")
	w.put("/secret.ts", "a", "Cache-Control: no-store")
	w.put("/cookie.ts", "a", "Set-Cookie: viewer=1")
	w.put("/vary.ts", "a", "Vary: *")
	w.put("/empty.ts", "")
	w.set("/loop.ts", resource{status: 302, fields: []string{"Location: /loop.ts"}})
	w.set("/away.ts", resource{status: 301, fields: []string{"Location: http://other.invalid/a.ts"}})
	w.set("/forbidden.ts", resource{status: 403})
	e, base := start(t, Config{Origin: origin})
	for name, c := range map[string]struct {
		playlist string
		want     string
	}{
		"private":        {vod("private.ts", "good.ts", "secret.ts", "cookie.ts", "vary.ts", "last.ts"), "/good.ts /last.ts"},
		"refused":        {vod("loop.ts", "away.ts", "none.ts", "forbidden.ts", "empty.ts", "last.ts"), "/last.ts"},
		"hosts":          {vod("http://other.invalid/good.ts", origin+"/good.ts", "//other.invalid/good.ts", "last.ts"), "/last.ts"},
		"keys":           {strings.Replace(vod("good.ts", "last.ts"), "#EXTINF", `#EXT-X-KEY:METHOD=AES-128,URI="key"`+"\n#EXTINF", 1), "/good.ts /last.ts"},
		"key as segment": {strings.Replace(vod("good.ts", "key", "last.ts"), "#EXTINF", `#EXT-X-KEY:METHOD=AES-128,URI="key"`+"\n#EXTINF", 1), "/good.ts /last.ts"},
		"key as map":     {strings.Replace(vod("good.ts"), "#EXTINF", `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key"`+"\n"+`#EXT-X-MAP:URI="map.mp4"`+"\n#EXTINF", 1), "/map.mp4 /good.ts"},
		"ranges":         {head + "#EXTINF:4,\n#EXT-X-BYTERANGE:3@0\nwhole.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:3\nwhole.mp4\n#EXTINF:4,\nlast.ts\n#EXT-X-ENDLIST\n", "/last.ts"},
		"gaps":           {head + "#EXT-X-GAP\n#EXTINF:4,\ngap.ts\n#EXTINF:4,\nlast.ts\n#EXT-X-ENDLIST\n", "/last.ts"},
		"ads":            {head + "#EXT-X-CUE-OUT\n#EXTINF:4,\nad.ts\n#EXT-X-CUE-IN\n#EXTINF:4,\nlast.ts\n#EXT-X-ENDLIST\n", "/last.ts"},
		"twice":          {vod("good.ts", "good.ts", "last.ts"), "/good.ts /last.ts"},
		"names":          {vod("last.ts", "a b.ts", "ä.ts", "last.ts?"+strings.Repeat("x", 3000)), "/last.ts"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.put("/"+strings.ReplaceAll(name, " ", "-")+".m3u8", c.playlist)
			url := base + "/" + strings.ReplaceAll(name, " ", "-") + ".m3u8"
			v := view(t, e, base, tracksOf(t, url, 1)[0])
			want := strings.Fields(c.want)
			until(t, "the segments", func() bool { v.more(1); next, _ := v.track.Next(); return next.Segment >= len(want) })
			sameNames(t, v.check(origin), want)
		})
	}
	t.Cleanup(func() {
		if n := w.asked("/key"); n > 0 {
			t.Errorf("the key was asked for %d times", n)
		}
	})
}

// Playlists that are no playlists, or not for everybody, are served as they are and
// have no track.
func TestNotFollowed(t *testing.T) {
	w, origin := newWeb(t)
	w.put("/a.ts", "bytes")
	_, base := start(t, Config{Origin: origin})
	for name, r := range map[string]resource{
		"private":    {body: vod("a.ts"), fields: []string{"Cache-Control: private"}},
		"no-store":   {body: vod("a.ts"), fields: []string{"Cache-Control: no-store"}},
		"cookie":     {body: vod("a.ts"), fields: []string{"Set-Cookie: viewer=1"}},
		"encoded":    {body: vod("a.ts"), fields: []string{"Content-Encoding: br"}},
		"text":       {body: "no playlist"},
		"empty":      {},
		"negative":   {body: strings.Replace(vod("a.ts"), "EXTINF:4", "EXTINF:-4", 1)},
		"endless":    {body: strings.Replace(vod("a.ts"), "EXTINF:4", "EXTINF:1e300", 1)},
		"large":      {body: head + strings.Repeat("# \n", 4<<20) + "#EXTINF:4,\na.ts\n"},
		"missing":    {status: 404},
		"redirected": {status: 302, fields: []string{"Location: /redirected.m3u8"}},
		"only-other": {body: vod("http://other.invalid/a.ts")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.set("/"+name+".m3u8", r)
			url := base + "/" + name + ".m3u8"
			for range 3 {
				a := get(t, url)
				if r.status == 0 && (a.Status != 200 || string(a.Body) != r.body) {
					t.Fatalf("%d with %d bytes, want the %d of the origin", a.Status, len(a.Body), len(r.body))
				}
				paths := trackPaths(a)
				if len(paths) > 0 {
					t.Fatalf("tracks: %v", paths)
				}
				pause := time.NewTimer(50 * time.Millisecond) // for the edge to read it
				<-pause.C
			}
		})
	}
}

// A segment that changes under its URL ends the track, and the next one has the new
// bytes.
func TestSegmentChanges(t *testing.T) {
	w, origin := newWeb(t)
	w.put("/a.m3u8", vod("1.ts", "2.ts"))
	w.put("/1.ts", "one")
	w.put("/2.ts", "two")
	e, base := start(t, Config{Origin: origin})
	path := tracksOf(t, base+"/a.m3u8", 1)[0]
	v := view(t, e, base, path)
	v.toEnd()
	v.check(origin)

	w.put("/1.ts", "one", `ETag: "renamed"`) // the same bytes by another name are no change
	get(t, base+"/1.ts")
	until(t, "the edge looks", func() bool { return w.asked("/1.ts") >= 2 })
	until(t, "it has looked", func() bool { // until when it names none
		now := trackPaths(get(t, base+"/a.m3u8"))
		if len(now) > 0 && now[0] != path {
			t.Fatalf("the track is %v, it was %s", now, path)
		}
		return len(now) == 1
	})

	w.put("/1.ts", "another")
	get(t, base+"/1.ts")
	var next []string
	until(t, "another track", func() bool {
		next = trackPaths(get(t, base+"/a.m3u8"))
		return len(next) == 1 && next[0] != path
	})
	other := view(t, e, base, next[0])
	other.toEnd()
	sameNames(t, other.check(origin), []string{"/1.ts", "/2.ts"})
	if _, ended := v.track.Next(); !ended || v.more(0) != 200 {
		t.Error("the first track has not ended, or is gone at once")
	}
}

// A playlist that names other segments under the same numbers does likewise.
func TestPlaylistContradicts(t *testing.T) {
	w, origin := newWeb(t)
	for _, s := range []string{"/1.ts", "/2.ts", "/3.ts"} {
		w.put(s, "bytes of "+s)
	}
	w.put("/a.m3u8", vod("1.ts", "2.ts"))
	e, base := start(t, Config{Origin: origin})
	path := tracksOf(t, base+"/a.m3u8", 1)[0]
	v := view(t, e, base, path)
	v.toEnd()
	w.put("/a.m3u8", vod("1.ts", "3.ts"))
	var next []string
	until(t, "another track", func() bool {
		next = trackPaths(get(t, base+"/a.m3u8"))
		return len(next) == 1 && next[0] != path
	})
	other := view(t, e, base, next[0])
	other.toEnd()
	sameNames(t, other.check(origin), []string{"/1.ts", "/3.ts"})
}

// What clients ask of tracks and should not.
func TestTrackRequests(t *testing.T) {
	w, origin := newWeb(t)
	w.put("/a.m3u8", vod("1.ts"))
	w.put("/1.ts", "one")
	e, base := start(t, Config{Origin: origin, AllowOrigin: "*"})
	path := tracksOf(t, base+"/a.m3u8", 1)[0]
	view(t, e, base, path).toEnd()
	none := path[:len(path)-64] + strings.Repeat("0", 64)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", path, 200},
		{"POST", path, 405},
		{"GET", path + "/pages?from=0", 200},
		{"HEAD", path + "/pages?from=0", 200},
		{"GET", path + "/pages?from=1&wait=25", 200}, // which tells the end
		{"GET", path + "/pages?from=2", 404},
		{"GET", path + "/pages", 400},
		{"GET", path + "/pages?from=-1", 400},
		{"GET", path + "/pages?from=0&wait=x", 400},
		{"GET", path + "/pages?from=99999999999", 400},
		{"GET", path + "/", 404},
		{"GET", path + "/x", 404},
		{"GET", path[:len(path)-1], 404},
		{"GET", none, 404},
		{"GET", none + "/pages?from=0&wait=25", 404},
	} {
		if a := do(t, c.method, base+c.path, nil); a.Status != c.status || a.Header.Get("Access-Control-Allow-Origin") != "*" && c.status == 200 {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, a.Status, c.status)
		}
	}
}

// An edge that is told not to, or may not share, follows nothing.
func TestStreamsOff(t *testing.T) {
	w, origin := newWeb(t)
	w.put("/a.m3u8", vod("1.ts"), "Link: </.well-known/tandem/track/"+strings.Repeat("0", 64)+`>; rel="describedby"; type="application/vnd.tandem.track"`)
	w.put("/1.ts", "one")
	for _, c := range []Config{{NoStreams: true}, {Policy: wire.Policy{P2P: wire.P2POff}}} {
		c.Origin = origin
		_, base := start(t, c)
		for range 3 {
			if paths := trackPaths(get(t, base+"/a.m3u8")); len(paths) > 0 {
				t.Errorf("tracks %v", paths)
			}
		}
		if n := w.asked("/1.ts"); n > 0 {
			t.Errorf("the segment was asked for %d times", n)
		}
	}
}

// Where URLs are signed, whoever may have the playlist learns of its tracks and gets
// a grant, and nobody else.
func TestTracksOfSignedURLs(t *testing.T) {
	w, origin := newWeb(t)
	w.put("/a.m3u8", vod("1.ts"))
	w.put("/1.ts", "one")
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	e, base := start(t, Config{Origin: origin, SignedURLs: &signedurl.Verifier{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}})
	u, err := url.Parse(base + "/a.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signedurl.Sign(u, key, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	v := view(t, e, base, tracksOf(t, signed.String(), 1)[0])
	v.toEnd()
	sameNames(t, v.check(origin), []string{"/1.ts"})
	if a := get(t, base+"/a.m3u8"); a.Status != 403 || len(trackPaths(a)) > 0 {
		t.Errorf("unsigned: %d with tracks %v", a.Status, trackPaths(a))
	}
	for at, want := range map[string]int{signed.String(): 200, base + "/a.m3u8": 403} {
		body := fmt.Sprintf(`{"object":%q,"key":%q,"url":%q}`, v.track.Header.Stream, wire.Key{1}, at)
		a := do(t, "POST", base+"/.well-known/tandem/grants", strings.NewReader(body), "Content-Type: application/json")
		if a.Status != want {
			t.Errorf("grant for %s: %d, want %d", at, a.Status, want)
		}
	}
}

// An edge that is to end keeps nobody waiting.
func TestEndWhileWaiting(t *testing.T) {
	w, origin := newWeb(t)
	w.put("/a.m3u8", strings.TrimSuffix(vod("1.ts"), "#EXT-X-ENDLIST\n"))
	w.put("/1.ts", "one")
	e, err := New(Config{Origin: origin, Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(e.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	path := tracksOf(t, s.URL+"/a.m3u8", 1)[0]
	until(t, "the segment", func() bool { return get(t, s.URL+path+"/pages?from=0").Status == 200 })
	answered := make(chan int, 1)
	go func() { answered <- get(t, s.URL+path+"/pages?from=1&wait=25").Status }()
	cancel()
	select {
	case status := <-answered:
		if status != 204 {
			t.Errorf("status %d", status)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits")
	}
	s.Close()
	if err := errors.Join(<-done, e.Close()); err != nil {
		t.Error(err)
	}
}

// A playlist that the origin compresses for those who want it is followed all the
// same, and one that it makes for each viewer is not.
func TestVariantsOfPlaylists(t *testing.T) {
	var mu sync.Mutex
	loads := 0
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "max-age=60")
		switch r.URL.Path {
		case "/gzip.m3u8":
			mu.Lock()
			loads++
			mu.Unlock()
			h.Set("Vary", "Accept-Encoding")
			h.Set("Etag", `"plain"`)
			if r.Header.Get("Accept-Encoding") == "gzip" {
				h.Set("Etag", `"gzip"`)
				h.Set("Content-Encoding", "gzip") // which nobody here unpacks
			}
		case "/viewer.m3u8":
			h.Set("Vary", "Cookie")
			h.Set("Etag", `"of `+r.Header.Get("Cookie")+`"`)
		case "/1.ts":
			fmt.Fprint(w, "one")
			return
		}
		fmt.Fprint(w, vod("1.ts"))
	}))
	t.Cleanup(origin.Close)
	e, base := start(t, Config{Origin: origin.URL})
	for _, coding := range []string{"gzip", "identity", "gzip"} {
		var paths []string
		until(t, "the track for "+coding, func() bool {
			paths = trackPaths(get(t, base+"/gzip.m3u8", "Accept-Encoding: "+coding))
			return len(paths) == 1
		})
		v := view(t, e, base, paths[0])
		v.toEnd()
		sameNames(t, v.check(origin.URL), []string{"/1.ts"})
	}
	mu.Lock()
	if loads > 3 { // compressed, identity, and without a word
		t.Errorf("the origin was asked %d times for three variants", loads)
	}
	mu.Unlock()
	view(t, e, base, tracksOf(t, base+"/viewer.m3u8", 1)[0]).toEnd()
	for range 3 {
		if paths := trackPaths(get(t, base+"/viewer.m3u8", "Cookie: viewer=1")); len(paths) > 0 {
			t.Errorf("a viewer's own playlist has tracks %v", paths)
		}
	}
}
