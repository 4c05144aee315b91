package dash

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
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/mediatest"
)

var (
	base  = mustURL("https://cdn.example/live/v1/index.mpd?token=abc")
	epoch = time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
)

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func parse(t testing.TB, text string) *MPD {
	t.Helper()
	m, err := Parse([]byte(text), base)
	if err != nil {
		t.Fatalf("%v, of:\n%s", err, text)
	}
	return m
}

// vod is a static MPD of 10 s, and live a dynamic one that begins at epoch, with
// this inside.
func vod(inside string) string {
	return `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xlink="http://www.w3.org/1999/xlink" type="static" mediaPresentationDuration="PT10S">` + inside + `</MPD>`
}

func live(attrs, inside string) string {
	return `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xlink="http://www.w3.org/1999/xlink" type="dynamic" availabilityStartTime="2024-05-01T00:00:00Z" ` + attrs + `>` + inside + `</MPD>`
}

// one is a period with one representation, of 4000 bit/s.
func one(inside string) string {
	return `<Period><AdaptationSet contentType="video"><Representation id="v1" bandwidth="4000">` + inside + `</Representation></AdaptationSet></Period>`
}

// show writes the segments of a representation one a line, what is not said left
// out, with the directory of the MPD cut off.
func show(l Listing) string {
	var b strings.Builder
	for _, s := range l.Segments {
		fmt.Fprintf(&b, "%d %v+%v%s", s.Number, s.Start, s.Duration, showResource(s.Resource))
		if s.Discontinuity > 0 {
			fmt.Fprintf(&b, " period=%d", s.Discontinuity)
		}
		if s.Init != nil {
			fmt.Fprintf(&b, " init(%s)", showResource(*s.Init)[1:])
		}
		if !s.ProgramTime.IsZero() {
			b.WriteString(s.ProgramTime.Format(" 15:04:05.999"))
		}
		b.WriteString("\n")
	}
	if l.Index != nil {
		fmt.Fprintf(&b, "index%s\n", showResource(*l.Index))
	}
	if !l.Next.IsZero() {
		b.WriteString(l.Next.Format("next 15:04:05.999\n"))
	}
	return b.String()
}

func showResource(r media.Resource) string {
	s := " " + strings.TrimPrefix(r.URL, "https://cdn.example/live/v1/")
	if r.Range != (media.Range{}) {
		s += fmt.Sprintf("[%d+%d]", r.Range.Offset, r.Range.Length)
	}
	if r.Encryption != "" {
		s += " " + r.Encryption
	}
	return s
}

func listAll(t testing.TB, m *MPD, now time.Time, location string) string {
	t.Helper()
	var b strings.Builder
	for i := range m.Representations {
		l, err := m.List(i, now, location)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(show(l))
	}
	return b.String()
}

func TestList(t *testing.T) {
	cases := []struct {
		name, in string
		now      time.Duration // after epoch
		want     string
	}{
		{
			"number", vod(one(`<SegmentTemplate duration="4" startNumber="7" media="$RepresentationID$/$Bandwidth$-$Number%03d$$$.m4s" initialization="$RepresentationID$/i.mp4"/>`)), 0,
			"7 0s+4s v1/4000-007$.m4s init(v1/i.mp4)\n8 4s+4s v1/4000-008$.m4s init(v1/i.mp4)\n9 8s+2s v1/4000-009$.m4s init(v1/i.mp4)\n",
		},
		{
			"end number", vod(one(`<SegmentTemplate duration="4" endNumber="2" media="$Number$"/>`)), 0,
			"1 0s+4s 1\n2 4s+4s 2\n",
		},
		{
			"time of steady segments", vod(one(`<SegmentTemplate timescale="10" presentationTimeOffset="5" duration="50" media="$Time%05d$"/>`)), 0,
			"1 0s+5s 00005\n2 5s+5s 00055\n",
		},
		{
			"timeline", vod(one(`<SegmentTemplate timescale="10" presentationTimeOffset="100" media="$Number$-$Time$"><SegmentTimeline><S t="100" d="20" r="1"/><S d="30"/><S t="180" d="20"/></SegmentTimeline></SegmentTemplate>`)), 0,
			"1 0s+2s 1-100\n2 2s+2s 2-120\n3 4s+3s 3-140\n4 8s+2s 4-180\n",
		},
		{
			"run until the next", vod(one(`<SegmentTemplate media="$Time$"><SegmentTimeline><S t="0" d="2" r="-1"/><S t="6" d="4"/></SegmentTimeline></SegmentTemplate>`)), 0,
			"1 0s+2s 0\n2 2s+2s 2\n3 4s+2s 4\n4 6s+4s 6\n",
		},
		{
			"run until the period ends", vod(one(`<SegmentTemplate media="$Time$"><SegmentTimeline><S d="3" r="-1"/></SegmentTimeline></SegmentTemplate>`)), 0,
			"1 0s+3s 0\n2 3s+3s 3\n3 6s+3s 6\n4 9s+3s 9\n",
		},
		{
			"list", vod(one(`<SegmentList duration="5"><Initialization sourceURL="i" range="0-9"/><SegmentURL media="a"/><SegmentURL media="b" mediaRange="100-199"/></SegmentList>`)), 0,
			"1 0s+5s a init(i[0+10])\n2 5s+5s b[100+100] init(i[0+10])\n",
		},
		{
			"list in one file, with a timeline", vod(one(`<BaseURL>f.mp4</BaseURL><SegmentList timescale="10"><Initialization range="0-9"/><SegmentTimeline><S d="40"/><S d="60"/></SegmentTimeline><SegmentURL mediaRange="10-19"/><SegmentURL mediaRange="20-"/></SegmentList>`)), 0,
			"1 0s+4s f.mp4[10+10] init(f.mp4[0+10])\n2 4s+6s f.mp4[20+0] init(f.mp4[0+10])\n",
		},
		{
			"base", vod(one(`<BaseURL>f.mp4</BaseURL><SegmentBase indexRange="10-19"><Initialization range="0-9"/></SegmentBase>`)), 0,
			"1 0s+10s f.mp4 init(f.mp4[0+10])\nindex f.mp4[10+10]\n",
		},
		{"nothing but a base URL", vod(one(`<BaseURL>subtitles.vtt</BaseURL>`)), 0, "0 0s+10s subtitles.vtt\n"},
		{
			"inherited from level to level", vod(`<Period><SegmentTemplate timescale="2" duration="10" initialization="i"/><AdaptationSet><ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cbcs"/><SegmentTemplate media="$RepresentationID$-$Number$"/>
				<Representation id="a"/><Representation id="b"><SegmentTemplate duration="20" startNumber="0"/></Representation><Representation id="c"><SegmentList duration="8"><SegmentURL media="x"/></SegmentList></Representation></AdaptationSet></Period>`), 0,
			"1 0s+5s a-1 cbcs init(i)\n2 5s+5s a-2 cbcs init(i)\n0 0s+10s b-0 cbcs init(i)\n1 0s+8s x cbcs\n",
		},
		{
			"a list of segments is inherited", vod(`<Period><SegmentList duration="5"><SegmentURL media="a"/></SegmentList><AdaptationSet><SegmentList duration="4"/><Representation id="1"/></AdaptationSet></Period>`), 0,
			"1 0s+4s a\n",
		},
		{
			"base URLs of every level", vod(`<BaseURL>https://m.example/m/</BaseURL><Period><BaseURL>p/</BaseURL><AdaptationSet><BaseURL>/a/</BaseURL><Representation id="1"><BaseURL>../r</BaseURL></Representation></AdaptationSet></Period>`), 0,
			"0 0s+10s https://m.example/r\n",
		},
		{
			"several periods", vod(`<Period id="a" duration="PT4S"><AdaptationSet><Representation id="1"><SegmentTemplate duration="2" media="a$Number$"/></Representation></AdaptationSet></Period><Period id="b"><AdaptationSet><Representation id="1"><SegmentTemplate duration="4" media="b$Number$" presentationTimeOffset="9"/></Representation></AdaptationSet></Period>`), 0,
			"1 0s+2s a1\n2 2s+2s a2\n1 4s+4s b1 period=1\n2 8s+2s b2 period=1\n",
		},
		{
			"live by number", live(`timeShiftBufferDepth="PT5S"`, one(`<SegmentTemplate duration="2" media="$Number$"/>`)), 21 * time.Second,
			"8 14s+2s 8 00:00:14\n9 16s+2s 9 00:00:16\n10 18s+2s 10 00:00:18\nnext 00:00:22\n",
		},
		{"live, before it begins", live("", one(`<SegmentTemplate duration="2" media="$Number$"/>`)), -time.Hour, "next 00:00:02\n"},
		{
			"live, low latency", live(`timeShiftBufferDepth="PT2S"`, one(`<SegmentTemplate duration="2" media="$Number$" availabilityTimeOffset="1.5"/>`)), 20600 * time.Millisecond,
			"9 16s+2s 9 00:00:16\n10 18s+2s 10 00:00:18\n11 20s+2s 11 00:00:20\nnext 00:00:22.5\n",
		},
		{
			"live, all there at once", live(``, `<Period duration="PT6S"><AdaptationSet><BaseURL availabilityTimeOffset="INF">x/</BaseURL><Representation id="1"><SegmentTemplate duration="3" media="$Number$"/></Representation></AdaptationSet></Period>`), 0,
			"1 0s+3s x/1 00:00:00\n2 3s+3s x/2 00:00:03\n",
		},
		{
			"live with a timeline", live(`timeShiftBufferDepth="PT4S"`, one(`<SegmentTemplate media="$Time$" startNumber="5"><SegmentTimeline><S t="100" d="2" r="2"/></SegmentTimeline></SegmentTemplate>`)), 0,
			"5 1m40s+2s 100 00:01:40\n6 1m42s+2s 102 00:01:42\n7 1m44s+2s 104 00:01:44\n",
		},
		{
			"live with a run without end", live(`timeShiftBufferDepth="PT4S"`, one(`<SegmentTemplate presentationTimeOffset="90" media="$Time$" startNumber="5"><SegmentTimeline><S t="100" d="2" r="-1"/></SegmentTimeline></SegmentTemplate>`)), 19 * time.Second,
			"6 12s+2s 102 00:00:12\n7 14s+2s 104 00:00:14\n8 16s+2s 106 00:00:16\nnext 00:00:20\n",
		},
		{
			"moving periods", live("", `<Period id="4" start="PT20S"><AdaptationSet><Representation id="1"><SegmentTemplate duration="2" media="a$Number$"/></Representation></AdaptationSet></Period><Period id="5" start="PT24S"><AdaptationSet><Representation id="1"><SegmentTemplate duration="2" media="b$Number$"/></Representation></AdaptationSet></Period><Period id="6"><AdaptationSet><Representation id="1"><SegmentTemplate duration="2" media="c$Number$"/></Representation></AdaptationSet></Period>`), 27 * time.Second,
			"1 20s+2s a1 00:00:20\n2 22s+2s a2 00:00:22\n1 24s+2s b1 period=1 00:00:24\nnext 00:00:28\n",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, listAll(t, parse(t, c.in), epoch.Add(c.now), "")); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestEndlessWindow has a stream that began long ago and keeps everything.
func TestEndlessWindow(t *testing.T) {
	for name, segments := range map[string]string{
		"number":   `<SegmentTemplate duration="2" media="$Number$"/>`,
		"timeline": `<SegmentTemplate media="$Number$"><SegmentTimeline><S d="2" r="-1"/></SegmentTimeline></SegmentTemplate>`,
	} {
		m := parse(t, strings.Replace(live("", one(segments)), "2024-05-01T00:00:00Z", "1970-01-01T00:00:00Z", 1))
		l, err := m.List(0, epoch, "")
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(epoch.Unix() / 2)
		if n := len(l.Segments); n != maxWindow || l.Segments[n-1].Number != want {
			t.Errorf("%s: %d segments to %d, want %d to %d", name, n, l.Segments[n-1].Number, maxWindow, want)
		}
	}
}

func TestParse(t *testing.T) {
	m := parse(t, `<?xml version="1.0"?><!-- a comment -->
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:cenc="urn:mpeg:cenc:2013" type="dynamic" availabilityStartTime="2024-05-01T02:00:00+02:00" publishTime="2024-05-01T00:00:00"
 minimumUpdatePeriod="PT0S" timeShiftBufferDepth="PT1H1M1.5S" suggestedPresentationDelay="P1DT1S" maxSegmentDuration="PT2S">
 <BaseURL serviceLocation="alpha">https://a.example/</BaseURL>
 <BaseURL serviceLocation="beta" availabilityTimeOffset="1"><![CDATA[https://b.example/x?a=1&b=2]]></BaseURL>
 <Location>next.mpd?a=1&amp;b=2</Location>
 <PatchLocation ttl="60">patch.mpp</PatchLocation>
 <ContentSteering defaultServiceLocation="beta alpha" queryBeforeStart="true">https://steer.example/s</ContentSteering>
 <Period id="ad" start="PT0S" xlink:href="https://ads.example/p" xlink:actuate="onLoad"/>
 <Period id="gone" start="PT5S" xlink:href="urn:mpeg:dash:resolve-to-zero:2013"/>
 <Period id="p" start="PT10S">
  <EventStream schemeIdUri="urn:scte:scte35:2013:xml"><Event><Period xmlns="other"/><BaseURL>no</BaseURL></Event></EventStream>
  <AdaptationSet mimeType="audio/mp4" codecs="mp4a.40.2" lang="de">
   <ContentProtection schemeIdUri="urn:uuid:edef8ba9"><cenc:pssh>AAAA</cenc:pssh></ContentProtection>
   <Representation id="a" bandwidth="64000"><BaseURL>a/</BaseURL></Representation>
  </AdaptationSet>
 </Period>
 <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="https://time.example/"/>
</MPD>`)
	want := &MPD{
		Dynamic: true, AvailabilityStart: epoch, PublishTime: epoch, Updates: true,
		TimeShiftBufferDepth: time.Hour + time.Minute + 1500*time.Millisecond, SuggestedDelay: 24*time.Hour + time.Second, MaxSegmentDuration: 2 * time.Second,
		Locations: []string{"https://cdn.example/live/v1/next.mpd?a=1&b=2"}, PatchLocations: []string{"https://cdn.example/live/v1/patch.mpp"},
		UTCTimings: []UTCTiming{{"urn:mpeg:dash:utc:http-iso:2014", "https://time.example/"}},
		Steering:   &Steering{URL: "https://steer.example/s", Default: []string{"beta", "alpha"}, QueryBeforeStart: true},
		Periods: []Period{
			{ID: "ad", Duration: 5 * time.Second, Remote: "https://ads.example/p"},
			{ID: "gone", Start: 5 * time.Second, Duration: 5 * time.Second},
			{ID: "p", Start: 10 * time.Second},
		},
		Representations: []Representation{{
			ID: "a", Period: 2, Type: "audio", Codecs: "mp4a.40.2", Language: "de", Bandwidth: 64000, Encryption: "cenc",
			Bases: []Base{{URL: "https://a.example/a/", ServiceLocation: "alpha"}, {URL: "https://b.example/a/", ServiceLocation: "beta", offset: time.Second}},
		}},
		ServiceLocations: []string{"alpha", "beta"},
	}
	if d := cmp.Diff(want, m, cmpopts.IgnoreUnexported(MPD{}, Representation{}), cmp.AllowUnexported(Base{})); d != "" {
		t.Error(d)
	}
	if got := listAll(t, m, epoch, "beta"); !strings.Contains(got, "https://b.example/a/") {
		t.Error(got)
	}
	if _, err := m.List(1, epoch, ""); err == nil {
		t.Error("listed what is not there")
	}
}

func TestErrors(t *testing.T) {
	template := func(attrs, inside string) string {
		return vod(one(`<SegmentTemplate ` + attrs + `>` + inside + `</SegmentTemplate>`))
	}
	timeline := func(s string) string {
		return template(`media="$Time$"`, `<SegmentTimeline>`+s+`</SegmentTimeline>`)
	}
	cases := []struct{ in, want string }{
		{"", "no MPD element"},
		{"#EXTM3U", "no MPD element"},
		{"<html/>", "line 1: the first element is not MPD"},
		{`<!DOCTYPE MPD [<!ENTITY a "aaaa">]><MPD>&a;</MPD>`, "line 1: a DTD or other declaration"},
		{"<MPD>\n&a;</MPD>", "line 2: XML: invalid character entity &a;"},
		{"<MPD>\n<Period>", "line 2: XML: unexpected EOF"},
		{"<MPD/><MPD/>", "a second root element"},
		{"<?xml version=\"1.0\" encoding=\"latin1\"?><MPD/>", "encoding \"latin1\""},
		{vod(strings.Repeat("<a>", 40)), "elements more than 32 deep"},
		{vod(one(`<SegmentTemplate` + manyAttributes(65) + `/>`)), "SegmentTemplate: more than 64 attributes"},
		{vod(strings.Repeat("<a/>", maxElements)), "more than 1000000 elements"},
		{strings.Repeat(" ", media.MaxPlaylist+1), "the limit is 8388608"},
		{vod(`<Period id="a" id="b"/>`), "line 1: Period: id is there twice"},
		{`<MPD type="live"/>`, "MPD: @type is neither"},
		{`<MPD type="dynamic"/>`, "dynamic, and no @availabilityStartTime"},
		{`<MPD mediaPresentationDuration="-PT1S"/>`, "@mediaPresentationDuration: not a duration"},
		{`<MPD mediaPresentationDuration="PT1e9S"/>`, "not a duration"},
		{`<MPD mediaPresentationDuration="PT"/>`, "not a duration"},
		{`<MPD mediaPresentationDuration="PT1S1M"/>`, "not a duration"},
		{`<MPD mediaPresentationDuration="PT99999999999999999S"/>`, "longer than 100 years"},
		{`<MPD publishTime="now"/>`, "@publishTime is not a date"},
		{vod(`<Period start="PT5S"/>` + "\n" + `<Period start="PT4S"/>`), "line 2: Period: begins at 4s, before the period ahead of it"},
		{vod(strings.Repeat(`<Period/>`, maxPeriods+1)), "more than 2000 periods"},
		{vod(one("") + "<BaseURL>x</BaseURL>"), "line 1: BaseURL: after what it is for"},
		{vod(one(`<SegmentTemplate/><BaseURL>x</BaseURL>`)), "BaseURL: after what it is for"},
		{vod(`<BaseURL>file:///etc/passwd</BaseURL>`), "BaseURL: not an http or https URL"},
		{vod(`<BaseURL>http://h:x/?secret</BaseURL>`), "BaseURL: URI: invalid port"},
		{vod(strings.Repeat(`<BaseURL>a/</BaseURL><BaseURL>b/</BaseURL><BaseURL>c/</BaseURL><BaseURL>d/</BaseURL><BaseURL>e/</BaseURL><Period>`, 1) + `<BaseURL>1/</BaseURL><BaseURL>2/</BaseURL><BaseURL>3/</BaseURL><BaseURL>4/</BaseURL></Period>`), "more than 16 base URLs"},
		{vod(`<Period><AdaptationSet><Representation/></AdaptationSet></Period>`), "Representation: no @id"},
		{vod(`<Period><AdaptationSet><Representation id="1"/><Representation id="1"/></AdaptationSet></Period>`), "has the same @id"},
		{vod(`<Period><AdaptationSet><Representation id="1"/><ContentProtection/></AdaptationSet></Period>`), "ContentProtection: after what it is for"},
		{vod(one(`<SegmentBase/><SegmentList/>`)), "SegmentList: a second way to address segments"},
		{template(`timescale="0"`, ""), "@timescale is 0"},
		{template(`timescale="-1"`, ""), "@timescale is not a whole number"},
		{template(`duration="4611686018427387905"`, ""), "@duration is not a whole number from 0 to"},
		{template(`availabilityTimeOffset="NaN"`, ""), "@availabilityTimeOffset is neither seconds nor INF"},
		{template(`media="a$Number"`, ""), "one $ too many"},
		{template(`media="$Numb$"`, ""), "which is not known"},
		{template(`media="$Number%0999d$"`, ""), "a width that is not 0 to 20 digits"},
		{template(`media="$Number%5d$"`, ""), "which is not known"},
		{template(`initialization="$Number$"`, ""), "@initialization depends on the segment"},
		{template(`duration="1"`, ""), "Representation: @media has neither $Number$ nor $Time$"},
		{template(`media="$Number$"`, ""), "neither @duration nor SegmentTimeline"},
		{template(`duration="1" media="http:$Number$"`, ""), "Representation: not an http or https URL"},
		{template(`duration="1" timescale="1000000" media="$Number$"`, ""), "10000000 segments, the limit is 100000"},
		{template(`duration="90000000" media="$Number$" timescale="1"`, ""), "a segment of 25000h0m0s, the limit is 24h0m0s"},
		{timeline(`<S t="0"/>`), "S: no @d above 0"},
		{timeline(`<S d="1" r="4000000000"/>`), "S: @r makes 4000000001 segments, the limit is 100000"},
		{timeline(strings.Repeat(`<S d="1" r="90000"/>`, 2)), "Representation: more than 100000 segments"},
		{timeline(`<S t="0" d="1" r="-1"/><S t="4000000000" d="1"/>`), "Representation: more than 100000 segments"},
		{timeline(`<S t="0" d="1" r="x"/>`), "@r is not a whole number"},
		{timeline(`<S t="5" d="1"/>` + "\n" + `<S t="4" d="1"/>`), "line 2: S: the timeline goes backwards"},
		{timeline(`<S t="5" d="1" r="-1"/><S d="1"/>`), "no @t, and the S before repeats without end"},
		{timeline(`<S t="4611686018427387904" d="4611686018427387904"/>`), "ends beyond"},
		{timeline(`<S t="4611686018427387000" d="1"/>`), "longer than 100 years"},
		{timeline(strings.Repeat(`<S d="1"/>`, media.MaxSegments+1)), "S: more than 100000 segments and runs"},
		{vod(one(`<SegmentList><SegmentURL mediaRange="9-2"/></SegmentList>`)), "@mediaRange is not a byte range"},
		{vod(one(`<SegmentList><SegmentURL/><SegmentURL/></SegmentList>`)), "several SegmentURL, and neither"},
		{`<MPD>` + one(`<SegmentTemplate duration="1" media="$Number$"/>`) + `</MPD>`, "neither the duration of the period nor @endNumber is known"},
		{`<MPD>` + one(`<SegmentTemplate media="$Number$"><SegmentTimeline><S d="1" r="-1"/></SegmentTimeline></SegmentTemplate>`) + `</MPD>`, "repeats without end, and the duration"},
	}
	for _, c := range cases {
		m, err := Parse([]byte(c.in), base)
		if err == nil && len(m.Representations) > 0 {
			_, err = m.List(0, epoch, "")
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.400q: error %v, want %q", c.in, err, c.want)
		}
	}
	var at *media.Error
	if _, err := Parse([]byte("<MPD>\n<Period start='x'/></MPD>"), base); !errors.As(err, &at) || at.Line != 2 || at.Tag != "Period" {
		t.Errorf("place of the error: %+v", at)
	}
	if _, err := Parse([]byte("<MPD/>"), mustURL("file:///x")); !errors.Is(err, media.ErrScheme) {
		t.Errorf("base without http: %v", err)
	}
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` a%d="1"`, i)
	}
	return b.String()
}

// TestIndented has more blanks between elements than text may be long.
func TestIndented(t *testing.T) {
	in := vod(one(`<SegmentTemplate media="$Time$"><SegmentTimeline>` + strings.Repeat("\n            <S d=\"1\"/>", 20_000) + `</SegmentTimeline></SegmentTemplate>`))
	if l, err := parse(t, in).List(0, epoch, ""); err != nil || len(l.Segments) != 20_000 {
		t.Errorf("%d segments, %v", len(l.Segments), err)
	}
	if _, err := Rewrite([]byte(in), base, mediatest.Gateway); err != nil {
		t.Error(err)
	}
}

// TestBombs has short MPDs whose listing would grow without bounds.
func TestBombs(t *testing.T) {
	long := strings.Repeat("x", 7000)
	m := parse(t, vod(`<Period><AdaptationSet><Representation id="`+long+`"><SegmentTemplate timescale="5000" duration="1" media="$RepresentationID$$Number$"/></Representation></AdaptationSet></Period>`))
	if _, err := m.List(0, epoch, ""); err == nil || !strings.Contains(err.Error(), "bytes of URLs") {
		t.Errorf("long names: %v", err)
	}
	in := vod(`<BaseURL>/` + long + `/</BaseURL><Period>` + strings.Repeat(`<AdaptationSet><BaseURL>a</BaseURL></AdaptationSet>`, 20_000) + `</Period>`)
	if _, err := Parse([]byte(in), base); err == nil || !strings.Contains(err.Error(), "bytes of URLs") {
		t.Errorf("long base URLs: %v", err)
	}
}

// TestFFmpeg reads what ffmpeg writes: see testdata/make.sh.
func TestFFmpeg(t *testing.T) {
	const stream = "chunk-stream"
	cases := map[string]string{
		"timeline.mpd": "1 0s+2s chunk-stream0-00001.m4s init(init-stream0.m4s)\n2 2s+2s chunk-stream0-00002.m4s init(init-stream0.m4s)\n3 4s+2s chunk-stream0-00003.m4s init(init-stream0.m4s)\n",
		"number.mpd":   "1 0s+2s chunk-stream0-00001.m4s init(init-stream0.m4s)\n2 2s+2s chunk-stream0-00002.m4s init(init-stream0.m4s)\n3 4s+2s chunk-stream0-00003.m4s init(init-stream0.m4s)\n",
		"time.mpd":     "1 0s+2s chunk-0-0.m4s init(init-stream0.m4s)\n2 2s+2s chunk-0-25600.m4s init(init-stream0.m4s)\n3 4s+2s chunk-0-51200.m4s init(init-stream0.m4s)\n",
		"list.mpd":     "1 0s+2s chunk-stream0-00001.m4s init(init-stream0.m4s)\n2 2s+2s chunk-stream0-00002.m4s init(init-stream0.m4s)\n3 4s+2s chunk-stream0-00003.m4s init(init-stream0.m4s)\n",
		"base.mpd":     "1 0s+4s base.webm init(base.webm[0+464])\nindex base.webm[52635+76]\n",
	}
	for name, want := range cases {
		l, err := parse(t, string(testdata(t, name))).List(0, epoch, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, show(l)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	single, err := parse(t, string(testdata(t, "single.mpd"))).List(0, epoch, "")
	if err != nil || len(single.Segments) != 3 {
		t.Fatalf("single.mpd: %v", err)
	}
	at := single.Segments[0].Init.Range.Length
	for _, s := range single.Segments {
		if s.Range.Offset != at {
			t.Errorf("single.mpd: %s", show(single))
		}
		at += s.Range.Length
	}
	for _, name := range []string{"live.mpd", "low.mpd"} {
		m := parse(t, string(testdata(t, name)))
		for i, r := range m.Representations {
			l, err := m.List(i, m.PublishTime, "")
			if err != nil || len(l.Segments) < 4 || !strings.Contains(l.Segments[3].URL, stream+r.ID) || !m.Dynamic {
				t.Errorf("%s: %v, %s", name, err, show(l))
			}
			if name == "low.mpd" && l.Next.Sub(m.PublishTime) > time.Second {
				t.Errorf("%s: next at %v", name, l.Next)
			}
		}
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

// TestMemory has the MPDs that make the most of the bounds: what is allocated for
// them, all in all, is bounded, too.
func TestMemory(t *testing.T) {
	id := strings.Repeat("x", 500)
	for name, text := range map[string]string{
		"elements":  vod(strings.Repeat("<a/>", 999_999)),
		"text":      vod(`<BaseURL>` + strings.Repeat("<b/>x", 60_000) + `</BaseURL>`),
		"runs":      vod(one(`<SegmentTemplate timescale="90000" media="$RepresentationID$$Time$"><SegmentTimeline>` + strings.Repeat(`<S d="9"/>`, 99_999) + `</SegmentTimeline></SegmentTemplate>`)),
		"one run":   vod(`<Period><AdaptationSet><Representation id="` + id + `"><SegmentTemplate timescale="90000" media="$RepresentationID$$Time$"><SegmentTimeline><S d="9" r="99998"/></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period>`),
		"inherited": vod(`<Period><SegmentTemplate media="$Time$"><SegmentTimeline>` + strings.Repeat(`<S d="9"/>`, 90_000) + `</SegmentTimeline></SegmentTemplate><AdaptationSet>` + manyRepresentations(10_000) + `</AdaptationSet></Period>`),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Parse([]byte(text), base)
		if err == nil && len(m.Representations) > 0 {
			_, err = m.List(0, epoch, "")
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 512 || err != nil && name != "text" {
			t.Errorf("%s: %d MiB allocated, error %v", name, n, err)
		} else {
			t.Logf("%s: %d MiB", name, n)
		}
	}
}

func manyRepresentations(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `<Representation id="%d"/>`, i)
	}
	return b.String()
}
