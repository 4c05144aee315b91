package streams

import (
	"fmt"
	"slices"
	"testing"
)

// The media playlists of a multivariant playlist are one stream.
func TestMultivariant(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, o *origin, s *Streams) {
		o.set("/main.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8?q=1\n#EXT-X-STREAM-INF:BANDWIDTH=3\nhttp://other.example/c.m3u8\n")
		for _, k := range []string{"/a.m3u8", "/b.m3u8?q=1", "/other.m3u8"} {
			o.set(k, list(0, 3, 2, endList))
		}
		if ids := serve(o, s, "/main.m3u8"); len(ids) > 0 {
			t.Errorf("tracks %v of the multivariant playlist", ids)
		}
		a, b := serveOne(t, o, s, "/a.m3u8"), serveOne(t, o, s, "/b.m3u8?q=1")
		other := serveOne(t, o, s, "/other.m3u8")
		id := copyOf(t, s, a).Header.Stream
		if copyOf(t, s, b).Header.Stream != id || copyOf(t, s, other).Header.Stream == id {
			t.Error("streams are mixed up")
		}
		for _, k := range []string{"/main.m3u8", "/a.m3u8", "/b.m3u8?q=1", "/a.m3u8?_HLS_msn=3&_HLS_part=1"} {
			if got, ok := s.Stream(k); !ok || got != id {
				t.Errorf("%s is of stream %v, %t", k, got, ok)
			}
		}
		if _, ok := s.Stream("/c.m3u8"); ok {
			t.Error("a playlist of another host has a stream")
		}
	})
}

// Media playlists use the variables of their multivariant playlist, those of a query as well
// (EXT-X-DEFINE).
func TestVariables(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/main.m3u8?v=7", "#EXTM3U\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"/x\"\n#EXT-X-DEFINE:QUERYPARAM=\"v\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8?v={$v}\n")
		o.set("/a.m3u8?v=7", "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"dir\"\n#EXT-X-DEFINE:QUERYPARAM=\"v\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$dir}/1.ts?{$v}\n#EXT-X-ENDLIST\n")
		serve(o, s, "/main.m3u8?v=7")
		id := serveOne(t, o, s, "/a.m3u8?v=7")
		if got, _ := names(t, s, id); !slices.Equal(got, []string{"/x/1.ts?7"}) {
			t.Errorf("the track has %v", got)
		}
		// Nobody else may import them.
		o.set("/b.m3u8", "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"dir\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$dir}/1.ts\n#EXT-X-ENDLIST\n")
		if ids := serve(o, s, "/b.m3u8"); len(ids) > 0 {
			t.Errorf("tracks %v", ids)
		}
	})
}

// What came in the query of one viewer's multivariant playlist is told to nobody else, and
// where two say otherwise nobody knows.
func TestVariablesOfViewers(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		define := "#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM=\"token\"\n#EXT-X-DEFINE:NAME=\"signed\",VALUE=\"/{$token}\"\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"%s\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n%s\n"
		use := "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"%s\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$%[1]s}/1.ts\n#EXT-X-ENDLIST\n"
		for i, c := range []struct {
			variable, child, other string
			tracks                 int
		}{
			{"dir", "a.m3u8", "/x", 1},
			{"dir", "b.m3u8", "/y", 0},
			{"signed", "c.m3u8", "/x", 0},
			{"token", "d.m3u8", "/x", 0},
			{"token", "e.m3u8?t=secret", "/x", 1},
		} {
			o.set("/"+c.child, fmt.Sprintf(use, c.variable))
			for _, v := range []struct{ q, dir string }{{"secret", "/x"}, {"secret&b", c.other}} {
				top := fmt.Sprintf("/%d.m3u8?token=%s", i, v.q)
				o.set(top, fmt.Sprintf(define, v.dir, c.child))
				serve(o, s, top)
			}
			if ids := serve(o, s, "/"+c.child); len(ids) != c.tracks {
				t.Errorf("%s of %s: tracks %v", c.variable, c.child, ids)
			}
		}
	})
}
