package cache

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// Groups cc-freshness, cc-parse, expires-freshness, expires-parse, age-parse.
func TestConformanceFreshness(t *testing.T) {
	cc := func(name, want string, values ...string) conformanceCase {
		var h []string
		for _, v := range values {
			h = append(h, "Cache-Control", v)
		}
		return reused("cc-freshness/"+name, want, h...)
	}
	exp := func(name, want, value string, more ...string) conformanceCase {
		return reused("expires/"+name, want, append([]string{"Expires", value}, more...)...)
	}
	age := func(name, want string, values ...string) conformanceCase {
		h := []string{"Cache-Control", "max-age=3600"}
		for _, v := range values {
			h = append(h, "Age", v)
		}
		return reused("age-parse/"+name, want, h...)
	}
	runConformance(t, []conformanceCase{
		reused("cc-freshness/none", asked),
		cc("max-age", hit, "max-age=3600"),
		cc("max-age-0", asked, "max-age=0"),
		cc("max-age-max", hit, "max-age=2147483648"),
		cc("max-age-max-plus", hit, "max-age=99999999999"),
		cc("max-age-case", hit, "MaX-aGe=3600"),
		cc("max-age-extension", hit, "foobar, max-age=3600"),
		cc("max-age-stale", asked, "max-age=2"),
		cc("s-maxage", hit, "s-maxage=3600"),
		cc("s-maxage-shorter", asked, "max-age=3600, s-maxage=1"),
		cc("s-maxage-shorter-reversed", asked, "s-maxage=1, max-age=3600"),
		cc("s-maxage-shorter-lines", asked, "max-age=3600", "s-maxage=1"),
		cc("s-maxage-longer", hit, "max-age=1, s-maxage=3600"),
		reused("cc-freshness/max-age-expires", hit, "Cache-Control", "max-age=3600", "Expires", "@-10000"),
		reused("cc-freshness/max-age-expires-invalid", hit, "Cache-Control", "max-age=3600", "Expires", "0"),
		reused("cc-freshness/max-age-0-expires", asked, "Cache-Control", "max-age=0", "Expires", "@10000"),
		reused("cc-freshness/max-age-age", asked, "Cache-Control", "max-age=10", "Age", "15"),

		cc("parse-two-fresh-stale", asked, "max-age=1800, max-age=1"),
		cc("parse-two-stale-fresh-lines", asked, "max-age=1", "max-age=1800"),
		cc("parse-ignore-quoted", asked, `extension="max-age=3600", max-age=1`),
		cc("parse-ignore-quoted-rev", asked, `max-age=1, extension="max-age=3600"`),
		cc("parse-quoted", hit, `max-age="3600"`),
		cc("parse-space-before-equals", asked, "max-age =100"),
		cc("parse-space-after-equals", asked, "max-age= 100"),
		cc("parse-leading-zero", hit, "max-age=003600"),
		cc("parse-single-quoted", asked, "max-age='3600'"),
		cc("parse-decimal", asked, "max-age=3600.0"),
		cc("parse-leading-alpha", asked, "max-age=a3600"),
		cc("parse-trailing-alpha", asked, "max-age=3600a"),
		cc("parse-negative", asked, "max-age=-3600"),

		exp("future", hit, "@3600"),
		exp("past", asked, "@-3600"),
		exp("present", asked, "@0"),
		exp("old-date", asked, "@3600", "Date", "@3601"),
		exp("age-slow", hit, "@3600", "Age", "1800"),
		exp("age-slow-stale", asked, "@3600", "Age", "7200"),
		exp("invalid", asked, "foo"),
		exp("parse-rfc850", hit, "Thursday, 18-Aug-50 02:01:18 GMT"),
		exp("parse-asctime", hit, "Thu Aug 18 02:01:18 2050"),
		exp("parse-utc", asked, "Thu, 18 Aug 2050 02:01:18 UTC"),
		exp("parse-two-digit-year", asked, "Thu, 18 Aug 50 02:01:18 GMT"),
		exp("parse-no-comma", asked, "Thu 18 Aug 2050 02:01:18 GMT"),
		exp("parse-dashes", asked, "Thu, 18-Aug-2050 02:01:18 GMT"),
		exp("parse-periods", asked, "Thu, 18 Aug 2050 02.01.18 GMT"),
		exp("parse-two-lines", asked, "@3600", "Expires", "@-1"),

		age("nonnumeric", hit, "abc"),
		age("negative", hit, "-7200"),
		age("float", hit, "7200.0"),
		age("suffix", asked, "7200,0"),
		age("suffix-twoline", asked, "7200", "0"),
		age("prefix", hit, "0,7200"),
		age("huge", asked, "99999999999999999999"),
		age("dup-old", asked, "7200, 7200"),
	})
}

// Groups heuristic and status.
func TestConformanceStatus(t *testing.T) {
	var cases []conformanceCase
	guessed := func(status int, want string, extra ...string) {
		s := step{status: status, answer: append([]string{"Last-Modified", "@-86400"}, extra...)}
		if want == hit {
			cases = append(cases, conformanceCase{"heuristic/" + strconv.Itoa(status) + want, []step{s, {want: hit, wantSt: status}}})
			return
		}
		s2 := s
		s2.want = want
		cases = append(cases, conformanceCase{"heuristic/" + strconv.Itoa(status) + want, []step{s, s2}})
	}
	for _, st := range []int{200, 203, 204, 404, 405, 410, 414, 501} {
		guessed(st, hit)
	}
	for _, st := range []int{201, 202, 403, 502, 503, 504, 599} {
		guessed(st, asked)
	}
	guessed(599, hit, "Cache-Control", "public")
	for _, st := range []int{200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599} {
		name := "status/" + strconv.Itoa(st)
		s := step{status: st, answer: []string{"Cache-Control", "max-age=3600"}}
		again := step{want: hit, wantSt: st}
		if st != 204 {
			again.text = "body " + strconv.Itoa(st)
		}
		cases = append(cases, conformanceCase{name + "-fresh", []step{s, again}})
		old := step{status: st, answer: []string{"Expires", "@-3600"}}
		next := step{status: st, want: asked}
		cases = append(cases, conformanceCase{name + "-stale", []step{old, next}})
	}
	runConformance(t, cases)
}

// Groups cc-response, authorization, pragma, other and headers.
func TestConformanceResponse(t *testing.T) {
	auth := func(name, want string, answer ...string) conformanceCase {
		return conformanceCase{"authorization/" + name, []step{
			{send: []string{"Authorization", "FOO"}, answer: answer}, {want: want, answer: answer},
		}}
	}
	runConformance(t, []conformanceCase{
		reused("cc-response/private", asked, "Cache-Control", "private, max-age=3600"),
		reused("cc-response/no-store", asked, "Cache-Control", "no-store"),
		reused("cc-response/no-store-case", asked, "Cache-Control", "No-StOrE"),
		reused("cc-response/no-store-fresh", asked, "Cache-Control", "max-age=10000, no-store", "Expires", "@10000"),
		reused("cc-response/no-cache", asked, "Cache-Control", "max-age=10000, no-cache"),
		reused("cc-response/no-cache-case", asked, "Cache-Control", "max-age=10000, No-CaChE"),
		reused("cc-response/no-cache-revalidate", etag, "Cache-Control", "no-cache", "ETag", `"abcd"`),
		reused("cc-response/no-cache-revalidate-fresh", etag, "Cache-Control", "max-age=10000, no-cache", "ETag", `"abcd"`),
		reused("cc-response/must-revalidate-fresh", hit, "Cache-Control", "max-age=10000, must-revalidate", "ETag", `"abcd"`),
		reused("cc-response/must-revalidate-stale", etag, "Cache-Control", "max-age=2, must-revalidate", "ETag", `"abcd"`),
		reused("cc-response/must-understand", hit, "Cache-Control", "max-age=100, must-understand, no-store"),
		{"cc-response/no-cache-fields", []step{
			{answer: []string{"Cache-Control", `no-cache="a, b"`, "Cache-Control", "max-age=3600", "A", "1", "B", "2", "C", "3"}},
			{want: hit, wantIn: []string{"C", "3"}, wantOut: []string{"A", "B"}},
		}},
		{"cc-response/private-fields", []step{
			{answer: []string{"Cache-Control", `max-age=3600, private="set-cookie"`, "Set-Cookie", "a=b", "Cache-Control", "public"}},
			{want: hit, wantOut: []string{"Set-Cookie"}},
		}},
		{"cc-response/immutable-reload", []step{
			{answer: []string{"Cache-Control", "max-age=100, immutable"}},
			{after: 3 * time.Second, send: []string{"Cache-Control", "max-age=0"}, want: hit},
		}},

		auth("plain", asked, "Expires", "@2592000"),
		auth("public", hit, "Cache-Control", "max-age=3600, public"),
		auth("must-revalidate", hit, "Cache-Control", "max-age=3600, must-revalidate"),
		auth("s-maxage", hit, "Cache-Control", "s-maxage=3600"),

		reused("pragma/response-no-cache", hit, "Cache-Control", "max-age=3600", "Pragma", "no-cache"),
		reused("pragma/response-extension", hit, "Cache-Control", "max-age=3600", "Pragma", "foo"),
		{"pragma/request-no-cache", []step{fresh(), {send: []string{"Pragma", "no-cache"}, want: asked, answer: []string{"Cache-Control", "max-age=3600"}}}},
		{"pragma/request-extension", []step{fresh(), {send: []string{"Pragma", "foo"}, want: hit}}},

		{"other/age-gen", []step{{answer: []string{"Expires", "@2592000"}}, {after: 3 * time.Second, want: hit, wantIn: []string{"Age", "3"}}}},
		{"other/age-update", []step{{answer: []string{"Expires", "@2592000", "Age", "30"}}, {after: 3 * time.Second, want: hit, wantIn: []string{"Age", "33"}}}},
		{"other/date-kept", []step{{answer: []string{"Expires", "@2592000"}}, {after: 3 * time.Second, want: hit, wantIn: []string{"Date", "@-3"}}}},
		{"other/query-different", []step{{path: "/x?a=1", answer: []string{"Cache-Control", "max-age=3600"}}, {path: "/x?a=2", want: asked}}},
		{"other/query-same", []step{{path: "/x?a=1", answer: []string{"Cache-Control", "max-age=3600"}}, {path: "/x?a=1", want: hit}}},
		reused("other/content-disposition", hit, "Last-Modified", "Mon, 02 Mar 2026 00:00:00 GMT", "Content-Disposition", "attachment; filename=x"),
		reused("other/set-cookie", asked, "Cache-Control", "max-age=3600", "Set-Cookie", "a=b"),
		reused("other/set-cookie-public", hit, "Cache-Control", "max-age=3600, public", "Set-Cookie", "a=b"),
		{"other/cookie", []step{fresh(), {send: []string{"Cookie", "a=b"}, want: hit}}},

		{"headers/stored", []step{
			fresh("Test-Header", "1", "X-Frame-Options", "deny", "Strict-Transport-Security", "max-age=1", "Content-Type", "text/plain"),
			{want: hit, wantIn: []string{"Test-Header", "1", "X-Frame-Options", "deny", "Strict-Transport-Security", "max-age=1", "Content-Type", "text/plain"}},
		}},
		{"headers/connection", []step{
			fresh("Connection", "a, b", "A", "1", "B", "2", "C", "3", "Proxy-Authenticate", "Basic", "Keep-Alive", "x"),
			{want: hit, wantIn: []string{"C", "3"}, wantOut: []string{"A", "B", "Proxy-Authenticate", "Keep-Alive"}},
		}},
	})
}

// Group cc-request.
func TestConformanceRequest(t *testing.T) {
	ask := func(name, want, directive string, answer ...string) conformanceCase {
		return conformanceCase{"cc-request/" + name, []step{
			{answer: answer},
			{after: 3 * time.Second, send: []string{"Cache-Control", directive}, want: want, answer: answer},
		}}
	}
	runConformance(t, []conformanceCase{
		ask("ma0", asked, "max-age=0", "Cache-Control", "max-age=3600"),
		ask("ma1", asked, "max-age=1", "Cache-Control", "max-age=3600"),
		ask("ma-greater", hit, "max-age=10", "Cache-Control", "max-age=3600"),
		ask("ma-greater-age", asked, "max-age=600", "Cache-Control", "max-age=3600", "Age", "1800"),
		ask("max-stale", hit, "max-stale=1000", "Cache-Control", "max-age=1"),
		ask("max-stale-any", hit, "max-stale", "Cache-Control", "max-age=1", "ETag", `"a"`),
		ask("max-stale-small", etag, "max-stale=1", "Cache-Control", "max-age=1", "ETag", `"a"`),
		ask("max-stale-age", hit, "max-stale=1000", "Cache-Control", "max-age=1500", "Age", "2000", "ETag", `"a"`),
		ask("max-stale-must-revalidate", etag, "max-stale=1000", "Cache-Control", "max-age=1, must-revalidate", "ETag", `"a"`),
		ask("min-fresh", asked, "min-fresh=2000", "Cache-Control", "max-age=1500"),
		ask("min-fresh-age", asked, "min-fresh=1000", "Cache-Control", "max-age=1500", "Age", "1000"),
		ask("no-cache", asked, "no-cache", "Cache-Control", "max-age=3600"),
		ask("no-cache-lm", lm, "no-cache", "Cache-Control", "max-age=3600", "Last-Modified", "Mon, 02 Mar 2026 00:00:00 GMT"),
		ask("no-cache-etag", etag, "no-cache", "Cache-Control", "max-age=3600", "ETag", `"abc"`),
		ask("no-store", asked, "no-store", "Cache-Control", "max-age=3600"),
		{"cc-request/only-if-cached", []step{{send: []string{"Cache-Control", "only-if-cached"}, want: hit, wantSt: http.StatusGatewayTimeout}}},
		{"cc-request/only-if-cached-hit", []step{fresh(), {send: []string{"Cache-Control", "only-if-cached"}, want: hit}}},
	})
}

// Group cdn-cache-control.
func TestConformanceTargeted(t *testing.T) {
	cdn := func(name, want, value string, more ...string) conformanceCase {
		return reused("cdn-cache-control/"+name, want, append([]string{"CDN-Cache-Control", value}, more...)...)
	}
	runConformance(t, []conformanceCase{
		cdn("max-age", hit, "max-age=3600"),
		cdn("max-age-max-plus", hit, "max-age=99999999999"),
		cdn("max-age-age", asked, "max-age=3600", "Age", "7200"),
		cdn("max-age-space-before-equals", asked, "max-age =100", "Cache-Control", "max-age=1"),
		cdn("max-age-space-after-equals", asked, "max-age= 100", "Cache-Control", "max-age=1"),
		cdn("max-age-0", asked, "max-age=0"),
		cdn("max-age-extension", hit, "foobar, max-age=3600"),
		cdn("max-age-expires", hit, "max-age=3600", "Expires", "@-10000"),
		cdn("max-age-0-expires", asked, "max-age=0", "Expires", "@10000"),
		cdn("short-cc", hit, "max-age=3600", "Cache-Control", "max-age=1"),
		cdn("long-cc", asked, "max-age=1", "Cache-Control", "max-age=3600"),
		cdn("private", asked, "private", "Cache-Control", "max-age=10000"),
		cdn("no-cache", asked, "no-cache", "Cache-Control", "max-age=10000", "Expires", "@10000"),
		cdn("no-store", asked, "no-store", "Cache-Control", "max-age=10000"),
		cdn("fresh-cc-no-store", hit, "max-age=10000", "Cache-Control", "no-store"),
		cdn("invalid-syntax", asked, "max-age=10000, &&&&&", "Cache-Control", "no-store"),
		cdn("invalid-type", asked, `max-age="10000"`, "Cache-Control", "no-store"),
		{"cdn-cache-control/forwarded", []step{{answer: []string{"CDN-Cache-Control", "foo", "Cache-Control", "max-age=10"}, wantIn: []string{"CDN-Cache-Control", "foo"}}}},
	})
}
