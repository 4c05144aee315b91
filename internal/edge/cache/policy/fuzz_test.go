package policy

import (
	"net/http"
	"testing"
	"time"
)

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-5", "bytes=5-,1-2", "bytes=0-4,5-9,-1", "bytes=a-b", "items=1-2", "bytes=99999999999999999999-"} {
		f.Add(s, int64(100))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		size = max(0, size)
		rs, err := ParseRange(field, size)
		if (err == nil) != (len(rs) > 0) || len(rs) > MaxParts {
			t.Fatalf("%d ranges, error %v", len(rs), err)
		}
		var sum int64
		for i, r := range rs {
			if r.Start < 0 || r.Start >= r.End || r.End > size {
				t.Fatalf("range %v of %d", r, size)
			}
			for _, o := range rs[:i] {
				if r.Start < o.End && o.Start < r.End {
					t.Fatalf("%v overlaps %v", r, o)
				}
			}
			if sum += r.Len(); sum > size {
				t.Fatalf("%d bytes of %d", sum, size)
			}
			got, total, ok := ParseContentRange(r.ContentRange(size))
			if !ok || got != r || total != size {
				t.Fatalf("Content-Range of %v reads back as %v/%d, %t", r, got, total, ok)
			}
		}
	})
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/10", "bytes 0-4/*", "bytes */10", "bytes 5-4/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		r, size, ok := ParseContentRange(field)
		if ok && (r.Len() <= 0 || r.Start < 0 || size >= 0 && r.End > size) {
			t.Fatalf("%q: %v of %d", field, r, size)
		}
	})
}

// FuzzDirectives checks that nothing a header says makes a time negative or
// endless, or lifts no-store.
func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"max-age=5", `private="a,b", no-cache`, "s-maxage=99999999999999", `x="no-store`, "max-stale", `a=\"b`, "no-store"} {
		f.Add(s, s, "1", "Wed, 04 Mar 2026 05:06:07 GMT")
	}
	f.Fuzz(func(t *testing.T, cc, cdn, age, date string) {
		h := http.Header{"Cache-Control": {cc}, "Cdn-Cache-Control": {cdn}, "Age": {age}, "Date": {date}, "Expires": {date}, "Last-Modified": {date}}
		now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		r := Response{Status: 200, Header: h, Requested: now, Received: now}
		facts := FactsOf(r)
		if facts.Lifetime < 0 || facts.Lifetime > Forever.Duration() || facts.Age(now) < 0 {
			t.Fatalf("lifetime %v, age %v", facts.Lifetime, facts.Age(now))
		}
		d := ParseDirectives([]string{cc})
		for _, s := range []Seconds{d.MaxAge, d.SMaxAge, d.MaxStale, d.MinFresh, d.StaleIfError, d.StaleWhileRevalidate} {
			if s < None || s > Forever {
				t.Fatalf("%d seconds", s)
			}
		}
		if again := ParseDirectives([]string{cc, "no-store"}); !again.NoStore {
			t.Fatal("no-store is lost")
		}
		facts.Decide(d, now)
		Refusal(http.MethodGet, http.Header{"Cache-Control": {cc}}, r)
	})
}

func FuzzSelection(f *testing.F) {
	f.Add("Foo, Bar", "1, 2", "gzip;q=1, br")
	f.Add("*", "", `"unclosed`)
	f.Fuzz(func(t *testing.T, vary, foo, enc string) {
		names, star := VaryNames(http.Header{"Vary": {vary}, "Content-Encoding": {"gzip"}})
		if star {
			return
		}
		if len(names) > maxVary {
			t.Fatalf("%d names", len(names))
		}
		req := http.Header{"Foo": {foo}, "Accept-Encoding": {enc}}
		if Selection(names, req) != Selection(names, Selecting(names, req)) {
			t.Fatal("a request made from the selecting fields selects another variant")
		}
		Evaluate(http.Header{"If-None-Match": {foo}, "If-Match": {enc}}, Validators{ETag: foo})
		RangeApplies(http.Header{"If-Range": {foo}}, Validators{ETag: enc})
	})
}
