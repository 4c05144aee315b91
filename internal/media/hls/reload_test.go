package hls

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

func TestPlain(t *testing.T) {
	for key, want := range map[string]string{
		"/a.m3u8": "/a.m3u8", "/a.m3u8?": "/a.m3u8?", "/a.m3u8?x=1": "/a.m3u8?x=1",
		"/a.m3u8?_HLS_msn=1": "/a.m3u8", "/a.m3u8?_HLS_msn=1&x=1&_HLS_part=0": "/a.m3u8?x=1", "/_HLS_msn=1": "/_HLS_msn=1",
		"/a.m3u8?x_HLS_msn=1": "/a.m3u8?x_HLS_msn=1",
	} {
		if got, other := Plain(key); got != want || other != (got != key) {
			t.Errorf("%s becomes %s, %t", key, got, other)
		}
	}
}

func TestHints(t *testing.T) {
	playlist := `#EXTM3U
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-SKIP:SKIPPED-SEGMENTS=3
#EXTINF:2,
a.m4s
#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="i.mp4"
#EXT-X-PRELOAD-HINT:TYPE=PART
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="b.1.m4s?x#y"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="data:x"
`
	urls, target := Hints([]byte(playlist), mustURL("https://a.example/live/v.m3u8?_HLS_msn=3"))
	if want := []string{"https://a.example/live/b.1.m4s?x"}; !slices.Equal(urls, want) || target != time.Second/2 {
		t.Errorf("%v, %v, want %v", urls, target, want)
	}
	if urls, target := Hints([]byte("no playlist"), mustURL("https://a.example/")); urls != nil || target != 0 {
		t.Errorf("%v, %v of no playlist", urls, target)
	}
}

func FuzzHints(f *testing.F) {
	f.Add("#EXTM3U\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"b.1.m4s?x#y\"\n", "/a.m3u8?_HLS_msn=1&x=1&_HLS_part=0")
	f.Add("#EXTM3U\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"//b.example\"\n#EXT-X-PART-INF:PART-TARGET=1e300", "?_HLS_")
	base := mustURL("https://a.example/live/v.m3u8")
	f.Fuzz(func(t *testing.T, playlist, ref string) {
		urls, target := Hints([]byte(playlist), base)
		for _, link := range urls {
			if u, err := url.Parse(link); err != nil || !u.IsAbs() || u.Fragment != "" {
				t.Fatalf("a hint at %q: %v", link, err)
			}
		}
		if len(urls) > maxHints || target < 0 || target > media.MaxDuration {
			t.Fatalf("%d hints, %v", len(urls), target)
		}
		plain, other := Plain(ref)
		if again, yet := Plain(plain); yet || again != plain || other != (plain != ref) {
			t.Fatalf("%q becomes %q, then %q", ref, plain, again)
		}
	})
}
