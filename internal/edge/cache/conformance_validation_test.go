package cache

import (
	"net/http"
	"testing"
	"time"
)

const monday = "Mon, 02 Mar 2026 00:00:00 GMT"

// Groups conditional-inm and conditional-lm.
func TestConformanceConditional(t *testing.T) {
	inm := func(name, tag, cond string, status int) conformanceCase {
		s := step{send: []string{"If-None-Match", cond}, want: hit, wantSt: status}
		if status == http.StatusNotModified {
			s.wantIn = []string{"ETag", tag}
		}
		return conformanceCase{"conditional-inm/" + name, []step{fresh("ETag", tag), s}}
	}
	ims := func(name, want, cond string, answer ...string) conformanceCase {
		return conformanceCase{"conditional-lm/" + name, []step{
			{answer: answer},
			{after: 3 * time.Second, send: []string{"If-Modified-Since", cond}, want: want, answer: answer, wantSt: http.StatusNotModified},
		}}
	}
	runConformance(t, []conformanceCase{
		inm("strong", `"abcdef"`, `"abcdef"`, 304),
		inm("weak", `W/"abcdef"`, `W/"abcdef"`, 304),
		inm("weak-strong", `"abcdef"`, `W/"abcdef"`, 304),
		inm("other", `"abcdef"`, `"x"`, 200),
		inm("any", `"abcdef"`, `*`, 304),
		inm("unquoted", `"abcdef"`, `abcdef`, 200),
		inm("unquoted-unquoted", `abcdef`, `abcdef`, 304),
		inm("multiple-first", `"abcdef"`, `"abcdef", "1234", "5678"`, 304),
		inm("multiple-second", `"abcdef"`, `"1234", "abcdef", "5678"`, 304),
		inm("multiple-last", `"abcdef"`, `"1234", "5678", "abcdef"`, 304),
		inm("comma-inside", `"a,b"`, `"1234", "a,b"`, 304),
		{"conditional-inm/precedence", []step{
			fresh("ETag", `"a"`, "Last-Modified", "@-5000"),
			{send: []string{"If-None-Match", `"b"`, "If-Modified-Since", "Thu, 05 Mar 2026 00:00:00 GMT"}, want: hit},
		}},
		{"conditional-inm/if-match", []step{
			fresh("ETag", `"a"`),
			{send: []string{"If-Match", `"b"`}, want: hit, wantSt: 412},
			{send: []string{"If-Match", `"b", "a"`}, want: hit},
			{send: []string{"If-Match", `W/"a"`}, want: hit, wantSt: 412},
			{send: []string{"If-Match", `*`}, want: hit},
		}},
		{"conditional-lm/if-unmodified-since", []step{
			fresh("Last-Modified", monday),
			{send: []string{"If-Unmodified-Since", "Sun, 01 Mar 2026 00:00:00 GMT"}, want: hit, wantSt: 412},
			{send: []string{"If-Unmodified-Since", monday}, want: hit},
		}},
		{"conditional-inm/vary-sent", []step{
			{send: []string{"Abc", "123"}, answer: []string{"Cache-Control", "max-age=1", "ETag", `"a"`, "Vary", "Abc"}},
			{after: 3 * time.Second, send: []string{"Abc", "123"}, answer: []string{"ETag", `"a"`, "Vary", "Abc"}, want: etag},
		}},
		{"conditional-inm/vary-mismatch", []step{
			{send: []string{"Abc", "123"}, answer: []string{"Cache-Control", "max-age=100", "ETag", `"a"`, "Vary", "Abc"}},
			{send: []string{"Abc", "456"}, answer: []string{"ETag", `"a"`, "Vary", "Abc"}, want: asked},
		}},
		reused("conditional-inm/generate", etag, "Cache-Control", "max-age=1", "ETag", `"a"`),
		reused("conditional-inm/generate-weak", etag, "Cache-Control", "max-age=1", "ETag", `W/"a"`),

		ims("fresh", hit, monday, "Cache-Control", "max-age=100000", "Last-Modified", monday),
		ims("fresh-later", hit, "Tue, 03 Mar 2026 00:00:00 GMT", "Cache-Control", "max-age=100000", "Last-Modified", monday),
		ims("fresh-rfc850", hit, "Monday, 02-Mar-26 00:00:00 GMT", "Cache-Control", "max-age=100000", "Last-Modified", monday),
		ims("fresh-no-lm", hit, "Thu, 05 Mar 2026 00:00:00 GMT", "Cache-Control", "max-age=100000"),
		ims("stale", lm, monday, "Cache-Control", "max-age=1", "Last-Modified", monday),
	})
}

// Groups update304 and update-head.
func TestConformanceUpdate(t *testing.T) {
	var cases []conformanceCase
	update := func(kind, tag, value string) {
		for _, f := range [][3]string{
			{"Test-Header", "a", "b"},
			{"Content-Foo", "a", "b"},
			{"Content-Location", "/foo", "/bar"},
			{"X-Frame-Options", "deny", "sameorigin"},
			{"Expires", "@1", "@3600"},
		} {
			cases = append(cases, conformanceCase{"update304/" + kind + "/" + f[0], []step{
				{answer: []string{"Cache-Control", "max-age=1", tag, value, f[0], f[1]}, body: "kept"},
				{
					after: 3 * time.Second, want: kind, text: "kept", wantIn: []string{f[0], f[2]},
					answer: []string{"Cache-Control", "max-age=3600", tag, value, f[0], f[2]},
				},
				{want: hit, text: "kept", wantIn: []string{f[0], f[2]}},
			}})
		}
		cases = append(cases, conformanceCase{"update304/" + kind + "/stored", []step{
			{answer: []string{"Cache-Control", "max-age=1", tag, value, "Test-Header", "a"}},
			{after: 3 * time.Second, want: kind, answer: []string{"Cache-Control", "max-age=3600", tag, value}, wantIn: []string{"Test-Header", "a"}},
		}})
	}
	update(etag, "ETag", `"v"`)
	update(lm, "Last-Modified", monday)
	stale := []string{"Cache-Control", "max-age=1", "Template-A", "1", "ETag", `"a"`}
	cases = append(cases,
		conformanceCase{"update-head/writethrough", []step{
			{answer: stale, body: "12"},
			{after: 3 * time.Second, method: "HEAD", want: asked, answer: []string{"ETag", `"b"`}},
		}},
		conformanceCase{"update-head/freshness", []step{
			{answer: stale, body: "12"},
			{after: 3 * time.Second, method: "HEAD", want: etag, wantIn: []string{"Template-A", "1"}, answer: []string{"Cache-Control", "max-age=1000", "ETag", `"a"`}},
			{want: hit, text: "12"},
		}},
		conformanceCase{"update-head/fields", []step{
			{answer: stale, body: "12"},
			{after: 3 * time.Second, method: "HEAD", want: etag, answer: []string{"Template-A", "2", "Cache-Control", "max-age=1000", "ETag", `"a"`}},
			{want: hit, text: "12", wantIn: []string{"Template-A", "2"}},
		}},
		conformanceCase{"update-head/changed", []step{
			{answer: []string{"Cache-Control", "max-age=1, stale-if-error=60", "ETag", `"a"`}, body: "12"},
			{after: 3 * time.Second, method: "HEAD", want: asked, answer: []string{"Cache-Control", "max-age=1000", "ETag", `"b"`}},
			{want: asked, answer: []string{"ETag", `"b"`}, body: "3", text: "3"},
		}},
		conformanceCase{"update-head/410", []step{
			{answer: stale},
			{after: 3 * time.Second, method: "HEAD", want: asked, status: 410, answer: []string{"Cache-Control", "max-age=1000"}},
			{want: asked, answer: []string{"Cache-Control", "max-age=1"}},
		}},
		conformanceCase{"update-head/hit", []step{
			fresh("ETag", `"a"`),
			{method: "HEAD", want: hit, wantIn: []string{"Content-Length", "8"}},
		}},
	)
	runConformance(t, cases)
}

// Groups vary and vary-parse.
func TestConformanceVary(t *testing.T) {
	vary := func(name, value string, first, second []string, want string) conformanceCase {
		answer := []string{"Expires", "@5000", "Vary", value}
		return conformanceCase{"vary/" + name, []step{{send: first, answer: answer}, {send: second, answer: answer, want: want}}}
	}
	foo := func(v ...string) (h []string) {
		for _, x := range v {
			h = append(h, "Foo", x)
		}
		return h
	}
	three := []string{"Foo", "1", "Bar", "abc", "Baz", "789"}
	cases := []conformanceCase{
		vary("match", "Foo", foo("1"), foo("1"), hit),
		vary("no-match", "Foo", foo("1"), foo("2"), asked),
		vary("omit", "Foo", foo("1"), nil, asked),
		vary("omit-stored", "Foo", nil, foo("1"), asked),
		vary("not-in-key", "Foo", append(foo("1"), "Other", "2"), append(foo("1"), "Other", "3"), hit),
		vary("2-match", "Foo, Bar", three, three, hit),
		vary("2-no-match", "Foo, Bar", three, []string{"Foo", "2", "Bar", "abc"}, asked),
		vary("3-match", "Foo, Bar, Baz", three, three, hit),
		vary("3-no-match", "Foo, Bar, Baz", three, []string{"Foo", "1", "Bar", "abc4", "Baz", "789"}, asked),
		vary("3-omit", "Foo, Bar, Baz", []string{"Foo", "1", "Baz", "789"}, []string{"Foo", "1", "Baz", "789"}, hit),
		vary("normalise-space", "Foo", foo("1,2"), foo(" 1, 2 "), hit),
		vary("normalise-combine", "Foo", foo("1, 2"), foo("1", "2"), hit),
		vary("normalise-language", "Accept-Language", []string{"Accept-Language", "en, de"}, []string{"Accept-Language", "de, en"}, hit),
		vary("normalise-encoding", "Accept-Encoding", []string{"Accept-Encoding", "gzip, br"}, []string{"Accept-Encoding", "br,GZIP"}, hit),
		vary("case-of-name", "fOO", foo("1"), foo("1"), hit),
		{"vary/keeps-others", []step{
			{send: foo("1"), answer: []string{"Expires", "@5000", "Vary", "Foo"}, body: "foo_1"},
			{send: foo("2"), answer: []string{"Expires", "@5000", "Vary", "Foo"}, body: "foo_2", want: asked},
			{send: foo("1"), want: hit, text: "foo_1"},
			{send: foo("2"), want: hit, text: "foo_2"},
		}},
		{"vary/content-encoding", []step{
			{send: []string{"Accept-Encoding", "gzip"}, answer: []string{"Cache-Control", "max-age=100", "Content-Encoding", "gzip"}, body: "zipped"},
			{answer: []string{"Cache-Control", "max-age=100"}, body: "plain", want: asked, text: "plain"},
			{send: []string{"Accept-Encoding", "gzip"}, want: hit, text: "plain"},
		}},
	}
	for _, v := range []string{"*", "*, *", ", *", "*, Foo", "Foo, *"} {
		cases = append(cases, vary("star "+v, v, foo("1"), foo("1"), asked))
	}
	runConformance(t, cases)
}

// Groups stale and invalidation.
func TestConformanceStale(t *testing.T) {
	stale := func(name, want string, cc string, last step) conformanceCase {
		last.after, last.want = 3*time.Second, want
		return conformanceCase{"stale/" + name, []step{{answer: []string{"Cache-Control", cc}, body: "old"}, last}}
	}
	down := step{down: true, text: "old"}
	gone := step{down: true, wantSt: http.StatusBadGateway}
	e503 := step{status: 503, wantSt: 200, text: "old"}
	n503 := step{status: 503}
	kept := ", stale-while-revalidate=0, stale-if-error=0" // so that it is stored at all
	cases := []conformanceCase{
		stale("close", asked, "max-age=2", down),
		stale("503", asked, "max-age=2", n503),
		stale("sie-close", asked, "max-age=2, stale-if-error=60", down),
		stale("sie-503", asked, "max-age=2, stale-if-error=60", e503),
		stale("sie-404", asked, "max-age=2, stale-if-error=60", step{status: 404}),
		stale("sie-over-close", asked, "max-age=1, stale-if-error=1", gone),
		stale("sie-over-503", asked, "max-age=1, stale-if-error=1", n503),
		stale("must-revalidate", asked, "max-age=2, must-revalidate"+kept, gone),
		stale("proxy-revalidate", asked, "max-age=2, proxy-revalidate"+kept, gone),
		stale("no-cache", asked, "max-age=2, no-cache"+kept, gone),
		stale("s-maxage", asked, "s-maxage=2"+kept, gone),
		stale("must-revalidate-sie-503", asked, "max-age=2, must-revalidate, stale-if-error=60", n503),
		{"stale/request-sie", []step{
			{answer: []string{"Cache-Control", "max-age=2"}, body: "old"},
			{after: 3 * time.Second, send: []string{"Cache-Control", "stale-if-error=60"}, status: 503, wantSt: 200, text: "old"},
		}},
	}
	for _, m := range []string{"POST", "PUT", "DELETE", "M-SEARCH"} {
		okay := []string{"Cache-Control", "max-age=3600"}
		cases = append(cases,
			conformanceCase{"invalidation/" + m, []step{fresh(), {method: m}, {want: asked, answer: okay}, {want: hit}}},
			conformanceCase{"invalidation/" + m + "-failed", []step{fresh(), {method: m, status: 500}, {want: hit}}},
			conformanceCase{"invalidation/" + m + "-location", []step{fresh(), {path: "/y", method: m, answer: []string{"Location", "/x"}}, {want: asked}}},
			conformanceCase{"invalidation/" + m + "-content-location", []step{fresh(), {path: "/y", method: m, answer: []string{"Content-Location", "/x"}}, {want: asked}}},
			conformanceCase{"invalidation/" + m + "-other-host", []step{fresh(), {path: "/y", method: m, answer: []string{"Location", "http://elsewhere.test/x"}}, {want: hit}}},
		)
	}
	cases = append(cases, conformanceCase{"invalidation/options", []step{fresh(), {method: "OPTIONS"}, {want: hit}}})
	runConformance(t, cases)
}

// Group partial.
func TestConformancePartial(t *testing.T) {
	whole := step{answer: []string{"Cache-Control", "max-age=3600", "ETag", `"a"`}, body: "0123456789A"}
	part := func(name, field string, status int, text string, in ...string) conformanceCase {
		return conformanceCase{"partial/" + name, []step{whole, {send: []string{"Range", field}, want: hit, wantSt: status, text: text, wantIn: in}}}
	}
	ifRange := func(name, cond string, status int) conformanceCase {
		return conformanceCase{"partial/if-range-" + name, []step{whole, {send: []string{"Range", "bytes=0-1", "If-Range", cond}, want: hit, wantSt: status}}}
	}
	runConformance(t, []conformanceCase{
		part("first-last", "bytes=0-1", 206, "01", "Content-Range", "bytes 0-1/11", "Content-Length", "2"),
		part("no-last", "bytes=1-", 206, "123456789A", "Content-Range", "bytes 1-10/11"),
		part("suffix", "bytes=-1", 206, "A", "Content-Range", "bytes 10-10/11"),
		part("suffix-too-long", "bytes=-99", 206, "0123456789A"),
		part("past-end", "bytes=9-99", 206, "9A", "Content-Range", "bytes 9-10/11"),
		part("unsatisfiable", "bytes=11-", 416, "", "Content-Range", "bytes */11"),
		part("suffix-zero", "bytes=-0", 416, ""),
		part("other-unit", "lines=1-2", 200, "0123456789A"),
		part("no-grammar", "bytes=2-1", 200, "0123456789A"),
		part("joined", "bytes=0-2,2-4", 206, "01234", "Content-Range", "bytes 0-4/11"),
		ifRange("match", `"a"`, 206),
		ifRange("other", `"b"`, 200),
		ifRange("weak", `W/"a"`, 200),
		ifRange("date", monday, 200),
		{"partial/first-request", []step{
			{send: []string{"Range", "bytes=-5"}, answer: whole.answer, body: whole.body, wantSt: 206, text: "6789A"},
			{send: []string{"Range", "bytes=6-8"}, want: hit, wantSt: 206, text: "678"},
		}},
		{"partial/head-ignores-range", []step{whole, {method: "HEAD", send: []string{"Range", "bytes=0-1"}, want: hit, wantIn: []string{"Content-Length", "11"}}}},
	})
}
