package hls

import (
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/mediatest"
)

// rewriteAt is Rewrite without variables of another playlist.
func rewriteAt(playlist []byte, base *url.URL, f func(*url.URL) string) ([]byte, error) {
	return Rewrite(playlist, Context{Base: base}, f)
}

func TestRewrite(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{
			"every tag of a multivariant playlist", `#EXTM3U
#EXT-X-VERSION:12
#EXT-X-CONTENT-STEERING:SERVER-URI="/steer",PATHWAY-ID="A"
#EXT-X-SESSION-KEY:METHOD=AES-128,URI="key"
#EXT-X-SESSION-DATA:DATA-ID="com.x",URI="data.json",LANGUAGE="en"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="URI=x",URI="en.m3u8",DEFAULT=YES
#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="a,b"
  lo.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2
https://other.example/hi.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=2,URI="../i.m3u8"
#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=2,URI="//cdn.example/t.m3u8"
`, `#EXTM3U
#EXT-X-VERSION:12
#EXT-X-CONTENT-STEERING:SERVER-URI="/gw/cdn.example/steer",PATHWAY-ID="A"
#EXT-X-SESSION-KEY:METHOD=AES-128,URI="/gw/cdn.example/live/v1/key"
#EXT-X-SESSION-DATA:DATA-ID="com.x",URI="/gw/cdn.example/live/v1/data.json",LANGUAGE="en"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="URI=x",URI="/gw/cdn.example/live/v1/en.m3u8",DEFAULT=YES
#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="a,b"
  /gw/cdn.example/live/v1/lo.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2
https://other.example/hi.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=2,URI="/gw/cdn.example/live/i.m3u8"
#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=2,URI="/gw/cdn.example/t.m3u8"
`,
		},
		{
			"every tag of a media playlist", `#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-PART-INF:PART-TARGET=2
#EXT-X-KEY:METHOD=AES-128,URI="key?a=1",IV=0x00
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="y"
#EXT-X-MAP:URI="init.mp4",BYTERANGE="1@0"
#EXT-X-DATERANGE:ID="a",START-DATE="2024-01-01T00:00:00Z",X-ASSET-URI="ad.m3u8",X-BEACON="https://cdn.example/b"
#EXT-X-DATERANGE:ID="b",START-DATE="2024-01-01T00:00:00Z",X-ASSET-LIST="ads.json"
#EXT-X-PART:DURATION=2,URI="a.0.mp4"
#EXTINF:4,URI="title"
a.mp4
# a.mp4 in a comment
#EXT-X-BROKEN:"URI="a
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="b.0.mp4"
#EXT-X-RENDITION-REPORT:URI="../v2/index.m3u8",LAST-MSN=1
`, `#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-PART-INF:PART-TARGET=2
#EXT-X-KEY:METHOD=AES-128,URI="/gw/cdn.example/live/v1/key?a=1",IV=0x00
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="y"
#EXT-X-MAP:URI="/gw/cdn.example/live/v1/init.mp4",BYTERANGE="1@0"
#EXT-X-DATERANGE:ID="a",START-DATE="2024-01-01T00:00:00Z",X-ASSET-URI="/gw/cdn.example/live/v1/ad.m3u8",X-BEACON="https://cdn.example/b"
#EXT-X-DATERANGE:ID="b",START-DATE="2024-01-01T00:00:00Z",X-ASSET-LIST="/gw/cdn.example/live/v1/ads.json"
#EXT-X-PART:DURATION=2,URI="/gw/cdn.example/live/v1/a.0.mp4"
#EXTINF:4,URI="title"
/gw/cdn.example/live/v1/a.mp4
# a.mp4 in a comment
#EXT-X-BROKEN:"URI="a
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="/gw/cdn.example/live/v1/b.0.mp4"
#EXT-X-RENDITION-REPORT:URI="/gw/cdn.example/live/v2/index.m3u8",LAST-MSN=1
`,
		},
		{
			"line ends, blanks, no end of the last line", "\ufeff#EXTM3U\r\n\r\n#EXT-X-MAP:URI=\"i\", BYTERANGE=\"1@0\" \r\n#EXTINF:4,\r\na.ts \t\r\n#EXTINF:4,\nb.ts",
			"\ufeff#EXTM3U\r\n\r\n#EXT-X-MAP:URI=\"/gw/cdn.example/live/v1/i\", BYTERANGE=\"1@0\" \r\n#EXTINF:4,\r\n/gw/cdn.example/live/v1/a.ts \t\r\n#EXTINF:4,\n/gw/cdn.example/live/v1/b.ts",
		},
		{
			"variables", "#EXTM3U\n#EXT-X-DEFINE:NAME=\"h\",VALUE=\"//cdn.example/x\"\n#EXT-X-DEFINE:NAME=\"o\",VALUE=\"//o.example\"\n#EXT-X-DEFINE:QUERYPARAM=\"n\"\n#EXT-X-MAP:URI=\"{$h}/{$n}\"\n{$o}/a.ts\n",
			"#EXTM3U\n#EXT-X-DEFINE:NAME=\"h\",VALUE=\"//cdn.example/x\"\n#EXT-X-DEFINE:NAME=\"o\",VALUE=\"//o.example\"\n#EXT-X-DEFINE:QUERYPARAM=\"n\"\n#EXT-X-MAP:URI=\"/gw/cdn.example/x/7\"\n{$o}/a.ts\n",
		},
		{"delta update", header + "#EXT-X-SKIP:SKIPPED-SEGMENTS=9\n#EXTINF:4,\na.ts\n", header + "#EXT-X-SKIP:SKIPPED-SEGMENTS=9\n#EXTINF:4,\n/gw/cdn.example/live/v1/a.ts\n"},
		{"contradictions", header + "#EXTINF:400,\na.ts\n", header + "#EXTINF:400,\n/gw/cdn.example/live/v1/a.ts\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mediatest.Rewrites(t, rewriteAt, base, c.in, c.want)
		})
	}
}

func TestRewriteErrors(t *testing.T) {
	cases := []struct{ in, to, want string }{
		{"<html>", "x", "this is no HLS playlist"},
		{header + "http://h:x/?secret\n", "x", "line 3: URI: invalid port"},
		{header + "#EXT-X-MAP:URI=\"a\n", "x", "line 3: EXT-X-MAP: URI: the quote does not end"},
		{header + "#EXT-X-MAP:URI=\"a\"\n", "a\"b", "line 3: EXT-X-MAP: URI: the new URI has characters"},
		{header + "a\n", "a\n#b", "line 3: the new URI has characters"},
		{header + "a\n", "#a", "line 3: the new URI has characters"},
		{header + "a\n", "{$a}", "line 3: the new URI has characters"},
		{header + "#EXT-X-DEFINE:IMPORT=\"i\"\n{$i}/a\n", "x", "line 4: the variable i is imported"},
		{header + strings.Repeat("a\n", 10_000), strings.Repeat("x", 7000), "more than 67108864 bytes"},
	}
	for _, c := range cases {
		_, err := rewriteAt([]byte(c.in), base, func(*url.URL) string { return c.to })
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.100q: error %v, want %q", c.in, err, c.want)
		}
	}
	got, err := Rewrite([]byte(header+"#EXT-X-DEFINE:IMPORT=\"i\"\n{$i}/a\n"), Context{Base: base, Variables: map[string]string{"i": "/x"}}, mediatest.Gateway)
	if err != nil || !strings.HasSuffix(string(got), "\n/gw/cdn.example/x/a\n") {
		t.Errorf("imported variable: %v, %q", err, got)
	}
}

// corpus is what the fuzz targets begin with.
func corpus(f *testing.F) {
	files, err := filepath.Glob("testdata/*.m3u8")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		f.Add(testdata(f, filepath.Base(name)))
	}
	for _, s := range []string{
		header + "#EXT-X-PART-INF:PART-TARGET=2\n#EXT-X-PART:DURATION=2,URI=\"b.0\",BYTERANGE=\"5@2\",INDEPENDENT=YES\n#EXTINF:4,\n#EXT-X-BYTERANGE:9\nb\n#EXT-X-PART:DURATION=1,URI=\"c\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"d\",BYTERANGE-START=2\n",
		header + "#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2,RECENTLY-REMOVED-DATERANGES=\"a\tb\"\n#EXT-X-RENDITION-REPORT:URI=\"../x\",LAST-MSN=3,LAST-PART=2\n",
		header + "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"x\"\n#EXT-X-DEFINE:QUERYPARAM=\"n\"\n#EXT-X-DEFINE:IMPORT=\"i\"\n#EXT-X-MAP:URI=\"{$a}/{$n}\"\n#EXTINF:4,\n{$a}\n",
		header + "#EXT-X-PROGRAM-DATE-TIME:2024-05-01T00:00:00Z\n#EXT-X-DATERANGE:ID=\"1\",CLASS=\"ad\",START-DATE=\"2024-05-01T00:00:01Z\",DURATION=1,X-ASSET-LIST=\"l\"\n#EXT-X-CUE-OUT:8\n#EXTINF:4,\na\n#EXT-X-GAP\n#EXT-X-DISCONTINUITY\n#EXTINF:4,\nb\n",
		"#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\",PATHWAY-ID=\"A\"\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"skd://k\"\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"e\"\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i\"\n#EXT-X-SESSION-DATA:DATA-ID=\"x\",URI=\"s\"\n",
	} {
		f.Add([]byte(s))
	}
}

var imports = map[string]string{"i": "imported\"<"}

// FuzzParse wants no panic, no more than the bounds, numbers without holes, and
// that a playlist compared with itself goes on.
func FuzzParse(f *testing.F) {
	corpus(f)
	previous := Context{Base: base, Variables: imports}
	before, err := Parse([]byte(header+"#EXT-X-MEDIA-SEQUENCE:4\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:1,\na\n#EXTINF:1,\n#EXT-X-BYTERANGE:1@2\nb\n#EXTINF:1,\nc\n"), previous)
	if err != nil {
		f.Fatal(err)
	}
	previous.Previous = before.Media
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := Parse(in, previous)
		if err != nil {
			return
		}
		if (p.Media == nil) == (p.Multivariant == nil) {
			t.Fatal("neither or both kinds of playlist")
		}
		if p.Multivariant != nil {
			p.Multivariant.Alternatives()
			return
		}
		if err := check(p.Media); err != nil {
			t.Fatal(err)
		}
		if c, err := Compare(p.Media, p.Media); c != media.Continues || err != nil {
			t.Fatalf("compared with itself: %v, %v", c, err)
		}
	})
}

func check(m *Media) error {
	segments := m.Segments
	if m.Partial != nil {
		segments = append(segments[:len(segments):len(segments)], *m.Partial)
	}
	n := 0
	for i, s := range segments {
		n += 1 + len(s.Parts)
		switch {
		case s.Number != m.MediaSequence+uint64(i):
			return fmt.Errorf("segment %d has number %d", i, s.Number)
		case s.Duration < 0 || s.Start < 0 || i > 0 && s.Start != segments[i-1].Start+segments[i-1].Duration:
			return fmt.Errorf("segment %d begins at %v and lasts %v", i, s.Start, s.Duration)
		case s.Range.Offset < 0 || s.Range.Length < 0 || s.Range.Offset+s.Range.Length < 0:
			return fmt.Errorf("segment %d is the range %v", i, s.Range)
		case s.URL == "" && i < len(m.Segments):
			return fmt.Errorf("segment %d has no URL", i)
		}
	}
	if n > media.MaxSegments+1 {
		return fmt.Errorf("%d segments and parts", n)
	}
	return nil
}

// FuzzRewrite wants no panic, the same model where URIs are made absolute, and
// the same bytes where they are left.
func FuzzRewrite(f *testing.F) {
	corpus(f)
	c := Context{Base: base, Variables: imports}
	f.Fuzz(func(t *testing.T, in []byte) {
		model, parseErr := Parse(in, c)
		if out, err := Rewrite(in, c, func(*url.URL) string { return "" }); err == nil && string(out) != string(in) {
			t.Fatalf("changed without need: %q", out)
		}
		out, err := Rewrite(in, c, (*url.URL).String)
		if parseErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("what can be parsed cannot be rewritten: %v", err)
		}
		again, err := Parse(out, c)
		if err != nil {
			t.Fatalf("%v, of what was rewritten:\n%s", err, out)
		}
		if !reflect.DeepEqual(model, again) {
			t.Fatalf("the model has changed: %s\n%s", cmp.Diff(model, again, cmp.AllowUnexported(Media{}, note{})), out)
		}
	})
}
