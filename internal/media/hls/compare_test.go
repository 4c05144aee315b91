package hls

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/media"
)

// window is a live playlist of the segments from one number to before another.
func window(from, to int, tags ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s#EXT-X-PART-INF:PART-TARGET=2\n#EXT-X-MEDIA-SEQUENCE:%d\n", header, from)
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "#EXTINF:4,\ns%d.ts\n", i)
	}
	for _, t := range tags {
		b.WriteString(t + "\n")
	}
	return b.String()
}

func TestCompare(t *testing.T) {
	part := func(n ...string) string {
		var b strings.Builder
		for _, n := range n {
			fmt.Fprintf(&b, "#EXT-X-PART:DURATION=2,URI=\"p%s\"\n", n)
		}
		return b.String()
	}
	dated := func(text, at string) string {
		return strings.Replace(text, "#EXTINF", "#EXT-X-PROGRAM-DATE-TIME:"+at+"\n#EXTINF", 1)
	}
	numbered := strings.Replace(window(5, 9), "#EXTINF", "#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXTINF", 1)
	const ten, tenAndABit, eleven = "2024-05-01T10:00:00Z", "2024-05-01T10:00:00.4Z", "2024-05-01T11:00:00Z"
	cases := []struct {
		name, prev, next string
		want             media.Change
		err              string
	}{
		{"the same", window(5, 9), window(5, 9), media.Continues, ""},
		{"one more", window(5, 9), window(6, 10), media.Continues, ""},
		{"some missed", window(5, 9), window(20, 24), media.Continues, ""},
		{"from nothing", window(5, 5), window(5, 7), media.Continues, ""},
		{"the end", window(5, 9), window(6, 10, "#EXT-X-ENDLIST"), media.Continues, ""},
		{"a wider window", window(5, 9), window(3, 10), media.Continues, ""},
		{"an older state", window(6, 10), window(5, 9), media.Stale, ""},
		{"an older state of a growing list", window(5, 10), window(5, 9), media.Stale, ""},
		{"an older state of parts", window(5, 9, part("1", "2")), window(5, 9, part("1")), media.Stale, ""},
		{"begins again at 0", window(50, 54), window(0, 2), media.Restarted, ""},
		{"nothing listed after a restart", window(50, 54), window(0, 0), media.Restarted, ""},
		{"the same numbers, other names", window(0, 4), strings.ReplaceAll(window(0, 2), "ts", "m4s"), media.Restarted, ""},
		{"the same names, another day", dated(window(0, 4), ten), dated(window(0, 4), eleven), media.Restarted, ""},
		{"dates corrected", dated(window(0, 4), ten), dated(window(0, 4), tenAndABit), media.Continues, ""},
		{"one name changed", window(5, 9), strings.Replace(window(5, 9), "s7.ts", "x.ts", 1), media.Contradicts, "line 10: segment 7: another URL than before"},
		{"one duration changed", window(5, 9), strings.Replace(window(6, 10), "#EXTINF:4,\ns7", "#EXTINF:3,\ns7", 1), media.Contradicts, "line 8: segment 7: lasts 3s, and before it was 4s"},
		{"encryption begins in between", window(5, 9), strings.Replace(window(5, 9), "#EXTINF:4,\ns8", "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:4,\ns8", 1), media.Contradicts, "segment 8: encrypted in another way"},
		{"a map appears", window(5, 9), strings.Replace(window(5, 9), "#EXTINF:4,\ns8", "#EXT-X-MAP:URI=\"k\"\n#EXTINF:4,\ns8", 1), media.Contradicts, "segment 8: another initialization segment"},
		{"a byte range appears", window(5, 9), strings.Replace(window(5, 9), "s8", "#EXT-X-BYTERANGE:1@1\ns8", 1), media.Contradicts, "segment 8: another byte range"},
		{"goes on after the end", window(5, 9, "#EXT-X-ENDLIST"), window(6, 10), media.Contradicts, "goes on after EXT-X-ENDLIST"},
		{"the end is taken back", window(5, 9, "#EXT-X-ENDLIST"), window(5, 9), media.Contradicts, "goes on after EXT-X-ENDLIST"},
		{"VOD grows", window(5, 9, "#EXT-X-PLAYLIST-TYPE:VOD"), window(5, 10), media.Contradicts, "type VOD has got more"},
		{"event loses", window(5, 9, "#EXT-X-PLAYLIST-TYPE:EVENT"), window(6, 10), media.Contradicts, "type EVENT has lost"},
		{"parts grow", window(5, 9, part("1")), window(5, 9, part("1", "2")), media.Continues, ""},
		{"parts become a segment", window(5, 9, part("1")), window(5, 9, part("1", "2")+"#EXTINF:4,\ns9.ts"), media.Continues, ""},
		{"parts leave before their segment", window(5, 9, part("1")), window(5, 10), media.Continues, ""},
		{"other parts", window(5, 9, part("1")), window(5, 9, part("x", "2")), media.Contradicts, "segment 9: other parts than before"},
		{"a discontinuity appears", numbered, strings.Replace(numbered, "#EXTINF:4,\ns8", "#EXT-X-DISCONTINUITY\n#EXTINF:4,\ns8", 1), media.Contradicts, "segment 8: discontinuity sequence number 2, and before it was 1"},
	}
	for _, c := range cases {
		got, err := Compare(parseMedia(t, c.prev), parseMedia(t, c.next))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v; want %v, %q", c.name, got, err, c.want, c.err)
		}
	}
}

// TestDelta updates a playlist by EXT-X-SKIP and gets the same as by loading all
// of it.
func TestDelta(t *testing.T) {
	const (
		begin = header + "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=24\n#EXT-X-PART-INF:PART-TARGET=2\n"
		old   = "#EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-KEY:METHOD=AES-128,URI=\"k1\"\n#EXT-X-MAP:URI=\"i.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2024-05-01T10:00:00Z\n#EXTINF:4,\ns5.mp4\n"
		mid   = "#EXT-X-DISCONTINUITY\n#EXTINF:3,\n#EXT-X-BYTERANGE:10@0\nall.mp4\n#EXT-X-CUE-OUT:9\n#EXTINF:4,\n#EXT-X-BYTERANGE:5\nall.mp4\n"
		fresh = "#EXTINF:4,\n#EXT-X-BYTERANGE:7\nall.mp4\n#EXT-X-CUE-IN\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-PART:DURATION=2,URI=\"p\"\n"
	)
	prev := parseMedia(t, begin+"#EXT-X-MEDIA-SEQUENCE:5\n"+old+mid)
	whole := parseMedia(t, begin+"#EXT-X-MEDIA-SEQUENCE:5\n"+old+mid+fresh)
	c := Context{Base: base, Previous: prev}
	delta := begin + "#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n" + fresh
	p, err := Parse([]byte(delta), c)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(p.Media), show(whole); got != want || p.Media.Skipped != 3 {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if len(p.Media.Keys) != 1 || p.Media.Keys[0] != whole.Keys[0] {
		t.Errorf("keys %v", p.Media.Keys)
	}
	if got, err := Compare(prev, p.Media); got != media.Continues || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	// The window has moved by one.
	moved := begin + "#EXT-X-MEDIA-SEQUENCE:6\n#EXT-X-DISCONTINUITY-SEQUENCE:4\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n" + fresh
	want := `6 0s+3s all.mp4[0+10] AES-128 disc=4 init(i.mp4 AES-128) 10:00:04
7 3s+4s all.mp4[10+5] AES-128 disc=4 init(i.mp4 AES-128) 10:00:07 ad
8 7s+4s all.mp4[15+7] AES-128 disc=4 init(i.mp4 AES-128) 10:00:11 ad
partial 9 11s+2s disc=4 init(i.mp4 AES-128) 10:00:15 part(2s p)
`
	if p, err = Parse([]byte(moved), c); err != nil || show(p.Media) != want {
		t.Errorf("%v, got\n%s", err, show(p.Media))
	}
	for _, from := range []string{"4", "8", "100"} {
		text := begin + "#EXT-X-MEDIA-SEQUENCE:" + from + "\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n" + fresh
		if _, err := Parse([]byte(text), c); !errors.Is(err, ErrDelta) {
			t.Errorf("delta from %s on: %v", from, err)
		}
	}
}

// TestDeltaDateRanges keeps those that the update does not say are gone.
func TestDeltaDateRanges(t *testing.T) {
	prev := parseMedia(t, header+"#EXT-X-DATERANGE:ID=\"a\"\n#EXT-X-DATERANGE:ID=\"b\"\n#EXT-X-DATERANGE:ID=\"c\"\n#EXTINF:4,\ns0.ts\n")
	p, err := Parse([]byte(header+"#EXT-X-SKIP:SKIPPED-SEGMENTS=1,RECENTLY-REMOVED-DATERANGES=\"a\tc\"\n#EXT-X-DATERANGE:ID=\"d\"\n"), Context{Base: base, Previous: prev})
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Media.DateRanges; len(d) != 2 || d[0].ID != "b" || d[1].ID != "d" {
		t.Errorf("got %v", d)
	}
}

func TestReload(t *testing.T) {
	const control = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES"
	cases := []struct{ in, want string }{
		{window(5, 9), "?a=%2f"},
		{window(5, 9, control), "?a=%2f&_HLS_msn=9&_HLS_part=0"},
		{window(5, 9, control+",CAN-SKIP-UNTIL=24", "#EXT-X-PART:DURATION=2,URI=\"p\""), "?a=%2f&_HLS_msn=9&_HLS_part=1&_HLS_skip=YES"},
		{window(5, 9, "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=24,CAN-SKIP-DATERANGES=YES"), "?a=%2f&_HLS_skip=v2"},
		{strings.Replace(window(5, 9, control), "#EXT-X-PART-INF:PART-TARGET=2\n", "", 1), "?a=%2f&_HLS_msn=9"},
		{window(5, 9, control, "#EXT-X-ENDLIST"), "?a=%2f"},
	}
	for _, c := range cases {
		u := mustURL("https://cdn.example/x?a=%2f")
		if got := parseMedia(t, c.in).Reload(u).String(); got != "https://cdn.example/x"+c.want || u.RawQuery != "a=%2f" {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	if got := parseMedia(t, window(5, 9, control)).Reload(mustURL("https://cdn.example/x")).RawQuery; got != "_HLS_msn=9&_HLS_part=0" {
		t.Error(got)
	}
}
