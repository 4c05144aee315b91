package edge

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
	"github.com/tandem-cdn/tandem/test/ffmpeg"
	"github.com/tandem-cdn/tandem/test/nginx"
)

var trackLink = regexp.MustCompile(`^<(/\.well-known/tandem/track/[0-9a-f]{64})>; rel="describedby"; type="application/vnd\.tandem\.track"$`)

// trackPaths are the tracks that an answer names.
func trackPaths(a answer) (paths []string) {
	for _, l := range a.Header.Values("Link") {
		if m := trackLink.FindStringSubmatch(l); m != nil {
			paths = append(paths, m[1])
		}
	}
	return paths
}

// until asks until the condition holds, for at most ten seconds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within ten seconds", what)
		}
	}
}

// tracksOf asks for a playlist until the answer names n tracks.
func tracksOf(t testing.TB, playlist string, n int) (paths []string) {
	t.Helper()
	until(t, fmt.Sprintf("%d tracks of %s", n, playlist), func() bool {
		paths = trackPaths(get(t, playlist))
		return len(paths) == n
	})
	return paths
}

// viewer follows one track as a client does.
type viewer struct {
	t     testing.TB
	url   string
	keys  []ed25519.PublicKey
	track *stream.Track
}

func view(t testing.TB, e *Edge, base, path string) *viewer {
	t.Helper()
	v := &viewer{t: t, url: base + path, keys: []ed25519.PublicKey{e.PublicKey()}}
	a := get(t, v.url)
	if a.Status != 200 || a.Header.Get("Content-Type") != wire.TrackType || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
		t.Fatalf("header: %d %v", a.Status, a.Header)
	}
	h, err := track.ParseHeader(a.Body, v.keys)
	if err != nil {
		t.Fatal(err)
	}
	v.track = stream.NewTrack(*h)
	if !strings.HasSuffix(path, v.track.ID.String()) {
		t.Fatalf("%s is track %s", path, v.track.ID)
	}
	return v
}

// more asks once for what comes next and returns the status.
func (v *viewer) more(wait int) int {
	v.t.Helper()
	next, _ := v.track.Next()
	a := get(v.t, fmt.Sprintf("%s/pages?from=%d&wait=%d", v.url, next.Segment, wait))
	if a.Status != 200 {
		return a.Status
	}
	if a.Header.Get("Content-Type") != wire.TrackPagesType {
		v.t.Fatalf("pages: %v", a.Header)
	}
	for b := a.Body; len(b) > 0; {
		n := binary.BigEndian.Uint32(b)
		p, err := track.ParsePage(b[4:4+n], v.keys)
		if err != nil {
			v.t.Fatal(err)
		}
		if err := v.track.Add(p); err != nil {
			v.t.Fatal(err)
		}
		b = b[4+n:]
	}
	return 200
}

// toEnd follows the track until it has ended.
func (v *viewer) toEnd() {
	v.t.Helper()
	until(v.t, v.url+" ends", func() bool {
		v.more(1)
		_, ended := v.track.Next()
		return ended
	})
}

// check holds all segments against what the server has, and returns their names.
func (v *viewer) check(origin string) (names []string) {
	v.t.Helper()
	next, _ := v.track.Next()
	for i := range next.Segment {
		s, at := v.track.Segment(i)
		names = append(names, s.Name)
		v.checkOne(origin, s, at)
	}
	return names
}

func (v *viewer) checkOne(origin string, s track.Segment, at stream.Place) {
	v.t.Helper()
	b := get(v.t, origin+s.Name).Body
	if int64(len(b)) != s.Manifest.Size {
		v.t.Fatalf("%s: %d bytes, the origin has %d", s.Name, s.Manifest.Size, len(b))
	}
	for p := range s.Manifest.NumPieces() {
		from := s.Manifest.Offset(p)
		if !v.track.Verify(at.Piece+p, b[from:from+s.Manifest.PieceLen(p)]) {
			v.t.Fatalf("%s: piece %d is not the origin's", s.Name, p)
		}
	}
}

// segmentsIn are the media segments and initializations that a playlist names.
func segmentsIn(b []byte, dir string) (names []string) {
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		if m := regexp.MustCompile(`^#EXT-X-MAP:URI="([^"]+)"`).FindStringSubmatch(l); m != nil {
			names = append(names, dir+m[1])
		} else if l != "" && l[0] != '#' {
			names = append(names, dir+l)
		}
	}
	return names
}

// An HLS presentation of ffmpeg at nginx: one stream, a track for each rendition
// with all of its segments.
func TestHLS(t *testing.T) {
	for _, segments := range []string{"mpegts", "fmp4"} {
		dir := t.TempDir()
		ffmpeg.HLS(t, dir, "10", segments)
		origin := nginx.Serve(t, dir)
		for _, from := range []string{origin, dir} {
			e, base := start(t, Config{Origin: from})
			first := get(t, base+"/main.m3u8")
			if len(trackPaths(first)) > 0 {
				t.Error("a multivariant playlist names tracks")
			}
			var streams []track.StreamID
			for _, playlist := range []string{"/0.m3u8", "/1.m3u8"} {
				v := view(t, e, base, tracksOf(t, base+playlist, 1)[0])
				if v.track.Header.Name != playlist {
					t.Errorf("track of %s is named %s", playlist, v.track.Header.Name)
				}
				streams = append(streams, v.track.Header.Stream)
				v.toEnd()
				sameNames(t, v.check(origin), segmentsIn(get(t, origin+playlist).Body, "/"))
				if head := do(t, "HEAD", base+playlist, nil); len(trackPaths(head)) != 1 {
					t.Errorf("HEAD names %v", trackPaths(head))
				}
			}
			if streams[0] != streams[1] {
				t.Error("the renditions are different streams")
			}
			grantFor(t, e, base, streams[0], "/0.m3u8")
		}
	}
}

// A DASH presentation: one stream, a track for each representation that is played.
func TestDASH(t *testing.T) {
	for _, addressing := range [][]string{
		{"-use_timeline", "1"}, {"-use_timeline", "0"}, {"-use_template", "0", "-use_timeline", "0"},
	} {
		dir := t.TempDir()
		ffmpeg.Stream(t, dir, "10", append(append([]string{"-f", "dash", "-seg_duration", "2"}, addressing...), "v.mpd")...)
		origin := nginx.Serve(t, dir)
		e, base := start(t, Config{Origin: origin})
		paths := tracksOf(t, base+"/v.mpd", 2)
		var ids []track.StreamID
		for i, path := range paths {
			v := view(t, e, base, path)
			if want := fmt.Sprintf("/v.mpd#%d", i); v.track.Header.Name != want {
				t.Errorf("%s, want %s", v.track.Header.Name, want)
			}
			ids = append(ids, v.track.Header.Stream)
			get(t, fmt.Sprintf("%s/chunk-stream%d-00001.m4s", base, i))
			v.toEnd()
			var want []string
			for _, pattern := range []string{"init-stream%d.m4s", "chunk-stream%d-*.m4s"} {
				want = append(want, inFolder(dir, fmt.Sprintf(pattern, i)).names()...)
			}
			sameNames(t, v.check(origin), want)
		}
		if ids[0] != ids[1] {
			t.Error("the representations are different streams")
		}
		grantFor(t, e, base, ids[0], "/v.mpd")
	}
}

// Representations that are one file have no track.
func TestDASHOfFiles(t *testing.T) {
	dir := t.TempDir()
	ffmpeg.Stream(t, dir, "4", "-f", "dash", "-seg_duration", "2", "-single_file", "1", "v.mpd")
	_, base := start(t, Config{Origin: nginx.Serve(t, dir)})
	for range 5 {
		if paths := trackPaths(get(t, base+"/v.mpd")); len(paths) > 0 {
			t.Fatalf("tracks %v", paths)
		}
		pause := time.NewTimer(50 * time.Millisecond) // for the edge to read it
		<-pause.C
	}
}

func sameNames(t testing.TB, got, want []string) {
	t.Helper()
	have := map[string]int{}
	for _, n := range got {
		have[n]++
	}
	for _, n := range want {
		have[n]--
	}
	for n, d := range have {
		if d != 0 {
			t.Errorf("segment %s: %+d times in the track", n, d)
		}
	}
}

// grantFor gets a grant for a stream, and sees that other URLs give none.
func grantFor(t testing.TB, e *Edge, base string, id track.StreamID, playlist string) {
	t.Helper()
	var key wire.Key
	key[0] = 1
	ask := func(id track.StreamID, path string) answer {
		body := fmt.Sprintf(`{"object":%q,"key":%q,"url":%q}`, id, key, base+path)
		return do(t, "POST", base+"/.well-known/tandem/grants", strings.NewReader(body), "Content-Type: application/json")
	}
	a := ask(id, playlist)
	if a.Status != http.StatusOK {
		t.Fatalf("grant: %d %s", a.Status, a.Body)
	}
	var resp wire.GrantResponse
	if err := json.Unmarshal(a.Body, &resp); err != nil {
		t.Fatal(err)
	}
	g, err := grant.Parse(resp.Grant, time.Now())
	if err == nil {
		err = g.Check(id, key, []ed25519.PublicKey{e.PublicKey()})
	}
	if err != nil {
		t.Fatalf("grant: %v", err)
	}
	if a := ask(track.StreamID{1}, playlist); a.Status != http.StatusNotFound {
		t.Errorf("grant for another stream: %d", a.Status)
	}
	if a := ask(id, "/none.m3u8"); a.Status != http.StatusNotFound {
		t.Errorf("grant for another playlist: %d", a.Status)
	}
}
