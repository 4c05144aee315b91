package media

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var base = mustURL("https://cdn.example/live/steer?session=1")

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func TestResolve(t *testing.T) {
	cases := []struct{ ref, want, err string }{
		{"a.ts", "https://cdn.example/live/a.ts", ""},
		{"../a.ts?x=1#f", "https://cdn.example/a.ts?x=1", ""},
		{"../../../a", "https://cdn.example/a", ""},
		{"//b.example:8443/a", "https://b.example:8443/a", ""},
		{"HTTP://b.example/a", "http://b.example/a", ""},
		{"?n=2", "https://cdn.example/live/steer?n=2", ""},
		{"2024-05-01T10:00:00.ts", "https://cdn.example/live/2024-05-01T10:00:00.ts", ""},
		{"a b%20c.ts", "https://cdn.example/live/a%20b%20c.ts", ""},
		{"$Number%05d$.m4s", "https://cdn.example/live/$Number%05d$.m4s", ""},
		{"$Number%0d$/%2f.m4s", "https://cdn.example/live/$Number%0d$/%2f.m4s", ""},
		{`a?b="{$c} d`, "https://cdn.example/live/a?b=%22%7B$c}%20d", ""},
		{"", "", "empty URI"},
		{"data:text/plain,x", "", "not an http"},
		{"skd://key", "", "not an http"},
		{"javascript:alert(1)", "", "not an http"},
		{"http:a", "", "not an http"},
		{"http://", "", "not an http"},
		{"http://h:port/secret", "", "invalid port"},
		{"a\x01secret", "", "invalid control character"},
		{"%zz", "", "invalid URL escape"},
		{strings.Repeat("a", MaxURL+1), "", "URI of 8193 bytes"},
		{strings.Repeat("a", MaxURL-10), "", "URL of 8207 bytes"},
	}
	for _, c := range cases {
		u, err := Resolve(base, c.ref)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%.50q: error %v, want %q", c.ref, err, c.err)
			}
		case err != nil || Location(u) != c.want:
			t.Errorf("%.50q: %v, %v; want %q", c.ref, u, err, c.want)
		}
	}
	if err := CheckBase(mustURL("/relative")); !errors.Is(err, ErrScheme) {
		t.Errorf("relative base: %v", err)
	}
}

func TestSteering(t *testing.T) {
	in := `{"VERSION":1,"TTL":2.5,"RELOAD-URI":"next?a=1","PATHWAY-PRIORITY":["C","A"],"X-NEW":{"a":1},
		"PATHWAY-CLONES":[{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example","PARAMS":{"t":"2"},"PER-VARIANT-URIS":{"hi":"https://x.example/hi"}}}]}`
	s, err := ParseSteering([]byte(in), base)
	if err != nil {
		t.Fatal(err)
	}
	clone := Clone{ID: "C", Base: "A", Host: "c.example", Params: map[string]string{"t": "2"}, Variants: map[string]string{"hi": "https://x.example/hi"}}
	want := &Steering{TTL: 2500 * time.Millisecond, Reload: "https://cdn.example/live/next?a=1", Priority: []string{"C", "A"}, Clones: []Clone{clone}}
	if d := cmp.Diff(want, s); d != "" {
		t.Error(d)
	}
	at := mustURL("https://a.example/v/lo.m3u8?t=1&u=3")
	for id, want := range map[string]string{"": "https://c.example/v/lo.m3u8?t=2&u=3", "lo": "https://c.example/v/lo.m3u8?t=2&u=3", "hi": "https://x.example/hi"} {
		if got, err := clone.URL(at, clone.Variants, id); err != nil || got != want {
			t.Errorf("clone of %q: %q, %v; want %q", id, got, err, want)
		}
	}
	out, err := RewriteSteering([]byte(in), base, func(u *url.URL) string { return "/gw/" + u.Host + u.RequestURI() })
	if want := `{"PATHWAY-PRIORITY":["C","A"],"RELOAD-URI":"/gw/cdn.example/live/next?a=1","TTL":2.5,"VERSION":1,"X-NEW":{"a":1}}`; err != nil || string(out) != want {
		t.Errorf("%v, got\n%s, want\n%s", err, out, want)
	}
	older, err := ParseSteering([]byte(`{"VERSION":1,"SERVICE-LOCATION-PRIORITY":["b"]}`), base)
	if err != nil || older.TTL != defaultTTL || len(older.Priority) != 1 {
		t.Errorf("%+v, %v", older, err)
	}
}

func TestSteeringErrors(t *testing.T) {
	for in, want := range map[string]string{
		`[]`:                                     "JSON: ",
		`{"VERSION":2}`:                          "VERSION 2, only 1",
		`{"VERSION":1,"TTL":-1}`:                 "TTL is not 0 to",
		`{"VERSION":1,"TTL":1e300}`:              "TTL is not 0 to",
		`{"VERSION":1,"RELOAD-URI":"file:///x"}`: "RELOAD-URI: not an http",
		`{"VERSION":1,"PATHWAY-CLONES":[{"ID":"x"}]}`:                               "without ID or BASE-ID",
		`{"VERSION":1,"PATHWAY-PRIORITY":["a"` + strings.Repeat(`,"a"`, 256) + `]}`: "more than 256 pathways",
		strings.Repeat(" ", maxSteering+1):                                          "the limit is 262144",
	} {
		if _, err := ParseSteering([]byte(in), base); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: error %v, want %q", in, err, want)
		}
		if _, err := RewriteSteering([]byte(in), base, func(*url.URL) string { return "" }); err == nil {
			t.Errorf("%.80q: rewritten", in)
		}
	}
	for _, host := range []string{"a b", "x/../", "u@h:port", "h?x"} {
		got, err := Clone{Host: host}.URL(base, nil, "")
		if err == nil && !strings.HasPrefix(got, "https://") {
			t.Errorf("host %q: %q", host, got)
		}
	}
}

// FuzzSteering wants no panic, and the same model of what is rewritten to the
// same URLs, but for clones.
func FuzzSteering(f *testing.F) {
	f.Add([]byte(`{"VERSION":1,"TTL":2.5,"RELOAD-URI":"next?a=1","PATHWAY-PRIORITY":["C","A"],"PATHWAY-CLONES":[{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example","PARAMS":{"t":"2"}}}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := ParseSteering(in, base)
		if err != nil {
			return
		}
		for _, c := range s.Clones {
			if u, err := c.URL(base, c.Variants, "hi"); err == nil && CheckBase(mustURL(u)) != nil {
				t.Fatalf("clone at %q", u)
			}
		}
		out, err := RewriteSteering(in, base, (*url.URL).String)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSteering(out, base)
		s.Clones = nil
		if err != nil || !cmp.Equal(s, again) {
			t.Fatalf("%v, %s", err, cmp.Diff(s, again))
		}
	})
}
