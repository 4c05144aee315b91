package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Players steer through the gateway: it keeps the steering server's URLs on itself, passes
// on what players tell it, and leaves out what they would make URLs of themselves. A server
// that is no publisher is not asked.
func TestContentSteering(t *testing.T) {
	s := newSite(t, nil)
	var asked atomic.Pointer[string]
	manifest := `{"VERSION":1,"TTL":300,"RELOAD-URI":"%s","PATHWAY-PRIORITY":["B","A"],"PATHWAY-CLONES":[{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"10.0.0.1"}}]}`
	steer := func(w http.ResponseWriter, r *http.Request) {
		asked.Store(&r.RequestURI)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, manifest, "next?a=1")
	}
	s.mux["/steer"], s.mux["/next"], s.mux["/other"] = steer, steer, steer
	s.mux["/moved"] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/there?"+r.URL.RawQuery, http.StatusFound)
	}
	s.mux["/there"] = steer
	play := func(path, text string) {
		s.mux[path] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	hls := "#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"%s\",PATHWAY-ID=\"A\"\n#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID=\"A\"\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID=\"B\"\nhttp://%s/a.m3u8\n"
	forbidden := trap(t)
	play("/top.m3u8", fmt.Sprintf(hls, "/steer?s=1", forbidden))
	play("/far.m3u8", fmt.Sprintf(hls, "http://"+forbidden+"/steer", forbidden))
	play("/moved.m3u8", fmt.Sprintf(hls, "/moved", forbidden))
	play("/m.mpd", `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"><ContentSteering defaultServiceLocation="a">/other</ContentSteering>
<BaseURL serviceLocation="a">v/</BaseURL><Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate duration="2" media="$Number$"/><Representation id="v" bandwidth="1"/></AdaptationSet></Period></MPD>`)
	d := open(t, Config{}, s.host())
	here := d.at(s.URL)
	rewritten := fmt.Sprintf(`{"PATHWAY-PRIORITY":["B","A"],"RELOAD-URI":"%s/next?a=1","TTL":300,"VERSION":1}`, here)
	get := func(path string) (int, string) {
		t.Helper()
		resp, b := do(t, http.MethodGet, here+path, nil)
		return resp.StatusCode, string(b)
	}
	if _, body := get("/steer?s=1"); body != fmt.Sprintf(manifest, "next?a=1") {
		t.Errorf("JSON of which nobody says that it steers has become\n%s", body)
	}
	for _, c := range []struct{ playlist, server, path, asks, want string }{
		{"/top.m3u8", here + "/steer?s=1", "/steer?s=1", "/steer?s=1", rewritten},
		{"/top.m3u8", here + "/steer?s=1", "/steer?s=1&_HLS_pathway=A&_HLS_throughput=5000", "/steer?s=1&_HLS_pathway=A&_HLS_throughput=5000", rewritten},
		{"", "", "/next?a=1", "/next?a=1", rewritten}, // as the manifest said
		{"/m.mpd", here + "/other", "/other", "/other", rewritten},
		{"/m.mpd", here + "/other", `/other?_DASH_pathway=%22a%22&_DASH_throughput=5000`, `/other?_DASH_pathway=%22a%22&_DASH_throughput=5000`, rewritten},
		{"/far.m3u8", "http://" + forbidden + "/steer", "", "", ""},
	} {
		if c.playlist != "" {
			if _, body := get(c.playlist); !strings.Contains(body, `"`+c.server+`"`) && !strings.Contains(body, ">"+c.server+"<") {
				t.Errorf("%s, want %s:\n%s", c.playlist, c.server, body)
			}
		}
		if c.path == "" {
			continue
		}
		if _, body := get(c.path); body != c.want || *asked.Load() != c.asks {
			t.Errorf("%s: asked for %s, got\n%s\nwant\n%s", c.path, *asked.Load(), body, c.want)
		}
	}
	get("/moved.m3u8")
	if status, _ := get("/moved?x=1"); status != http.StatusFound {
		t.Errorf("a redirect: %d", status)
	}
	if _, body := get("/there?x=1"); body != rewritten {
		t.Errorf("behind a redirect:\n%s", body)
	}
	if resp, _ := do(t, http.MethodGet, d.at("http://"+forbidden+"/steer?_HLS_pathway=A"), nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("no publisher: %s", resp.Status)
	}
	// Who names a playlist as the steering server changes nothing for it.
	play("/claims.m3u8", fmt.Sprintf(hls, "/top.m3u8", forbidden))
	get("/claims.m3u8")
	if _, body := get("/top.m3u8"); !strings.Contains(body, here+"/steer?s=1") {
		t.Errorf("a playlist that is named as a steering server:\n%s", body)
	}
	// What cannot be read is passed on as it is.
	for _, bad := range []string{`{"VERSION":1,"TTL":1e300}`, `{"VERSION":1,"RELOAD-URI":"file:///etc/passwd"}`, strings.Repeat("[", 300<<10), "<html>"} {
		s.mux["/steer"] = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, bad) }
		if status, body := get("/steer?_HLS_pathway=A"); status != http.StatusOK || body != bad {
			t.Errorf("%.40q: %d %.40q", bad, status, body)
		}
	}
}

// What somebody names as a steering server and goes on for ever comes as it is sent.
func TestNoSteering(t *testing.T) {
	s := newSite(t, nil)
	s.mux["/events"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	s.mux["/top.m3u8"] = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"/events\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n")
	}
	d := open(t, Config{}, s.host())
	do(t, http.MethodGet, d.at(s.URL)+"/top.m3u8", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.at(s.URL)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 9)
	if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "data: 1\n\n" {
		t.Errorf("%q, %v", b, err)
	}
}
