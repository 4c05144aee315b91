package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// Media playlists that import variables from their multivariant playlist keep their
// references on the gateway, each with the variables of its own.
func TestImportedVariables(t *testing.T) {
	s := newSite(t, nil)
	var q atomic.Pointer[string]
	s.mux["/top.m3u8"] = func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "#EXTM3U\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"%s/media\"\n#EXT-X-DEFINE:QUERYPARAM=\"u\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlist.m3u8?u={$u}\n", s.URL)
	}
	s.mux["/list.m3u8"] = func(w http.ResponseWriter, r *http.Request) {
		q.Store(&r.URL.RawQuery)
		fmt.Fprint(w, "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"dir\"\n#EXT-X-DEFINE:IMPORT=\"u\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$dir}/1.ts?{$u}\n#EXT-X-ENDLIST\n")
	}
	d := open(t, Config{}, s.host())
	list := func(u string) string {
		_, b := do(t, http.MethodGet, d.at(s.URL)+"/list.m3u8?u="+u+"&_HLS_msn=3", nil)
		return string(b)
	}
	if body := list("x"); !strings.Contains(body, "\n{$dir}/1.ts?{$u}\n") {
		t.Errorf("without its multivariant playlist:\n%s", body)
	}
	for _, u := range []string{"x", "y"} {
		_, top := do(t, http.MethodGet, d.at(s.URL)+"/top.m3u8?u="+u, nil)
		if !strings.Contains(string(top), "list.m3u8?u="+u) {
			t.Errorf("multivariant playlist:\n%s", top)
		}
	}
	for _, u := range []string{"x", "y"} {
		if body := list(u); !strings.Contains(body, "\n"+d.at(s.URL)+"/media/1.ts?"+u+"\n") || *q.Load() != "u="+u+"&_HLS_msn=3" {
			t.Errorf("asked with %q, with variables:\n%s", *q.Load(), body)
		}
	}
	// They are bounded.
	at, err := url.Parse(s.URL + "/top.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	before := len(d.variables.byURL)
	d.variables.saw(at, []byte("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\""+strings.Repeat("x", 50<<10)+"\"\n#EXT-X-DEFINE:NAME=\"b\",VALUE=\""+strings.Repeat("x", 50<<10)+"\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"))
	if after := len(d.variables.byURL); after != before {
		t.Errorf("100 KiB of variables are remembered")
	}
	for i := range 2 * maxDefining {
		at.RawQuery = fmt.Sprint(i)
		d.variables.saw(at, []byte("#EXTM3U\n#EXT-X-DEFINE:NAME=\"a\",VALUE=\"x\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"))
	}
	if n := len(d.variables.byURL); n != maxDefining {
		t.Errorf("the variables of %d playlists are remembered", n)
	}
}

// What another host says of a playlist counts only where its own says nothing.
func TestForeignVariables(t *testing.T) {
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	v, list := newVariables(), parse("https://a.example/list.m3u8")
	saw := func(at, value string) {
		v.saw(parse(at), []byte("#EXTM3U\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\""+value+"\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"+list.String()+"\n"))
	}
	for _, c := range []struct{ at, value, want string }{
		{"https://b.example/top.m3u8", "1", "1"},
		{"https://a.example/top.m3u8", "2", "2"},
		{"https://b.example/top.m3u8", "3", "2"},
		{"https://a.example/other.m3u8", "4", "4"},
	} {
		saw(c.at, c.value)
		for range 10 { // in whatever order
			if got := v.of(list)["dir"]; got != c.want {
				t.Fatalf("after %s from %s it is %s", c.value, c.at, got)
			}
		}
	}
}
