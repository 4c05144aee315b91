package steering

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const hlsText = `#EXTM3U
#EXT-X-CONTENT-STEERING:SERVER-URI="https://steer.example/s?id=1",PATHWAY-ID="B"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a-A",NAME="en",LANGUAGE="en",URI="audio/en.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a-B",NAME="en",LANGUAGE="en",URI="https://b.example/au/en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO="a-A",PATHWAY-ID="A",STABLE-VARIANT-ID="hi"
v/hi/list.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2,AUDIO="a-B",PATHWAY-ID="B",STABLE-VARIANT-ID="hi"
https://b.example/x/v/hi/list.m3u8?k=1
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a-A",PATHWAY-ID="A",STABLE-VARIANT-ID="lo"
v/lo/list.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a-B",PATHWAY-ID="B",STABLE-VARIANT-ID="lo"
https://b.example/x/v/lo/other.m3u8
`

const mpdText = `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT4S">
<BaseURL serviceLocation="a">https://a.example/d/</BaseURL><BaseURL serviceLocation="b">https://b.example/e/</BaseURL>
<ContentSteering defaultServiceLocation="b" queryBeforeStart="true">https://steer.example/s</ContentSteering>
<Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate duration="2" media="$RepresentationID$-$Number$.m4s"/><Representation id="v 1" bandwidth="1"/></AdaptationSet></Period></MPD>`

// open is a presentation all of whose hosts may be asked.
func open(t testing.TB, text, from string) *Presentation {
	t.Helper()
	p := New(epoch, []byte(text), at(t, from))
	if p == nil {
		t.Fatal("nothing is said of places")
	}
	allow(p)
	return p
}

func allow(p *Presentation) {
	for _, h := range p.Hosts() {
		p.Allow(h, true)
	}
}

func urls(places []Place) (out []string) {
	for _, p := range places {
		out = append(out, p.URL)
	}
	return out
}

func TestPlaces(t *testing.T) {
	top, mpd := "https://a.example/f/top.m3u8", "https://a.example/d/m.mpd"
	for _, c := range []struct {
		name, text, from, rendition, segment string
		want                                 []string
	}{
		{
			"the pathway to begin with comes first", hlsText, top, "https://a.example/f/v/hi/list.m3u8", "https://a.example/f/v/hi/1.ts?x=y",
			[]string{"https://b.example/x/v/hi/1.ts?x=y", "https://a.example/f/v/hi/1.ts?x=y"},
		},
		{
			"a segment beside the directory of its playlist", hlsText, top, "https://a.example/f/v/hi/list.m3u8", "https://a.example/f/v/1.ts",
			[]string{"https://b.example/x/v/1.ts", "https://a.example/f/v/1.ts"},
		},
		{
			"playlists of other names", hlsText, top, "https://a.example/f/v/lo/list.m3u8", "https://a.example/f/v/lo/1.ts",
			[]string{"https://b.example/x/v/lo/1.ts", "https://a.example/f/v/lo/1.ts"},
		},
		{"a rendition on another host", hlsText, top, "https://b.example/x/v/hi/list.m3u8?k=1", "https://b.example/x/v/hi/1.ts", nil},
		{
			"renditions of a group", hlsText, top, "https://a.example/f/audio/en.m3u8", "https://a.example/f/audio/1.aac",
			[]string{"https://b.example/au/1.aac", "https://a.example/f/audio/1.aac"},
		},
		{"a segment somewhere else", hlsText, top, "https://a.example/f/v/lo/list.m3u8", "https://a.example/other/1.ts", nil},
		{"a rendition that nobody names", hlsText, top, "https://a.example/f/v/no.m3u8", "https://a.example/f/v/1.ts", nil},
		{
			"redundant variants, without steering", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlo.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://b.example/f/lo.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://c.example/f/lo.m3u8\n",
			top, "https://a.example/f/lo.m3u8", "https://a.example/f/1.ts",
			[]string{"https://a.example/f/1.ts", "https://b.example/f/1.ts"},
		}, // never in the clear
		{"DASH", mpdText, mpd, mpd + "#v%201", "https://a.example/d/v%201-1.m4s", []string{"https://b.example/e/v%201-1.m4s", "https://a.example/d/v%201-1.m4s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := urls(open(t, c.text, c.from).Places(epoch, c.rendition, c.segment)); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	for _, text := range []string{"", "#EXTM3U\n#EXTINF:1,\na.ts\n", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlo.m3u8\n", "<MPD><BaseURL>a</BaseURL></MPD>", "#EXTM3U\n#EXT-X-STREAM-INF:\nbad"} {
		if New(epoch, []byte(text), at(t, top)) != nil {
			t.Errorf("%q says something of places", text)
		}
	}
}

// What fails is asked last until it has rested, longer every time.
func TestFailures(t *testing.T) {
	p := open(t, hlsText, "https://a.example/f/top.m3u8")
	now := epoch
	const own = "https://a.example/f/v/hi/1.ts"
	first := func() Place { return p.Places(now, "https://a.example/f/v/hi/list.m3u8", own)[0] }
	b := first()
	if b.URL == own || b.Pathway != "B" || b.Silence != leastSilence {
		t.Fatalf("%+v", b)
	}
	for _, rest := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second} {
		p.Failed(now, b, 0)
		if first().URL != own {
			t.Error("what has failed is asked first")
		}
		if now = now.Add(rest - 1); first().URL != own {
			t.Errorf("after %v it is asked first", rest-1)
		}
		if now = now.Add(1); first().URL == own {
			t.Errorf("after %v it is not", rest)
		}
	}
	p.Failed(now, b, time.Hour)
	if now = now.Add(mostRest); first().URL == own {
		t.Error("a server says how long it rests, without bound")
	}
	p.Served(b)
	p.Wrong(now, b)
	if now = now.Add(wrongRest - 1); first().URL != own {
		t.Error("a place with other bytes is asked first")
	}
	if lo := p.Places(now, "https://a.example/f/v/lo/list.m3u8", "https://a.example/f/v/lo/1.ts"); lo[0].Pathway == "A" {
		t.Error("and so is not another rendition of it")
	}
	p.Answered(b, time.Second)
	if now = now.Add(1); first().Silence != silenceTimes*time.Second {
		t.Errorf("a slow place may be silent for %v", first().Silence)
	}
}

// Hosts that may not be asked are none of the places, and neither their steering server.
func TestAllow(t *testing.T) {
	p := New(epoch, []byte(hlsText), at(t, "https://a.example/f/top.m3u8"))
	if got := p.Hosts(); len(got) != 3 {
		t.Errorf("hosts %q", got)
	}
	places := func() []Place {
		return p.Places(epoch, "https://a.example/f/v/hi/list.m3u8", "https://a.example/f/v/hi/1.ts")
	}
	if got := places(); got != nil {
		t.Errorf("%q before anything is allowed", urls(got))
	}
	if _, due := p.Ask(epoch.Add(time.Hour)); due {
		t.Error("a steering server is asked that is not allowed")
	}
	p.Allow("https://b.example", false)
	if got := places(); got != nil || len(p.Hosts()) != 2 {
		t.Errorf("%q, %q", urls(got), p.Hosts())
	}
	p.Allow("https://b.example", true)
	if got := places(); len(got) != 2 {
		t.Errorf("%q", urls(got))
	}
	p.Allow("https://steer.example", false)
	p.Renew(open(t, hlsText, "https://a.example/f/top.m3u8"))
	if got := p.Hosts(); !slices.Contains(got, "https://steer.example") || slices.Contains(got, "https://b.example") {
		t.Errorf("%q are judged again", got)
	}
}

// told has the presentation told a manifest, and its new hosts allowed but for bad ones.
func told(t testing.TB, p *Presentation, now time.Time, manifest string) error {
	m, err := media.ParseSteering([]byte(manifest), at(t, "https://steer.example/s"))
	if err != nil {
		return err
	}
	p.Told(now, m)
	for _, h := range p.Hosts() {
		p.Allow(h, !strings.Contains(h, "10.0.0.1"))
	}
	return nil
}

func TestManifests(t *testing.T) {
	const a, b = "https://a.example/f/v/hi/1.ts", "https://b.example/x/v/hi/1.ts"
	many := strings.Repeat(`"x",`, 200)
	for _, c := range []struct {
		name, manifest string
		want           []string // nil: as before
		next           time.Duration
	}{
		{"an order", `{"VERSION":1,"TTL":60,"PATHWAY-PRIORITY":["A","B"]}`, []string{a, b}, time.Minute + slack},
		{"unknown pathways", `{"VERSION":1,"TTL":60,"PATHWAY-PRIORITY":["Z",` + many + `"A"]}`, []string{a, b}, time.Minute + slack},
		{"no order", `{"VERSION":1}`, nil, defaultTTL + slack},
		{"contradicts itself", `{"VERSION":1,"PATHWAY-PRIORITY":["A","B","A"]}`, []string{a, b}, defaultTTL + slack},
		{"asked again at once, it says", `{"VERSION":1,"TTL":0}`, nil, leastTTL + slack},
		{
			"a clone", `{"VERSION":1,"PATHWAY-PRIORITY":["C"],"PATHWAY-CLONES":[{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example"}}]}`,
			[]string{"https://c.example/f/v/hi/1.ts", a, b},
			defaultTTL + slack,
		},
		{
			"a clone of a clone, with its own URLs", `{"VERSION":1,"PATHWAY-PRIORITY":["D"],"PATHWAY-CLONES":[{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example"}},
			{"ID":"D","BASE-ID":"C","URI-REPLACEMENT":{"PER-VARIANT-URIS":{"hi":"https://d.example/y/hi/list.m3u8"}}}]}`,
			[]string{"https://d.example/y/hi/1.ts", a, b, "https://c.example/f/v/hi/1.ts"},
			defaultTTL + slack,
		},
		{
			"clones at bad hosts", `{"VERSION":1,"PATHWAY-PRIORITY":["P","Q","R","S"],"PATHWAY-CLONES":[{"ID":"P","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"10.0.0.1"}},
			{"ID":"Q","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"a b/../"}},{"ID":"R","BASE-ID":"none","URI-REPLACEMENT":{"HOST":"c.example"}},
			{"ID":"S","BASE-ID":"A","URI-REPLACEMENT":{"PER-VARIANT-URIS":{"hi":"file:///etc/passwd"}}},{"ID":"B","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example"}}]}`,
			[]string{a, b},
			defaultTTL + slack,
		},
		{"refused: huge TTL", `{"VERSION":1,"TTL":1e12,"PATHWAY-PRIORITY":["A"]}`, nil, 0},
		{"refused: negative TTL", `{"VERSION":1,"TTL":-1,"PATHWAY-PRIORITY":["A"]}`, nil, 0},
		{"refused: another version", `{"VERSION":2,"PATHWAY-PRIORITY":["A"]}`, nil, 0},
		{"refused: endless", `{"VERSION":1,"PATHWAY-PRIORITY":[` + many + many + `"A"]}`, nil, 0},
		{"refused: none", `<html>`, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t, hlsText, "https://a.example/f/top.m3u8")
			err := told(t, p, epoch, c.manifest)
			if refused := strings.HasPrefix(c.name, "refused"); refused != (err != nil) {
				t.Fatalf("error %v", err)
			}
			if c.want == nil {
				c.want = []string{b, a}
			}
			if got := urls(p.Places(epoch, "https://a.example/f/v/hi/list.m3u8", a)); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if c.next == 0 {
				c.next = firstAsk
			}
			if _, due := p.Ask(epoch.Add(c.next - 1)); due {
				t.Error("asked too soon")
			}
			if _, due := p.Ask(epoch.Add(c.next)); !due {
				t.Errorf("not asked after %v", c.next)
			}
		})
	}
}

// A steering server is asked when its TTL has passed and nobody else has asked, where it
// says, and not any more when it does not want to be.
func TestAsk(t *testing.T) {
	p, now := open(t, hlsText, "https://a.example/f/top.m3u8"), epoch
	if u, due := p.Ask(now.Add(firstAsk)); !due || u.String() != "https://steer.example/s?_HLS_pathway=B&id=1" {
		t.Errorf("%v, %v", u, due)
	}
	if _, due := p.Ask(now.Add(firstAsk)); due {
		t.Error("asked twice")
	}
	for _, u := range []string{"https://steer.example/s", "https://steer.example/s?_HLS_pathway=A"} {
		if !p.Steers(u) {
			t.Errorf("%s does not steer", u)
		}
	}
	if err := told(t, p, now, `{"VERSION":1,"TTL":30,"RELOAD-URI":"/next","PATHWAY-PRIORITY":["A"]}`); err != nil {
		t.Fatal(err)
	}
	if !p.Steers("https://steer.example/next?_HLS_pathway=A") || p.Steers("https://steer.example/other") {
		t.Error("it steers from elsewhere than it says")
	}
	now = now.Add(30*time.Second + slack)
	if u, due := p.Ask(now); !due || u.String() != "https://steer.example/next?_HLS_pathway=A" {
		t.Errorf("%v, %v", u, due)
	}
	p.Refused(now, false, time.Hour)
	if _, due := p.Ask(now.Add(time.Hour - 1)); due {
		t.Error("asked before it wants to be")
	}
	if _, due := p.Ask(now.Add(time.Hour)); !due {
		t.Error("not asked any more")
	}
	p.Refused(now, true, 0)
	p.Renew(open(t, hlsText, "https://a.example/f/top.m3u8"))
	if _, due := p.Ask(now.Add(24 * time.Hour)); due {
		t.Error("asked again after 410")
	}
	if u, due := open(t, strings.Replace(hlsText, "https://steer", "http://steer", 1), "https://a.example/f/top.m3u8").Ask(now); due {
		t.Errorf("asked in the clear: %v", u)
	}
	d := open(t, mpdText, "https://a.example/d/m.mpd")
	if u, due := d.Ask(epoch.Add(firstAsk)); !due || u.String() != "https://steer.example/s?_DASH_pathway=%22b%22" {
		t.Errorf("%v, %v", u, due)
	}
}

// What an MPD has at several places is the same, by its standard; variants need not be.
func TestSame(t *testing.T) {
	d := open(t, mpdText, "https://a.example/d/m.mpd")
	for _, c := range []struct {
		p           *Presentation
		u, on, want string
	}{
		{d, "https://b.example/e/v%201-2.m4s", "https://a.example", "https://a.example/d/v%201-2.m4s"},
		{d, "https://b.example/f/v%201-2.m4s", "https://a.example", ""},
		{d, "https://a.example/d/v%201-2.m4s", "https://b.example", ""}, // whose MPD it is not
		{open(t, hlsText, "https://a.example/f/top.m3u8"), "https://b.example/x/v/hi/1.ts", "https://a.example", ""},
	} {
		if got := strings.Join(c.p.Same(c.u, c.on), " "); got != c.want {
			t.Errorf("%s on %s: %q, want %q", c.u, c.on, got, c.want)
		}
	}
}

// Presentations are bounded, whatever a playlist lists.
func TestBounds(t *testing.T) {
	var b strings.Builder
	b.WriteString("#EXTM3U\n")
	for i := range 1900 {
		fmt.Fprintf(&b, "#EXT-X-STREAM-INF:BANDWIDTH=%d\nhttps://%c.example/%s/%d.m3u8\n", 1+i/20, 'a'+i%20, strings.Repeat("x", 1000), i/20)
	}
	p := open(t, b.String(), "https://a.example/f/top.m3u8")
	if len(p.allowed) > maxHosts || len(p.groups) == 0 {
		t.Errorf("%d hosts, %d renditions", len(p.allowed), len(p.groups))
	}
	size := 0
	for rendition, groups := range p.groups {
		size += len(rendition)
		for _, g := range groups {
			if len(g) > maxPlaces {
				t.Errorf("%d places", len(g))
			}
		}
	}
	if size > maxBytes {
		t.Errorf("%d bytes", size)
	}
}

// A place that takes ever longer to answer is not waited for ever longer.
func TestEverLonger(t *testing.T) {
	p := open(t, hlsText, "https://a.example/f/top.m3u8")
	for range 50 {
		b := p.Places(epoch, "https://a.example/f/v/hi/list.m3u8", "https://a.example/f/v/hi/1.ts")[0]
		if b.Silence > mostSilence {
			t.Fatalf("%v", b.Silence)
		}
		p.Answered(b, b.Silence)
		p.Served(b)
	}
}

// A pathway clone whose URLs are too long is not tried with every rendition.
func TestLongClone(t *testing.T) {
	var b strings.Builder
	b.WriteString("#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\",PATHWAY-ID=\"A\"\n")
	for i := range 1900 {
		fmt.Fprintf(&b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,PATHWAY-ID=\"A\"\n%d\n", 1+i, i)
	}
	p := open(t, b.String(), "https://a.example/f/top.m3u8")
	long := media.Clone{ID: "B", Base: "A", Params: map[string]string{}}
	for i := range 12_000 {
		long.Params[fmt.Sprint(i)] = fmt.Sprint(i)
	}
	began := time.Now()
	p.Told(epoch, &media.Steering{Clones: []media.Clone{{ID: "C", Base: "A", Host: "c.example"}, long, long, long, long}})
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// FuzzPlaces wants no panic, and places that are web URLs of hosts that are allowed.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte(hlsText), "https://a.example/f/v/hi/1.ts", []byte(`{"VERSION":1,"PATHWAY-PRIORITY":["C"],"PATHWAY-CLONES":[{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example","PARAMS":{"a":"b"}}}]}`))
	f.Add([]byte(mpdText), "https://a.example/d/v%201-1.m4s", []byte(`{"VERSION":1,"PATHWAY-PRIORITY":["b"],"PATHWAY-CLONES":[{"ID":"c","BASE-ID":"b","URI-REPLACEMENT":{"HOST":"10.0.0.1"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte, segment string, manifest []byte) {
		base := at(t, "https://a.example/d/m.mpd")
		p := New(epoch, text, base)
		if p == nil {
			return
		}
		if u, err := url.Parse(segment); err != nil || media.CheckBase(u) != nil {
			return
		}
		if m, err := media.ParseSteering(manifest, base); err == nil {
			p.Told(epoch, m)
		}
		allow(p)
		p.Renew(New(epoch, text, base))
		for rendition := range p.groups {
			for _, place := range p.Places(epoch, rendition, segment) {
				u, err := url.Parse(place.URL)
				if err != nil || media.CheckBase(u) != nil || place.URL != segment && !p.allowed[hostOf(place.URL)] {
					t.Fatalf("a place at %q: %v", place.URL, err)
				}
				p.Failed(epoch, place, 0)
			}
		}
		p.Same(segment, "https://a.example")
		if u, due := p.Ask(epoch.Add(48 * time.Hour)); due && media.CheckBase(u) != nil {
			t.Fatalf("steered from %v", u)
		}
	})
}
