package dash

import (
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/mediatest"
)

func TestRewrite(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{
			"everything", `<?xml version="1.0" encoding="utf-8"?>
<!-- <BaseURL>comment</BaseURL> -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xlink="http://www.w3.org/1999/xlink">
  <BaseURL serviceLocation='a'> https://cdn.example/a/ </BaseURL>
  <BaseURL>https://other.example/b/</BaseURL>
  <BaseURL><![CDATA[https://cdn.example/c?x=1&y=2]]></BaseURL>
  <Location>next.mpd?a=1&amp;b=2</Location>
  <PatchLocation ttl="60">/patch.mpp</PatchLocation>
  <ContentSteering>https://cdn.example/s</ContentSteering>
  <ContentSteering proxyServerURL="https://cdn.example/proxy">https://cdn.example/s</ContentSteering>
  <Period xlink:href='https://cdn.example/p?a="1"' xlink:actuate="onLoad"/>
  <Period xlink:href="urn:mpeg:dash:resolve-to-zero:2013">
    <EventStream xlink:href="//cdn.example/e"><Event><BaseURL>https://cdn.example/x</BaseURL></Event></EventStream>
    <AdaptationSet>
      <BaseURL>d/</BaseURL>
      <BaseURL>/d/</BaseURL>
      <SegmentTemplate media="$RepresentationID$/$Number%05d$.m4s" initialization="/i/$RepresentationID$.mp4" index="../$Number$.sidx" bitstreamSwitching='https://cdn.example/$Bandwidth$?n=$$1'/>
      <Representation id="1"><BaseURL/><SegmentList><Initialization sourceURL="https://cdn.example/init"
        range="0-1"/><SegmentURL media="a" index="/b"/></SegmentList></Representation>
      <Representation id="2"><x:BaseURL xmlns:x="other">https://cdn.example/y</x:BaseURL><SegmentBase><RepresentationIndex sourceURL="https://cdn.example/r"/></SegmentBase></Representation>
    </AdaptationSet>
  </Period>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="https://time.example/ https://cdn.example/now?a&amp;b"/>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:ntp:2014" value="https://cdn.example/"/>
</MPD>
`, `<?xml version="1.0" encoding="utf-8"?>
<!-- <BaseURL>comment</BaseURL> -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xlink="http://www.w3.org/1999/xlink">
  <BaseURL serviceLocation='a'> /gw/cdn.example/a/ </BaseURL>
  <BaseURL>https://other.example/b/</BaseURL>
  <BaseURL>/gw/cdn.example/c?x=1&amp;y=2</BaseURL>
  <Location>/gw/cdn.example/live/v1/next.mpd?a=1&amp;b=2</Location>
  <PatchLocation ttl="60">/gw/cdn.example/patch.mpp</PatchLocation>
  <ContentSteering>/gw/cdn.example/s</ContentSteering>
  <ContentSteering proxyServerURL="/gw/cdn.example/proxy">https://cdn.example/s</ContentSteering>
  <Period xlink:href='/gw/cdn.example/p?a=%221%22' xlink:actuate="onLoad"/>
  <Period xlink:href="urn:mpeg:dash:resolve-to-zero:2013">
    <EventStream xlink:href="/gw/cdn.example/e"><Event><BaseURL>https://cdn.example/x</BaseURL></Event></EventStream>
    <AdaptationSet>
      <BaseURL>d/</BaseURL>
      <BaseURL>/gw/cdn.example/d/</BaseURL>
      <SegmentTemplate media="$RepresentationID$/$Number%05d$.m4s" initialization="/gw/cdn.example/i/$RepresentationID$.mp4" index="../$Number$.sidx" bitstreamSwitching='/gw/cdn.example/$Bandwidth$?n=$$1'/>
      <Representation id="1"><BaseURL/><SegmentList><Initialization sourceURL="/gw/cdn.example/init"
        range="0-1"/><SegmentURL media="a" index="/gw/cdn.example/b"/></SegmentList></Representation>
      <Representation id="2"><x:BaseURL xmlns:x="other">https://cdn.example/y</x:BaseURL><SegmentBase><RepresentationIndex sourceURL="/gw/cdn.example/r"/></SegmentBase></Representation>
    </AdaptationSet>
  </Period>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="https://time.example/ /gw/cdn.example/now?a&amp;b"/>
  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:ntp:2014" value="https://cdn.example/"/>
</MPD>
`,
		},
		{
			"no base URL", "<MPD>\r\n<Period><AdaptationSet><SegmentTemplate media=\"$Number%05d$\" initialization='i&amp;j'/></AdaptationSet></Period></MPD>",
			"<MPD>\r\n<Period><AdaptationSet><SegmentTemplate media=\"/gw/cdn.example/live/v1/$Number%05d$\" initialization='/gw/cdn.example/live/v1/i&amp;j'/></AdaptationSet></Period></MPD>",
		},
		{
			"what cannot be resolved", `<MPD><Location>http://h:x/</Location><Period><SegmentTemplate media="data:x" index="%zz"/></Period></MPD>`,
			`<MPD><Location>http://h:x/</Location><Period><SegmentTemplate media="data:x" index="%zz"/></Period></MPD>`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			mediatest.Rewrites(t, Rewrite, base, c.in, c.want)
		})
	}
}

// TestRewriteFollows asks what a player asks: are the segments of what a gateway
// answers at the gateway's URLs for those of the original?
func TestRewriteFollows(t *testing.T) {
	at := mustURL("https://gateway.example/gw/cdn.example/live/v1/index.mpd?token=abc")
	urls := func(m *MPD, location string) (all []string) {
		l, err := m.List(0, epoch, location)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l.Segments {
			all = append(all, s.URL)
			if s.Init != nil {
				all = append(all, s.Init.URL)
			}
		}
		return all
	}
	for _, inside := range []string{
		one(`<SegmentTemplate duration="4" media="$Number%03d$" initialization="/i"/>`),
		`<BaseURL>https://cdn.example/x/y</BaseURL><BaseURL serviceLocation="b">../z/</BaseURL>` + one(`<BaseURL>r/</BaseURL><SegmentTemplate duration="4" media="../$Number%03d$"/>`),
		`<BaseURL>../../..</BaseURL>` + one(`<BaseURL>..</BaseURL><SegmentTemplate duration="4" media="a/../../$Number$"/>`),
		`<BaseURL>//cdn.example/x/</BaseURL>` + one(`<SegmentList duration="5"><SegmentURL/><SegmentURL media="?a=1"/></SegmentList>`),
	} {
		for _, location := range []string{"", "b"} {
			in := vod(inside)
			want := urls(parse(t, in), location)
			out, err := Rewrite([]byte(in), base, mediatest.Gateway)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Parse(out, at)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				want[i] = strings.Replace(want[i], "https://", "https://gateway.example/gw/", 1)
			}
			if d := cmp.Diff(want, urls(m, location)); d != "" {
				t.Errorf("%s\n%s", out, d)
			}
		}
	}
}

func TestRewriteErrors(t *testing.T) {
	cases := []struct{ in, to, want string }{
		{"<html/>", "x", "this is no DASH manifest"},
		{"<!DOCTYPE x><MPD/>", "x", "a DTD"},
		{"<MPD>\n<BaseURL>file:///x</BaseURL></MPD>", "x", "line 2: BaseURL: not an http"},
		{"<MPD><Period/>\n<BaseURL>x</BaseURL></MPD>", "x", "line 2: BaseURL: after what it is for"},
		{"<MPD>\n<Location>a</Location></MPD>", "a\nb", "line 2: Location: the new URL has characters"},
		{`<MPD><Period><SegmentTemplate media="$Number$"/></Period></MPD>`, "/x/%24Number%24", "SegmentTemplate: @media: the new URL has other identifiers"},
		{"<MPD>" + strings.Repeat("<Location>a</Location>", 10_000) + "</MPD>", strings.Repeat("x", 7000), "more than 67108864 bytes"},
	}
	for _, c := range cases {
		_, err := Rewrite([]byte(c.in), base, func(*url.URL) string { return c.to })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.100q: error %v, want %q", c.in, err, c.want)
		}
	}
}

// corpus is what the fuzz targets begin with.
func corpus(f *testing.F) {
	files, err := filepath.Glob("testdata/*.mpd")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		f.Add(testdata(f, filepath.Base(name)))
	}
	for _, s := range []string{
		`<BaseURL serviceLocation="a">https://a.example/</BaseURL><BaseURL>b/</BaseURL><Location>n</Location><Period start="PT1S" xlink:href="x"/>` + one(`<BaseURL>../c</BaseURL><SegmentTemplate timescale="10" media="/$Time%05d$" startNumber="3"><SegmentTimeline><S t="100" d="20" r="-1"/><S t="140" d="3"/></SegmentTimeline></SegmentTemplate>`),
		one(`<SegmentList duration="5"><Initialization sourceURL="i" range="0-9"/><SegmentURL media="a"/><SegmentURL mediaRange="100-199"/></SegmentList>`),
		one(`<SegmentTemplate duration="5" endNumber="9" availabilityTimeOffset="INF" media="$Number$" initialization="$RepresentationID$"/>`) + `<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="a b"/>`,
	} {
		f.Add([]byte(vod(s)))
		f.Add([]byte(live(`timeShiftBufferDepth="PT5S" minimumUpdatePeriod="PT1S"`, s)))
	}
}

// lists are the listings of what can be listed of the first representations.
func lists(m *MPD, location string) []Listing {
	var all []Listing
	for i := range m.Representations[:min(4, len(m.Representations))] {
		if l, err := m.List(i, epoch.Add(time.Hour), location); err == nil {
			all = append(all, l)
		}
	}
	return all
}

// FuzzParse wants no panic and no more than the bounds.
func FuzzParse(f *testing.F) {
	corpus(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(in, base)
		if err != nil {
			return
		}
		for _, l := range lists(m, "a") {
			if len(l.Segments) > media.MaxSegments {
				t.Fatalf("%d segments", len(l.Segments))
			}
			for _, s := range l.Segments {
				if s.URL == "" || s.Duration < 0 || s.Start < -maxPresentation || s.Range.Offset < 0 || s.Range.Length < 0 {
					t.Fatalf("segment %+v", s)
				}
			}
		}
		if c, err := Compare(m, m, epoch); err == nil && c != media.Continues {
			t.Fatalf("compared with itself: %v", c)
		}
	})
}

// FuzzRewrite wants no panic, the same model where URLs are made absolute, and
// the same bytes where they are left.
func FuzzRewrite(f *testing.F) {
	corpus(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		m, parseErr := Parse(in, base)
		if out, err := Rewrite(in, base, func(*url.URL) string { return "" }); err == nil && string(out) != string(in) {
			t.Fatalf("changed without need: %q", out)
		}
		out, err := Rewrite(in, base, (*url.URL).String)
		if parseErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("what can be parsed cannot be rewritten: %v", err)
		}
		again, err := Parse(out, base)
		if err != nil {
			t.Fatalf("%v, of what was rewritten:\n%s", err, out)
		}
		a, b := lists(m, ""), lists(again, "")
		for _, m := range []*MPD{m, again} { // listed they have to be the same, not written
			m.UTCTimings = nil
			for i := range m.Representations {
				r := &m.Representations[i]
				r.address, r.Bases = addressing{}, r.Bases[:1] // what begins at the root is below the first alone
			}
		}
		if !reflect.DeepEqual(m, again) || !reflect.DeepEqual(a, b) {
			t.Fatalf("the model has changed: %s\n%s\n%s", cmp.Diff(m, again, cmp.AllowUnexported(MPD{}, Representation{}, addressing{}, Base{})), cmp.Diff(a, b), out)
		}
	})
}
