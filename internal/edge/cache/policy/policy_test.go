package policy

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func t0() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }

func header(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func at(seconds int) string {
	return t0().Add(time.Duration(seconds) * time.Second).Format(http.TimeFormat)
}

func response(status int, pairs ...string) Response {
	h := header(pairs...)
	if h.Get("Date") == "" {
		h.Set("Date", at(0))
	}
	return Response{Status: status, Header: h, Requested: t0(), Received: t0()}
}

func TestParseDirectives(t *testing.T) {
	with := func(change func(*Directives)) Directives {
		d := noDirectives()
		change(&d)
		return d
	}
	for _, tc := range []struct {
		lines []string
		want  Directives
	}{
		{nil, noDirectives()},
		{[]string{" , ,, "}, noDirectives()},
		{[]string{"max-age=5,no-cache"}, with(func(d *Directives) { d.MaxAge, d.NoCache = 5, true })},
		{[]string{"Public, IMMUTABLE", "s-maxage=7"}, with(func(d *Directives) { d.Public, d.Immutable, d.SMaxAge = true, true, 7 })},
		{[]string{`x="a, no-store", max-age="9"`}, with(func(d *Directives) { d.MaxAge = 9 })},
		{[]string{`x="no end, no-store`}, noDirectives()},
		{[]string{`max-age="\1\2"`}, with(func(d *Directives) { d.MaxAge = 12 })},
		{[]string{"max-age"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{[]string{"max-age=1e3"}, with(func(d *Directives) { d.MaxAge = 0 })},
		{[]string{"max-age=99999999999999999999999"}, with(func(d *Directives) { d.MaxAge = Forever })},
		{[]string{"max-age=3, max-age=2"}, with(func(d *Directives) { d.MaxAge = 2 })},
		{[]string{"max-stale"}, with(func(d *Directives) { d.MaxStale = Forever })},
		{[]string{`private="Set-Cookie, x-a", no-cache`}, with(func(d *Directives) { d.NoCache, d.HeldBack = true, []string{"Set-Cookie", "X-A"} })},
		{[]string{"no-store=1"}, with(func(d *Directives) { d.NoStore = true })},
		{[]string{strings.Repeat("a,", 100)}, with(func(d *Directives) { d.NoStore = true })},
		{[]string{strings.Repeat("a", maxControlBytes+1)}, with(func(d *Directives) { d.NoStore = true })},
	} {
		if d := cmp.Diff(tc.want, ParseDirectives(tc.lines)); d != "" {
			t.Errorf("%.60q: %s", tc.lines, d)
		}
	}
}

func TestFreshness(t *testing.T) {
	for _, tc := range []struct {
		name     string
		r        Response
		lifetime time.Duration
		age      time.Duration
	}{
		{"s-maxage first", response(200, "Cache-Control", "max-age=1, s-maxage=2", "Expires", at(9)), 2 * time.Second, 0},
		{"max-age before expires", response(200, "Cache-Control", "max-age=1", "Expires", at(9)), time.Second, 0},
		{"expires", response(200, "Expires", at(9)), 9 * time.Second, 0},
		{"expires in the past", response(200, "Expires", at(-9)), 0, 0},
		{"heuristic", response(200, "Last-Modified", at(-1000)), 100 * time.Second, 0},
		{"heuristic bounded", response(200, "Last-Modified", at(-100*86400)), 24 * time.Hour, 0},
		{"heuristic of the future", response(200, "Last-Modified", at(1000)), 0, 0},
		{"no heuristic for 403", response(403, "Last-Modified", at(-1000)), 0, 0},
		{"heuristic when public", response(403, "Last-Modified", at(-1000), "Cache-Control", "public"), 100 * time.Second, 0},
		{"targeted ignores expires", response(200, "Expires", at(9), "CDN-Cache-Control", "must-revalidate"), 0, 0},
		{"age", response(200, "Age", "7"), 0, 7 * time.Second},
		{"apparent age", response(200, "Date", at(-11), "Age", "7"), 0, 11 * time.Second},
		{"clock of the origin is ahead", response(200, "Date", at(11)), 0, 0},
		{"delay counts", Response{Status: 200, Header: header("Age", "7", "Date", at(0)), Requested: t0().Add(-2 * time.Second), Received: t0()}, 0, 9 * time.Second},
	} {
		f := FactsOf(tc.r)
		if f.Lifetime != tc.lifetime || f.Age(t0()) != tc.age {
			t.Errorf("%s: lifetime %v, age %v; want %v, %v", tc.name, f.Lifetime, f.Age(t0()), tc.lifetime, tc.age)
		}
		if f.Age(t0().Add(5*time.Second)) != tc.age+5*time.Second {
			t.Errorf("%s: does not age", tc.name)
		}
	}
}

func TestDecide(t *testing.T) {
	const later = 10 * time.Second // the responses are that old
	for _, tc := range []struct {
		resp, req string
		want      Use
	}{
		{"max-age=60", "", Fresh},
		{"max-age=5", "", Validate},
		{"max-age=60, no-cache", "", Validate},
		{"max-age=60", "no-cache", Validate},
		{"max-age=60", "max-age=9", Validate},
		{"max-age=60", "max-age=10", Fresh},
		{"max-age=60", "max-age=0", Validate},
		{"max-age=60, immutable", "max-age=0", Fresh},
		{"max-age=5, immutable", "max-age=0", Validate},
		{"max-age=60, immutable", "no-cache", Validate},
		{"max-age=60", "min-fresh=50", Fresh},
		{"max-age=60", "min-fresh=51", Validate},
		{"max-age=5", "max-stale=5", Stale},
		{"max-age=5", "max-stale=4", Validate},
		{"max-age=5", "max-stale", Stale},
		{"max-age=5, must-revalidate", "max-stale", Validate},
		{"max-age=5, proxy-revalidate", "max-stale", Validate},
		{"s-maxage=5", "max-stale", Validate},
		{"max-age=5, stale-while-revalidate=5", "", StaleRefresh},
		{"max-age=5, stale-while-revalidate=4", "", Validate},
		{"max-age=5, stale-while-revalidate=5, must-revalidate", "", Validate},
	} {
		f := FactsOf(response(200, "Cache-Control", tc.resp))
		if got := f.Decide(ParseDirectives([]string{tc.req}), t0().Add(later)); got != tc.want {
			t.Errorf("response %q, request %q: %v, want %v", tc.resp, tc.req, got, tc.want)
		}
	}
}

func TestStaleOnError(t *testing.T) {
	for _, tc := range []struct {
		resp, req string
		status    int
		want      bool
	}{
		{"max-age=5", "", 0, true},
		{"max-age=5", "", 503, false},
		{"max-age=5, stale-if-error=5", "", 503, true},
		{"max-age=5, stale-if-error=5", "", 404, false},
		{"max-age=5, stale-if-error=4", "", 503, false},
		{"max-age=5, stale-if-error=4", "", 0, false},
		{"max-age=5", "stale-if-error=5", 500, true},
		{"max-age=5, must-revalidate, stale-if-error=50", "", 0, false},
		{"max-age=5, stale-if-error=50", "no-cache", 0, false},
		{"s-maxage=5, stale-if-error=50", "", 503, false},
	} {
		f := FactsOf(response(200, "Cache-Control", tc.resp))
		if got := f.StaleOnError(ParseDirectives([]string{tc.req}), tc.status, t0().Add(10*time.Second)); got != tc.want {
			t.Errorf("response %q, request %q, status %d: %t", tc.resp, tc.req, tc.status, got)
		}
	}
}

func TestRefusal(t *testing.T) {
	get, none := http.MethodGet, header()
	for _, tc := range []struct {
		name   string
		method string
		req    http.Header
		r      Response
		want   string
	}{
		{"plain", get, none, response(200, "Cache-Control", "max-age=1"), NoReason},
		{"only a validator", get, none, response(200, "ETag", `"a"`), NoReason},
		{"nothing to go by", get, none, response(200), ReasonNoUse},
		{"stale at once", get, none, response(200, "Cache-Control", "max-age=0"), ReasonNoUse},
		{"usable after an error", get, none, response(200, "Cache-Control", "max-age=0, stale-if-error=9"), NoReason},
		{"post", "POST", none, response(200, "Cache-Control", "max-age=1"), ReasonMethod},
		{"partial", get, none, response(206, "Cache-Control", "max-age=1"), ReasonStatus},
		{"odd status", get, none, response(418, "ETag", `"a"`), ReasonStatus},
		{"odd status, explicit", get, none, response(418, "Cache-Control", "max-age=1"), NoReason},
		{"must-understand", get, none, response(418, "Cache-Control", "max-age=1, must-understand"), ReasonStatus},
		{"must-understand lifts no-store", get, none, response(200, "Cache-Control", "max-age=1, must-understand, no-store"), NoReason},
		{"request no-store", get, header("Cache-Control", "no-store"), response(200, "Cache-Control", "max-age=1"), ReasonNoStore},
		{"targeted lifts no-store", get, none, response(200, "Cache-Control", "no-store", "CDN-Cache-Control", "max-age=1"), NoReason},
		{"private", get, none, response(200, "Cache-Control", "private, max-age=1"), ReasonPrivate},
		{"private fields only", get, none, response(200, "Cache-Control", `private="x", max-age=1`), NoReason},
		{"authorization", get, header("Authorization", "x"), response(200, "Cache-Control", "max-age=1"), ReasonAuth},
		{"cookie", get, none, response(200, "Cache-Control", "max-age=1", "Set-Cookie", "a"), ReasonCookie},
		{"vary", get, none, response(200, "Cache-Control", "max-age=1", "Vary", "a, *"), ReasonVary},
		{"vary without end", get, none, response(200, "Cache-Control", "max-age=1", "Vary", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"), ReasonVary},
		{"large header", get, none, response(200, "Cache-Control", "max-age=1", "X", strings.Repeat("x", MaxHeaderBytes)), ReasonHeaderBig},
	} {
		if got := Refusal(tc.method, tc.req, tc.r); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestParseRange(t *testing.T) {
	for _, tc := range []struct {
		field string
		want  []Range
		err   error
	}{
		{"bytes=0-0", []Range{{0, 1}}, nil},
		{"BYTES=5-", []Range{{5, 100}}, nil},
		{"bytes=-5", []Range{{95, 100}}, nil},
		{"bytes=-500", []Range{{0, 100}}, nil},
		{"bytes=90-9999999999999999999999", []Range{{90, 100}}, nil},
		{"bytes= 1 - 2 , 5-6", []Range{{1, 3}, {5, 7}}, nil},
		{"bytes=5-6,1-2", []Range{{5, 7}, {1, 3}}, nil},
		{"bytes=5-6,1-5", []Range{{1, 7}}, nil},
		{"bytes=0-4,5-9", []Range{{0, 10}}, nil},
		{"bytes=0-4,200-", []Range{{0, 5}}, nil},
		{"bytes=100-", nil, ErrUnsatisfiable},
		{"bytes=-0", nil, ErrUnsatisfiable},
		{"bytes=", nil, ErrNoRange},
		{"bytes=-", nil, ErrNoRange},
		{"bytes=a-b", nil, ErrNoRange},
		{"bytes=3-2", nil, ErrNoRange},
		{"bytes=1-2,x", nil, ErrNoRange},
		{"bytes=--5", nil, ErrNoRange},
		{"items=0-1", nil, ErrNoRange},
		{"bytes", nil, ErrNoRange},
		{"bytes=" + strings.Repeat("0-,", 129), nil, ErrUnsatisfiable},
		{"bytes=" + strings.Repeat(" ", 5000) + "0-1", nil, ErrUnsatisfiable},
		{"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32", nil, ErrUnsatisfiable},
	} {
		got, err := ParseRange(tc.field, 100)
		if !errors.Is(err, tc.err) || !slices.Equal(got, tc.want) {
			t.Errorf("%.60q: %v, %v; want %v, %v", tc.field, got, err, tc.want, tc.err)
		}
	}
	if _, err := ParseRange("bytes=-1", 0); !errors.Is(err, ErrUnsatisfiable) {
		t.Errorf("suffix of nothing: %v", err)
	}
}

func TestParseContentRange(t *testing.T) {
	for field, want := range map[string]struct {
		r    Range
		size int64
		ok   bool
	}{
		"bytes 0-4/10":   {Range{0, 5}, 10, true},
		"bytes 0-4/*":    {Range{0, 5}, -1, true},
		"bytes 0-9/10":   {Range{0, 10}, 10, true},
		"bytes 0-10/10":  {},
		"bytes 5-4/10":   {},
		"bytes */10":     {},
		"items 0-4/10":   {},
		"bytes 0-4":      {},
		"bytes -4/10":    {},
		"bytes 0-4/-10":  {},
		"bytes  0-4/10":  {},
		"bytes 0-4/10 x": {},
	} {
		r, size, ok := ParseContentRange(field)
		if ok != want.ok || ok && (r != want.r || size != want.size) {
			t.Errorf("%q: %v, %d, %t", field, r, size, ok)
		}
	}
}

func TestHeaders(t *testing.T) {
	stored := ForStorage(header("Connection", "x-a, close", "X-A", "1", "X-B", "2", "Cache-Control", `no-cache="x-b"`, "Keep-Alive", "1", "Etag", `"a"`))
	if d := cmp.Diff(header("Cache-Control", `no-cache="x-b"`, "Etag", `"a"`), stored); d != "" {
		t.Error(d)
	}
	fresh := Freshened(header("Age", "5", "Etag", `"a"`, "Content-Length", "9", "X", "1", "Y", "1"), header("Etag", `"b"`, "Content-Length", "0", "X", "2", "Connection", "z", "Z", "1"))
	if d := cmp.Diff(header("Etag", `"a"`, "Content-Length", "9", "X", "2", "Y", "1"), fresh); d != "" {
		t.Error(d)
	}
	up := ForUpstream(header("Range", "bytes=0-1", "If-None-Match", `"a"`, "Te", "trailers", "X", "1", "Proxy-Authorization", "x"))
	if d := cmp.Diff(header("X", "1"), up); d != "" {
		t.Error(d)
	}
}

func TestStrongValidators(t *testing.T) {
	for tag, want := range map[string]bool{`"a"`: true, `""`: true, `W/"a"`: false, `a`: false, `"`: false, `"a"b"`: false, ``: false} {
		if StrongTag(tag) != want {
			t.Errorf("%q strong: %t", tag, !want)
		}
	}
	for ago, want := range map[time.Duration]bool{time.Hour: true, time.Minute: true, time.Second: false, -time.Hour: false} {
		if StrongDate(Validators{LastModified: t0().Add(-ago), Date: t0()}) != want {
			t.Errorf("changed %v ago: strong is %t", ago, !want)
		}
	}
}
