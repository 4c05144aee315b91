package hls

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/media"
)

var base = mustURL("https://cdn.example/live/v1/index.m3u8?token=abc&n=7")

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func parse(t *testing.T, text string) *Playlist {
	t.Helper()
	p, err := Parse([]byte(text), Context{Base: base})
	if err != nil {
		t.Fatalf("%v, of:\n%s", err, text)
	}
	return p
}

func parseMedia(t *testing.T, text string) *Media {
	t.Helper()
	p := parse(t, text)
	if p.Media == nil {
		t.Fatalf("not a media playlist:\n%s", text)
	}
	return p.Media
}

// header begins a media playlist of 4 s.
const header = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"

// show writes segments one a line, what is not said left out, with the directory
// of the playlist cut off.
func show(m *Media) string {
	var b strings.Builder
	for i := range m.Segments {
		showSegment(&b, &m.Segments[i])
	}
	if m.Partial != nil {
		b.WriteString("partial ")
		showSegment(&b, m.Partial)
	}
	return b.String()
}

func showSegment(b *strings.Builder, s *media.Segment) {
	fmt.Fprintf(b, "%d %v+%v%s", s.Number, s.Start, s.Duration, showResource(s.Resource))
	if s.Discontinuity > 0 {
		fmt.Fprintf(b, " disc=%d", s.Discontinuity)
	}
	if s.Init != nil {
		fmt.Fprintf(b, " init(%s)", showResource(*s.Init)[1:])
	}
	if !s.ProgramTime.IsZero() {
		b.WriteString(s.ProgramTime.Format(" 15:04:05.999"))
	}
	if s.Gap {
		b.WriteString(" gap")
	}
	if s.Ad {
		b.WriteString(" ad")
	}
	for _, p := range s.Parts {
		fmt.Fprintf(b, " part(%v%s", p.Duration, showResource(p.Resource))
		if p.Independent {
			b.WriteString(" I")
		}
		if p.Gap {
			b.WriteString(" gap")
		}
		b.WriteString(")")
	}
	b.WriteString("\n")
}

func showResource(r media.Resource) string {
	s := ""
	if r.URL != "" {
		s = " " + strings.TrimPrefix(r.URL, "https://cdn.example/live/v1/")
	}
	if r.Range != (media.Range{}) {
		s += fmt.Sprintf("[%d+%d]", r.Range.Offset, r.Range.Length)
	}
	if r.Encryption != "" {
		s += " " + r.Encryption
	}
	return s
}

func TestSegments(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"plain", "#EXTINF:4,\na.ts\n#EXTINF:3.5,title, with commas\nb.ts\n#EXT-X-ENDLIST\n", "0 0s+4s a.ts\n1 4s+3.5s b.ts\n"},
		{"CRLF, comments, blank lines", "\r\n# a comment\r\n#EXTINF:4,\r\n\r\na.ts \r\n#EXTINF:4\r\nb.ts", "0 0s+4s a.ts\n1 4s+4s b.ts\n"},
		{"sequence", "#EXT-X-MEDIA-SEQUENCE:41\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n", "41 0s+4s a.ts\n42 4s+4s b.ts\n"},
		{
			"references", "#EXTINF:4,\n../a.ts?x=1#t=2\n#EXTINF:4,\n/b 1.ts\n#EXTINF:4,\n//other.example/c.ts\n#EXTINF:4,\n12:30.ts\n#EXTINF:4,\n?seg=5\n",
			"0 0s+4s https://cdn.example/live/a.ts?x=1\n1 4s+4s https://cdn.example/b%201.ts\n2 8s+4s https://other.example/c.ts\n3 12s+4s 12:30.ts\n4 16s+4s index.m3u8?seg=5\n",
		},
		{"byte ranges", "#EXTINF:4,\n#EXT-X-BYTERANGE:100@50\na.ts\n#EXTINF:4,\n#EXT-X-BYTERANGE:10\na.ts\n", "0 0s+4s a.ts[50+100]\n1 4s+4s a.ts[150+10]\n"},
		{
			"map", "#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"720@0\"\n#EXTINF:4,\na.m4s\n#EXT-X-MAP:URI=\"j.mp4\"\n#EXTINF:4,\nb.m4s\n#EXTINF:4,\nc.m4s\n",
			"0 0s+4s a.m4s init(i.mp4[0+720])\n1 4s+4s b.m4s init(j.mp4)\n2 8s+4s c.m4s init(j.mp4)\n",
		},
		{
			"discontinuities", "#EXT-X-DISCONTINUITY-SEQUENCE:7\n#EXTINF:4,\na.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4,\nb.ts\n#EXTINF:4,\nc.ts\n",
			"0 0s+4s a.ts disc=7\n1 4s+4s b.ts disc=8\n2 8s+4s c.ts disc=8\n",
		},
		{
			"keys", "#EXT-X-KEY:METHOD=AES-128,URI=\"k1\"\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXTINF:4,\na.m4s\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://k2\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n#EXTINF:4,\nb.m4s\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\nc.m4s\n",
			"0 0s+4s a.m4s AES-128 init(i.mp4 AES-128)\n1 4s+4s b.m4s AES-128 init(i.mp4 AES-128)\n2 8s+4s c.m4s init(i.mp4 AES-128)\n",
		},
		{"gap", "#EXTINF:4,\n#EXT-X-GAP\na.ts\n#EXTINF:4,\nb.ts\n", "0 0s+4s a.ts gap\n1 4s+4s b.ts\n"},
		{
			"dates go both ways", "#EXTINF:4,\na.ts\n#EXT-X-PROGRAM-DATE-TIME:2024-05-01T12:00:04.500+02:00\n#EXTINF:4,\nb.ts\n#EXTINF:4,\nc.ts\n#EXTINF:4,\n#EXT-X-PROGRAM-DATE-TIME:2024-05-01T11:00:00+0000\nd.ts\n",
			"0 0s+4s a.ts 10:00:00.5\n1 4s+4s b.ts 10:00:04.5\n2 8s+4s c.ts 10:00:08.5\n3 12s+4s d.ts 11:00:00\n",
		},
		{
			"cue marks", "#EXTINF:4,\na.ts\n#EXT-X-CUE-OUT:8\n#EXTINF:4,\nb.ts\n#EXT-X-CUE-OUT-CONT:4/8\n#EXTINF:4,\nc.ts\n#EXT-X-CUE-IN\n#EXTINF:4,\nd.ts\n",
			"0 0s+4s a.ts\n1 4s+4s b.ts ad\n2 8s+4s c.ts ad\n3 12s+4s d.ts\n",
		},
		{
			"SCTE 35 out and in", "#EXT-X-PROGRAM-DATE-TIME:2024-05-01T00:00:00Z\n#EXT-X-DATERANGE:ID=\"1\",START-DATE=\"2024-05-01T00:00:04Z\",SCTE35-OUT=0xFC\n#EXT-X-DATERANGE:ID=\"1\",START-DATE=\"2024-05-01T00:00:04Z\",DURATION=4.0,SCTE35-IN=0xFC\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n#EXTINF:4,\nc.ts\n",
			"0 0s+4s a.ts 00:00:00\n1 4s+4s b.ts 00:00:04 ad\n2 8s+4s c.ts 00:00:08\n",
		},
		{
			"stitched ads, open end", "#EXT-X-PROGRAM-DATE-TIME:2024-05-01T00:00:00Z\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n#EXT-X-DATERANGE:ID=\"1\",CLASS=\"x-stitched-ad\",START-DATE=\"2024-05-01T00:00:05Z\"\n#EXTINF:4,\nc.ts\n",
			"0 0s+4s a.ts 00:00:00\n1 4s+4s b.ts 00:00:04 ad\n2 8s+4s c.ts 00:00:08 ad\n",
		},
		{
			"a longer ad hides no other", "#EXT-X-PROGRAM-DATE-TIME:2024-05-01T00:00:00Z\n#EXT-X-DATERANGE:ID=\"2\",CLASS=\"ad\",START-DATE=\"2024-05-01T00:00:01Z\",DURATION=1\n#EXT-X-DATERANGE:ID=\"1\",CLASS=\"ad\",START-DATE=\"2024-05-01T00:00:00Z\",DURATION=6\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n#EXTINF:4,\nc.ts\n",
			"0 0s+4s a.ts 00:00:00 ad\n1 4s+4s b.ts 00:00:04 ad\n2 8s+4s c.ts 00:00:08\n",
		},
		{
			"parts", "#EXT-X-PART-INF:PART-TARGET=2\n#EXTINF:4,\na.mp4\n#EXT-X-PART:DURATION=2,URI=\"b.0.mp4\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=2,URI=\"b.1.mp4\",GAP=YES\n#EXTINF:4,\nb.mp4\n#EXT-X-PART:DURATION=1.5,URI=\"c.0.mp4\"\n",
			"0 0s+4s a.mp4\n1 4s+4s b.mp4 part(2s b.0.mp4 I) part(2s b.1.mp4 gap)\npartial 2 8s+1.5s part(1.5s c.0.mp4)\n",
		},
		{
			"parts as ranges", "#EXT-X-PART-INF:PART-TARGET=2\n#EXT-X-PART:DURATION=2,URI=\"a.mp4\",BYTERANGE=\"10@5\"\n#EXT-X-PART:DURATION=2,URI=\"a.mp4\",BYTERANGE=\"20\"\n#EXTINF:4,\n#EXT-X-BYTERANGE:30@5\na.mp4\n#EXT-X-PART:DURATION=2,URI=\"a.mp4\",BYTERANGE=\"7\"\n",
			"0 0s+4s a.mp4[5+30] part(2s a.mp4[5+10]) part(2s a.mp4[15+20])\npartial 1 4s+2s part(2s a.mp4[35+7])\n",
		},
		{
			"variables", "#EXT-X-DEFINE:QUERYPARAM=\"n\"\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"https://v.example/{$n}x\"\n#EXT-X-MAP:URI=\"{$dir}/i.mp4?n={$n}\"\n#EXTINF:4,\n{$dir}/a{$ b}.ts\n",
			"0 0s+4s https://v.example/7x/a%7B$%20b%7D.ts init(https://v.example/7x/i.mp4?n=7)\n",
		},
		{"unknown tags", "#EXT-X-SOMETHING:NEW=\"1\n#EXTINF:4,\n#EXT-X-ELSE\na.ts\n", "0 0s+4s a.ts\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := header + c.in
			if d := cmp.Diff(c.want, show(parseMedia(t, text))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMediaHeader(t *testing.T) {
	m := parseMedia(t, `#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:4
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=24.0,CAN-SKIP-DATERANGES=YES,HOLD-BACK=12,PART-HOLD-BACK=1.0
#EXT-X-PART-INF:PART-TARGET=0.33334
#EXT-X-MEDIA-SEQUENCE:266
#EXT-X-PLAYLIST-TYPE:EVENT
#EXT-X-KEY:METHOD=AES-128,URI="k?id=1"
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:text/plain;base64,AAAA",KEYFORMAT="urn:uuid:x"
#EXT-X-DATERANGE:ID="pre",CLASS="com.apple.hls.interstitial",START-DATE="2024-05-01T00:00:00Z",DURATION=15.0,X-ASSET-URI="/ad/1.m3u8"
#EXTINF:4.00008,
f266.mp4
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="f267.mp4",BYTERANGE-START=4096
#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="init2.mp4"
#EXT-X-PRELOAD-HINT:TYPE=SOMETHING,URI="x"
#EXT-X-RENDITION-REPORT:URI="../v2/index.m3u8",LAST-MSN=273,LAST-PART=2
#EXT-X-RENDITION-REPORT:URI="../v3/index.m3u8",LAST-MSN=273
`)
	at := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	want := &Media{
		TargetDuration: 4 * time.Second, PartTarget: 333340 * time.Microsecond, MediaSequence: 266, Type: "EVENT",
		ServerControl: ServerControl{CanSkipUntil: 24 * time.Second, CanSkipDateRanges: true, HoldBack: 12 * time.Second, PartHoldBack: time.Second, CanBlockReload: true},
		Segments: []media.Segment{{
			Resource: media.Resource{URL: "https://cdn.example/live/v1/f266.mp4", Encryption: "AES-128"},
			Number:   266, Duration: 4*time.Second + 80*time.Microsecond,
		}},
		Hints: []Hint{
			{Resource: media.Resource{URL: "https://cdn.example/live/v1/f267.mp4", Range: media.Range{Offset: 4096}, Encryption: "AES-128"}},
			{Resource: media.Resource{URL: "https://cdn.example/live/v1/init2.mp4", Encryption: "AES-128"}, Map: true},
		},
		Reports: []Report{
			{URL: "https://cdn.example/live/v2/index.m3u8", LastMSN: 273, LastPart: 2},
			{URL: "https://cdn.example/live/v3/index.m3u8", LastMSN: 273, LastPart: -1},
		},
		Keys: []Key{
			{Method: "AES-128", URI: "https://cdn.example/live/v1/k?id=1", Format: "identity"},
			{Method: "SAMPLE-AES", URI: "data:text/plain;base64,AAAA", Format: "urn:uuid:x"},
		},
		DateRanges: []DateRange{{ID: "pre", Class: "com.apple.hls.interstitial", Start: at, End: at.Add(15 * time.Second), Interstitial: []string{"https://cdn.example/ad/1.m3u8"}}},
	}
	m.notes = nil
	if d := cmp.Diff(want, m, cmp.AllowUnexported(Media{})); d != "" {
		t.Error(d)
	}
}

func TestMultivariant(t *testing.T) {
	p := parse(t, `#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-DEFINE:NAME="cdn",VALUE="https://b.example"
#EXT-X-CONTENT-STEERING:SERVER-URI="/steer?v=1",PATHWAY-ID="A"
#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI="skd://k",KEYFORMAT="com.apple.streamingkeydelivery"
#EXT-X-SESSION-DATA:DATA-ID="com.x",URI="data.json"
#EXT-X-SESSION-DATA:DATA-ID="com.y",VALUE="y"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aA",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="en.m3u8",STABLE-RENDITION-ID="en"
#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",NAME="cc",INSTREAM-ID="CC1"
#EXT-X-STREAM-INF:BANDWIDTH=1000,AVERAGE-BANDWIDTH=900,SCORE=2.5,CODECS="avc1,mp4a",RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="aA",PATHWAY-ID="A"
lo.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2000,STABLE-VARIANT-ID="hi",PATHWAY-ID="A"
hi.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1000,AVERAGE-BANDWIDTH=900,SCORE=2.5,CODECS="avc1,mp4a",RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="aB",PATHWAY-ID="B"
{$cdn}/lo.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2100,STABLE-VARIANT-ID="hi",PATHWAY-ID="B"
{$cdn}/hi.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=2000,STABLE-VARIANT-ID="hi",URI="iframes.m3u8"
`)
	dir := "https://cdn.example/live/v1/"
	lo := Variant{
		URL: dir + "lo.m3u8", Bandwidth: 1000, AverageBandwidth: 900, Score: 2.5, Codecs: "avc1,mp4a",
		Resolution: "640x360", FrameRate: "25.000", Audio: "aA", Pathway: "A",
	}
	loB := lo
	loB.URL, loB.Audio, loB.Pathway = "https://b.example/lo.m3u8", "aB", "B"
	hi := Variant{URL: dir + "hi.m3u8", Bandwidth: 2000, StableID: "hi", Pathway: "A"}
	hiB := Variant{URL: "https://b.example/hi.m3u8", Bandwidth: 2100, StableID: "hi", Pathway: "B"}
	frames := Variant{URL: dir + "iframes.m3u8", IFrame: true, Bandwidth: 2000, StableID: "hi", Pathway: "."}
	want := &Playlist{
		IndependentSegments: true, Variables: map[string]string{"cdn": "https://b.example"},
		Multivariant: &Multivariant{
			Variants: []Variant{lo, hi, loB, hiB, frames},
			Renditions: []Rendition{
				{Type: "AUDIO", URL: dir + "en.m3u8", Group: "aA", Name: "English", Language: "en", StableID: "en", Default: true},
				{Type: "CLOSED-CAPTIONS", Group: "cc", Name: "cc"},
			},
			SessionKeys: []Key{{Method: "SAMPLE-AES", URI: "skd://k", Format: "com.apple.streamingkeydelivery"}},
			SessionData: []string{dir + "data.json"},
			Steering:    &Steering{URL: "https://cdn.example/steer?v=1", Pathway: "A"},
		},
	}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([][]Variant{{lo, loB}, {hi, hiB}, {frames}}, p.Multivariant.Alternatives()); d != "" {
		t.Error(d)
	}
	m, err := Parse([]byte(header+"#EXT-X-DEFINE:IMPORT=\"cdn\"\n#EXTINF:4,\n{$cdn}/a.ts\n"), Context{Base: base, Variables: p.Variables})
	if err != nil || m.Media.Segments[0].URL != "https://b.example/a.ts" {
		t.Errorf("imported variable: %v, %v", m, err)
	}
}

func TestByteOrderMark(t *testing.T) {
	if got := show(parseMedia(t, "\ufeff"+header+"#EXTINF:4,\na.ts\n")); got != "0 0s+4s a.ts\n" {
		t.Error(got)
	}
}

// TestLegacyAlternatives has the redundant variants of RFC 8216 §6.2.4.
func TestLegacyAlternatives(t *testing.T) {
	p := parse(t, "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://b.example/a.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"x\"\nc.m3u8\n")
	if got := p.Multivariant.Alternatives(); len(got) != 2 || len(got[0]) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestParseErrors(t *testing.T) {
	long := strings.Repeat("a", 9000)
	cases := []struct{ in, want string }{
		{"", "empty playlist"},
		{"<MPD/>", "line 1: the first line is not #EXTM3U"},
		{"#EXTM3U\n", "neither a variant nor EXT-X-TARGETDURATION"},
		{"#EXTM3U\na.ts\n", "line 2: a URI with neither EXTINF"},
		{"#EXTM3U\n#EXTINF:4,\na.ts\n", "no EXT-X-TARGETDURATION"},
		{header + "#EXTINF:4.51,\na.ts\n", "line 4: EXTINF: 4.51s is longer than the target duration, 4s"},
		{header + "#EXTINF:-1,\na.ts\n", "line 3: EXTINF: not a decimal number"},
		{header + "#EXTINF:NaN,\na.ts\n", "line 3: EXTINF: not a decimal number"},
		{header + "#EXTINF:Inf,\na.ts\n", "line 3: EXTINF: not a decimal number"},
		{header + "#EXTINF:1e9,\na.ts\n", "line 3: EXTINF: not a decimal number"},
		{header + "#EXTINF:99999999999999999999,\na.ts\n", "line 3: EXTINF: longer than 24h"},
		{header + "#EXTINF:4,\n", "line 3: EXTINF: the playlist ends before the URI"},
		{header + "#EXTINF:4,\n#EXTINF:4,\na.ts\n", "line 4: EXTINF: the segment before has no URI"},
		{header + "a.ts\n", "line 3: a URI without EXTINF"},
		{header + "#EXT-X-TARGETDURATION:5\n", "line 3: EXT-X-TARGETDURATION: the tag is there twice"},
		{header + "#EXTINF:4,\na.ts\n#EXT-X-MEDIA-SEQUENCE:5\n", "line 5: EXT-X-MEDIA-SEQUENCE: after the first segment"},
		{header + "#EXT-X-MEDIA-SEQUENCE:-5\n", "not a whole number"},
		{header + "#EXT-X-MEDIA-SEQUENCE:4611686018427387904\n#EXTINF:4,\na.ts\n", "media sequence numbers beyond"},
		{header + "#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY-SEQUENCE:5\n", "line 4: EXT-X-DISCONTINUITY-SEQUENCE: after"},
		{header + "#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "line 3: EXT-X-STREAM-INF: a tag of multivariant playlists"},
		{"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXTINF:4,\n", "line 4: EXTINF: a tag of media playlists"},
		{"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", "line 2: EXT-X-STREAM-INF: the playlist ends after"},
		{"#EXTM3U\n#EXT-X-STREAM-INF:CODECS=\"x\"\na\n", "line 2: EXT-X-STREAM-INF: no BANDWIDTH"},
		{header + "#EXT-X-PLAYLIST-TYPE:LIVE\n", "neither EVENT nor VOD"},
		{header + "#EXTINF:4,\nfile:///etc/passwd\n", "line 4: not an http or https URL"},
		{header + "#EXTINF:4,\nhttp:a.ts\n", "line 4: not an http or https URL"},
		{header + "#EXTINF:4,\n" + long + "\n", "line 4: URI of 9000 bytes, the limit is 8192"},
		{header + "#EXTINF:4,\nhttp://h:x/?secret\n", "line 4: URI: invalid port"},
		{header + "#EXTINF:4,\n#EXT-X-BYTERANGE:10\na.ts\n", "line 5: the byte range has no offset"},
		{header + "#EXTINF:4,\n#EXT-X-BYTERANGE:10@0\na.ts\n#EXTINF:4,\n#EXT-X-BYTERANGE:10\nb.ts\n", "line 8: the byte range has no offset"},
		{header + "#EXTINF:4,\n#EXT-X-BYTERANGE:0@0\na.ts\n", "line 4: EXT-X-BYTERANGE: the byte range is empty"},
		{header + "#EXTINF:4,\n#EXT-X-BYTERANGE:4611686018427387904@4611686018427387904\na.ts\n", "ends beyond"},
		{header + "#EXT-X-MAP:BYTERANGE=\"1@0\"\n", "line 3: EXT-X-MAP: no URI"},
		{header + "#EXT-X-MAP:URI=\"a\n", "line 3: EXT-X-MAP: URI: the quote does not end"},
		{header + "#EXT-X-MAP:URI=\"a\",URI=\"b\"\n", "line 3: EXT-X-MAP: URI is there twice"},
		{header + "#EXT-X-MAP:URI=\"a\"b=1\n", "URI: no comma after the value"},
		{header + "#EXT-X-KEY:URI=\"a\"\n", "line 3: EXT-X-KEY: no METHOD"},
		{header + "#EXT-X-KEY:METHOD=AES-128\n", "line 3: EXT-X-KEY: no URI"},
		{header + "#EXT-X-PROGRAM-DATE-TIME:yesterday\n", "line 3: EXT-X-PROGRAM-DATE-TIME: not a date"},
		{header + "#EXT-X-PART:DURATION=1,URI=\"a\"\n", "EXT-X-PART: there are parts, and no EXT-X-PART-INF"},
		{header + "#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-PART:DURATION=1.2,URI=\"a\"\n", "part 0, of 1.2s, is longer than the part target, 1s"},
		{header + "#EXT-X-PART-INF:PART-TARGET=0\n", "no PART-TARGET above 0"},
		{
			header + "#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-PART:DURATION=1,URI=\"a\"\n#EXT-X-PART:DURATION=1,URI=\"b\"\n#EXT-X-PART:DURATION=1,URI=\"c\"\n#EXTINF:1,\ns\n",
			"line 8: EXT-X-PART: the first 3 parts last 3s, and the segment 1s",
		},
		{header + "#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-PART:DURATION=1,URI=\"s\",BYTERANGE=\"11@0\"\n#EXTINF:1,\n#EXT-X-BYTERANGE:10@0\ns\n", "part 0 is beyond the byte range of its segment"},
		{header + "#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-PART:DURATION=1,URI=\"s\"\n#EXT-X-DISCONTINUITY\n", "line 5: EXT-X-DISCONTINUITY: between the parts"},
		{header + "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=MAYBE\n", "CAN-BLOCK-RELOAD is neither YES nor NO"},
		{header + "#EXT-X-DATERANGE:CLASS=\"x\"\n", "line 3: EXT-X-DATERANGE: no ID"},
		{header + "#EXT-X-DATERANGE:ID=\"x\",START-DATE=\"2024-05-01T00:00:01Z\",END-DATE=\"2024-05-01T00:00:00Z\"\n", "END-DATE: before START-DATE"},
		{header + "#EXT-X-DEFINE:NAME=\"a\"\n", "NAME without VALUE"},
		{header + "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"1\",IMPORT=\"b\"\n", "wants one of NAME, IMPORT and QUERYPARAM"},
		{header + "#EXT-X-DEFINE:NAME=\"a b\",VALUE=\"1\"\n", "the name of the variable"},
		{header + "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"1\"\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"2\"\n", "line 4: EXT-X-DEFINE: the variable is defined twice"},
		{header + "#EXT-X-DEFINE:QUERYPARAM=\"zz\"\n", "has no parameter of that name"},
		{
			header + "#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"{$n}x\"\n#EXT-X-DEFINE:QUERYPARAM=\"n\"\n",
			"line 3: EXT-X-DEFINE: the variable n is not defined",
		},
		{header + "#EXT-X-DEFINE:IMPORT=\"zz\"\n#EXTINF:4,\n{$zz}\n", "line 5: the variable zz is imported"},
		{header + "#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n", "line 3: EXT-X-SKIP: delta update"},
		{header + "#EXT-X-SKIP:SKIPPED-SEGMENTS=0\n", "no SKIPPED-SEGMENTS above 0"},
		{header + "#X" + strings.Repeat("x", maxLine), "line 3: line of 65538 bytes"},
		{header + "#EXT-X-KEY:METHOD=NONE" + manyAttributes(200), "more than 128 attributes"},
		{"#EXTM3U\n" + strings.Repeat("#EXT-X-SESSION-DATA:DATA-ID=\"x\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n", 2001), "more than 2000 variants"},
		{header + strings.Repeat("#EXTINF:1,\na\n", media.MaxSegments+1), "more than 100000 segments and parts"},
		{strings.Repeat("x", media.MaxPlaylist+1), "the limit is 8388608"},
	}
	for _, c := range cases {
		_, err := Parse([]byte(c.in), Context{Base: base})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.300q: error %v, want %q", c.in, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a URL: %v", err)
		}
	}
	if _, err := Parse([]byte(header), Context{Base: mustURL("file:///x")}); !errors.Is(err, media.ErrScheme) {
		t.Errorf("base without http: %v", err)
	}
	var at *media.Error
	if _, err := Parse([]byte(header+"#EXTINF:x,\n"), Context{Base: base}); !errors.As(err, &at) || at.Line != 3 || at.Tag != "EXTINF" {
		t.Errorf("place of the error: %+v", at)
	}
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",A%d=1", i)
	}
	return b.String()
}

// TestBombs has short playlists that would grow without bounds.
func TestBombs(t *testing.T) {
	v := strings.Repeat("x", 7000)
	long := mustURL("https://cdn.example/" + v + "/index.m3u8")
	for name, text := range map[string]string{
		"variables":         header + "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"" + v + "\"\n" + strings.Repeat("#EXTINF:1,\n{$a}\n", 50_000),
		"nested variables":  header + "#EXT-X-DEFINE:NAME=\"a\",VALUE=\"" + v + "\"\n#EXT-X-DEFINE:NAME=\"b\",VALUE=\"" + strings.Repeat("{$a}", 20) + "\"\n",
		"long base":         header + strings.Repeat("#EXTINF:1,\na\n", 50_000),
		"long base, assets": header + strings.Repeat("#EXT-X-DATERANGE:ID=\"1\",X-ASSET-URI=\"a\"\n", 50_000),
	} {
		if _, err := Parse([]byte(text), Context{Base: long}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFFmpeg reads what ffmpeg writes: see testdata/make.sh.
func TestFFmpeg(t *testing.T) {
	cases := map[string]func(m *Media) error{
		"ts.m3u8": func(m *Media) error {
			return want(show(m), "0 0s+2s ts0.ts\n1 2s+2s ts1.ts\n2 4s+2s ts2.ts\n")
		},
		"aes.m3u8": func(m *Media) error {
			if len(m.Keys) != 1 || m.Keys[0].URI != "https://cdn.example/live/v1/keys/key.bin?id=1" {
				return fmt.Errorf("keys %v", m.Keys)
			}
			return want(show(m), "0 0s+2s aes0.ts AES-128\n1 2s+2s aes1.ts AES-128\n2 4s+2s aes2.ts AES-128\n")
		},
		"single.m3u8":      func(m *Media) error { return contiguous(m, 0) },
		"single-fmp4.m3u8": func(m *Media) error { return contiguous(m, m.Segments[0].Init.Range.Length) },
		"fmp4-live.m3u8": func(m *Media) error {
			s := m.Segments
			if m.EndList || len(s) != 4 || s[0].Number != 6 || s[3].ProgramTime.Sub(s[0].ProgramTime) != 3*time.Second {
				return errors.New(show(m))
			}
			return want(showResource(*s[3].Init), " init.mp4")
		},
		"multi-3.m3u8": func(m *Media) error {
			if len(m.Segments) != 3 || !m.EndList || m.Type != "VOD" {
				return errors.New(show(m))
			}
			return nil
		},
	}
	for name, check := range cases {
		if err := check(parseMedia(t, string(testdata(t, name)))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := parse(t, string(testdata(t, "multi.m3u8"))).Multivariant
	if m == nil || len(m.Variants) != 3 || len(m.Renditions) != 2 || m.Renditions[1].Language != "de" || m.Variants[2].Audio != "group_aud" {
		t.Errorf("multi.m3u8: %+v", m)
	}
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func want(got, want string) error {
	if got != want {
		return fmt.Errorf("got\n%s, want\n%s", got, want)
	}
	return nil
}

func contiguous(m *Media, at int64) error {
	for _, s := range m.Segments {
		if s.Range.Offset != at || s.Range.Length == 0 {
			return errors.New(show(m))
		}
		at += s.Range.Length
	}
	return nil
}

// TestMemory has the playlists that make the most of the bounds: what is
// allocated for them, all in all, is bounded, too.
func TestMemory(t *testing.T) {
	long := mustURL("https://cdn.example/" + strings.Repeat("x", 600) + "/index.m3u8")
	for name, text := range map[string]string{
		"segments":   header + strings.Repeat("#EXTINF:1,\na\n", media.MaxSegments),
		"parts":      header + "#EXT-X-PART-INF:PART-TARGET=1\n" + strings.Repeat("#EXT-X-PART:DURATION=0,URI=\"a\"\n", media.MaxSegments),
		"keys":       header + strings.Repeat("#EXT-X-KEY:METHOD=AES-128,URI=\"a\",KEYFORMAT=\"b\"\n", 100_000),
		"attributes": header + strings.Repeat("#EXT-X-KEY:METHOD=NONE"+manyAttributes(100)+"\n", 10_000),
		"lines":      header + strings.Repeat("\n", media.MaxPlaylist-len(header)),
		"unknown":    header + strings.Repeat("#EXT\n", 1_600_000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(text), Context{Base: long})
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 512 || err != nil {
			t.Errorf("%s: %d MiB allocated, error %v", name, n, err)
		} else {
			t.Logf("%s: %d MiB", name, n)
		}
	}
}
