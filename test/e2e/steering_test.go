package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/ffmpeg"
)

// What does not come from peers comes from the pathway that steering names first, and from
// another when it says otherwise; playlists take variables from their multivariant playlist.
func TestSteeredFilm(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	www := t.TempDir()
	film := filepath.Join(www, "film")
	if err := os.Mkdir(film, 0o755); err != nil {
		t.Fatal(err)
	}
	ffmpeg.HLS(t, film, "30", "mpegts")
	var asked atomic.Int64
	files := http.FileServer(http.Dir(www))
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		files.ServeHTTP(w, r)
	}))
	defer mirror.Close()
	top := "#EXTM3U\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"/film\"\n#EXT-X-DEFINE:NAME=\"other\",VALUE=\"" + mirror.URL + "\"\n" +
		"#EXT-X-CONTENT-STEERING:SERVER-URI=\"steer.json\",PATHWAY-ID=\"B\"\n"
	names := map[string][]string{}
	for _, list := range []string{"0.m3u8", "1.m3u8"} {
		text := "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"dir\"\n"
		for line := range strings.Lines(strings.TrimPrefix(string(read(t, filepath.Join(film, list))), "#EXTM3U\n")) {
			if line[0] != '#' {
				names[list] = append(names[list], "/film/"+strings.TrimSpace(line))
				line = "{$dir}/" + line
			}
			text += line
		}
		write(t, filepath.Join(www, list), []byte(text))
		for _, pathway := range []string{"A", "B"} {
			at := map[string]string{"A": list, "B": "{$other}/" + list}[pathway]
			top += fmt.Sprintf("#EXT-X-STREAM-INF:BANDWIDTH=%d,PATHWAY-ID=\"%s\"\n%s\n", 1000+len(names), pathway, at)
		}
	}
	write(t, filepath.Join(www, "top.m3u8"), []byte(top))
	write(t, filepath.Join(www, "steer.json"), []byte(`{"VERSION":1,"TTL":300,"PATHWAY-PRIORITY":["A","B"]}`))
	base, _, control := cell(t, nginx(t, www))
	output(t, "curl", "-sf", base+"/top.m3u8")
	for list := range names {
		until(t, "a track of "+list, func() bool { return len(tracksOf(t, base+"/"+list)) == 1 })
	}
	d := gateway(t, base, "--gateway-publisher", strings.TrimPrefix(mirror.URL, "http://"), "--gateway-publisher", strings.TrimPrefix(control.ready(t), "http://"))
	play := func(list string) (others int64) {
		t.Helper()
		before := asked.Load()
		output(t, "curl", "-sf", d.base+"/"+list)
		for _, name := range names[list] {
			same(t, name, output(t, "curl", "-sf", d.base+name), read(t, filepath.Join(www, name)))
			<-time.After(300 * time.Millisecond)
		}
		return asked.Load() - before
	}
	if text := string(output(t, "curl", "-sf", d.base+"/top.m3u8")); !strings.Contains(text, `SERVER-URI="`+d.base+`/steer.json"`) {
		t.Errorf("the steering server is not on the gateway:\n%s", text)
	}
	if n := play("0.m3u8"); n == 0 {
		t.Error("the pathway to begin with was not asked")
	}
	output(t, "curl", "-sf", d.base+"/steer.json?_HLS_pathway=B")
	if n := play("1.m3u8"); n > 0 {
		t.Errorf("%d requests to the other pathway, though steering names the first", n)
	}
}
