package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// media playlists of live streams; numbers begin at first.
func liveList(first, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:%d\n", first)
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&b, "#EXTINF:2.0,\n%d.ts\n", i)
	}
	return b.String()
}

// A playlist is held against the last that was no old one.
func TestPlaylistsGiven(t *testing.T) {
	at, err := url.Parse("http://edge.example/video/all.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	const mpd = `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" profiles="p" minBufferTime="PT1S" availabilityStartTime="%s"><Period id="1"><AdaptationSet mimeType="video/mp4">` +
		`<Representation id="a" bandwidth="1"><SegmentTemplate media="$Number$.m4s" duration="2" startNumber="1"/></Representation></AdaptationSet></Period></MPD>`
	for what, c := range map[string]struct {
		lists []string
		want  media.Change
	}{
		"goes on":       {[]string{liveList(10, 5), liveList(11, 5)}, media.Continues},
		"begins anew":   {[]string{liveList(10, 5), liveList(0, 2)}, media.Restarted},
		"an old one":    {[]string{liveList(10, 5), liveList(9, 5)}, media.Stale},
		"after old one": {[]string{liveList(10, 5), liveList(9, 5), liveList(11, 5)}, media.Continues},
		"rubbish":       {[]string{liveList(10, 5), "#EXTM3U\n#EXTINF:x\n"}, media.Stale},
		"after rubbish": {[]string{liveList(10, 5), "#EXTM3U\n#EXTINF:x\n", liveList(0, 2)}, media.Restarted},
		"another names": {[]string{liveList(10, 5), strings.ReplaceAll(liveList(10, 5), "11.ts", "x.ts")}, media.Contradicts},
		"DASH":          {[]string{fmt.Sprintf(mpd, "2026-01-01T00:00:00Z"), fmt.Sprintf(mpd, "2026-01-01T00:00:00Z")}, media.Continues},
		"DASH anew":     {[]string{fmt.Sprintf(mpd, "2026-01-01T00:00:00Z"), fmt.Sprintf(mpd, "2026-01-01T00:10:00Z")}, media.Restarted},
	} {
		var g given
		var got media.Change
		for _, l := range c.lists {
			got = g.next(at, []byte(l), time.Date(2026, 1, 1, 0, 11, 0, 0, time.UTC))
		}
		if got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}

// While what players are given looks like an old copy the names of its tracks mean
// nothing, for a while and not again and again.
func TestOldPlaylists(t *testing.T) {
	at, err := url.Parse("http://edge.example/video/all.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		of := func(name string) *tracking { return &tracking{Track: stream.NewTrack(track.Header{Name: name})} }
		this, other := of("/video/all.m3u8"), of("/video/low.m3u8")
		s := &streaming{byID: []*tracking{this, other}}
		for i, c := range []struct {
			after time.Duration
			first int // segment of the playlist
			names bool
		}{
			{0, 10, true},
			{time.Second, 9, false},
			{time.Second, 11, true},
			{time.Second, 10, false},
			{holdFor, 10, true},
			{time.Second, 12, true},
			{time.Second, 11, true},
			{holdAgain, 11, false},
			{holdFor / 2, 11, false},
			{holdFor, 11, true},
		} {
			<-time.After(c.after)
			s.listed(at, []byte(liveList(c.first, 5)))
			if this.names() != c.names || !other.names() {
				t.Errorf("%d: the names mean something: %t, of another playlist: %t", i, this.names(), other.names())
			}
		}
	})
}

// onAir puts live segments in the place of the film's, of this run of the origin.
func (th *theatre) onAir(run byte, first, n int) string {
	th.t.Helper()
	for i := first; i < first+n; i++ {
		name := fmt.Sprintf("/video/%d.ts", i)
		th.segments[name] = random(run+byte(i), 200_000+i*1000+int(run))
		th.write(name, th.segments[name])
	}
	list := liveList(first, n)
	th.write("/video/all.m3u8", []byte(list))
	return list
}

// newLive is a theatre with a live stream.
func newLive(t *testing.T, n int) *theatre {
	t.Helper()
	return openTheatre(t, func(th *theatre) { th.onAir(1, 0, n) })
}

// show opens a segment and holds it against what the origin has.
func (th *theatre) show(s *Stream, name string) (shared bool) {
	th.t.Helper()
	seg, err := s.Open(th.t.Context(), th.url+name)
	if err != nil {
		th.t.Fatal(err)
	}
	defer func() { _ = seg.Close() }()
	b, err := io.ReadAll(seg)
	if err != nil || !bytes.Equal(b, th.segments[name]) {
		th.t.Fatalf("%s: %d bytes of %d, not the origin's: %v", name, len(b), len(th.segments[name]), err)
	}
	return seg.Shared()
}

// TestStreamBeginsAnew: an origin that begins anew gives the names of old segments to new
// ones. From the moment at which the player is told, it is shown no old one, although the
// edge has told nothing yet; and once it has the new ones are shared.
func TestStreamBeginsAnew(t *testing.T) {
	for what, c := range map[string]struct{ before, after, n int }{
		"lower numbers":    {20, 0, 3},
		"the same numbers": {0, 0, 3},
	} {
		t.Run(what, func(t *testing.T) {
			th := openTheatre(t, func(th *theatre) { th.onAir(1, c.before, 5) })
			if c.before > 0 {
				th.onAir(1, 0, 5) // what there was before
			}
			s := th.viewer("one")
			<-s.ready
			names := []string{"/video/0.ts", "/video/1.ts", "/video/2.ts"}
			until(t, "segments that are shared", func() bool { return th.show(s, names[0]) && th.show(s, names[2]) })
			if c.before > 0 {
				s.Listed([]byte(th.onAir(1, c.before, 5)))
			}
			s.Listed([]byte(th.onAir(50, 0, c.n)))
			for _, name := range names { // of the new run, shared only if the edge has told by now
				th.show(s, name)
			}
			until(t, "the new run to be shared", func() bool { return th.show(s, names[0]) && th.show(s, names[2]) })
		})
	}
}

// TestEdgeForgets: an edge that comes back with nothing of what it knew has other tracks of
// another stream, and another key; the stream is to be opened again then.
func TestEdgeForgets(t *testing.T) {
	th := newLive(t, 5)
	s := th.viewer("one")
	<-s.ready
	until(t, "a segment that is shared", func() bool { return th.show(s, "/video/4.ts") })
	th.start(t.TempDir())
	th.published()
	until(t, "the stream to be given up", func() bool { th.show(s, "/video/4.ts"); return s.Failed() })
	again, err := s.e.OpenStream(t.Context(), th.url+"/video/all.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	until(t, "a segment that is shared again", func() bool { return th.show(again, "/video/4.ts") })
}

// A track hears of what a player misses.
func TestMissed(t *testing.T) {
	th := newLive(t, 5)
	s := th.viewer("one")
	<-s.ready
	until(t, "a segment that is shared", func() bool { return th.show(s, "/video/4.ts") })
	growing, again := s.shared.growing()
	if growing == nil || cap(again) == 0 {
		t.Error("nothing is heard")
	}
}

// A pause ends when a player misses something, but is no shorter than the least.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &tracking{again: make(chan struct{}, 1)}
		for what, c := range map[string]struct {
			missed      time.Duration // when something is
			least, most time.Duration
		}{
			"nothing is missed": {time.Hour, maxPagePause, 3 * maxPagePause / 2},
			"missed at once":    {0, minPagePause, minPagePause},
			"missed later":      {4 * time.Second, 4 * time.Second, 4 * time.Second},
		} {
			began := time.Now()
			missing := time.AfterFunc(c.missed, func() { tell(tr.again) })
			if !tr.rest(t.Context(), maxPagePause) {
				t.Fatal("the end")
			}
			if took := time.Since(began); took < c.least || took > c.most {
				t.Errorf("%s: %v", what, took)
			}
			missing.Stop()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if tr.rest(ctx, time.Second) {
			t.Error("on after the end")
		}
	})
}
