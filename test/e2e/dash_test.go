package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/media/dash"
	"github.com/tandem-cdn/tandem/test/ffmpeg"
)

// watcher watches a DASH stream through a gateway and holds all that it is given against
// the origin's files.
type watcher struct {
	t   *testing.T
	d   *door
	www string
	// pace is the pause after each segment: a player does not take them all at once.
	pace time.Duration
	had  map[media.Resource]bool
}

// audience is two viewers of an edge, the first of whom shares.
func audience(t *testing.T, www string) (base string, all [2]*watcher) {
	t.Helper()
	base, _, control := cell(t, nginx(t, www))
	also := []string{"--gateway-publisher", strings.TrimPrefix(control.ready(t), "http://"), "--upload-also", "battery,metered,vpn"}
	for i := range all {
		all[i] = &watcher{t: t, d: gateway(t, base, also...), www: www, had: map[media.Resource]bool{}}
	}
	all[1].pace = 200 * time.Millisecond
	return base, all
}

// watch takes what an MPD lists now and was not taken yet, of all representations, and
// returns how many segments that were.
func (v *watcher) watch(mpd string) (n int) {
	v.t.Helper()
	at, err := url.Parse(v.d.base + mpd)
	if err != nil {
		v.t.Fatal(err)
	}
	m, err := dash.Parse(output(v.t, "curl", "-sf", at.String()), at)
	if err != nil {
		v.t.Fatal(err)
	}
	for i := range m.Representations {
		l, err := m.List(i, time.Now(), "")
		if err != nil {
			v.t.Fatal(err)
		}
		for _, s := range l.Segments {
			if s.Init != nil {
				v.take(*s.Init)
			}
			if v.take(s.Resource) {
				n++
				<-time.After(v.pace)
			}
		}
	}
	return n
}

// take gets a resource, unless that was taken before.
func (v *watcher) take(r media.Resource) bool {
	v.t.Helper()
	if v.had[r] {
		return false
	}
	v.had[r] = true
	args := []string{"-sf", r.URL}
	want := read(v.t, filepath.Join(v.www, strings.TrimPrefix(r.URL, v.d.base)))
	if end, ok := r.Range.End(); ok {
		args = append(args, "-r", fmt.Sprintf("%d-%d", r.Range.Offset, end-1))
		want = want[r.Range.Offset:end]
	}
	same(v.t, r.URL, output(v.t, "curl", args...), want)
	return true
}

// A DASH stream of ffmpeg's comes through gateways as it is at the origin, however it
// names its segments, and to the second viewer from the first.
func TestDASHFilm(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	www := t.TempDir()
	for name, format := range map[string][]string{
		"number":   {"-use_timeline", "0"},
		"timeline": {"-use_timeline", "1"},
		"time":     {"-media_seg_name", "$RepresentationID$-$Time$.m4s"},
		"list":     {"-use_template", "0"},
		"ranges":   {"-single_file", "1"},
	} {
		dir := filepath.Join(www, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		ffmpeg.Stream(t, dir, "20", append(append([]string{"-f", "dash", "-seg_duration", "2"}, format...), "main.mpd")...)
	}
	_, viewers := audience(t, www)
	names := []string{"number", "timeline", "time", "list", "ranges"}
	for i, v := range viewers {
		if i > 0 {
			for _, name := range names {
				output(t, "curl", "-sf", v.d.base+"/"+name+"/main.mpd")
			}
			<-time.After(3 * time.Second) // in which they are linked
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					w := &watcher{t: t, d: v.d, www: www, pace: v.pace, had: map[media.Resource]bool{}}
					if n := w.watch("/" + name + "/main.mpd"); n != 20 {
						t.Errorf("%d segments, want 20", n)
					}
				})
			}
		})
	}
	// But for what is ranges of one file, and where a viewer begins, it comes from the first.
	tr := viewers[1].d.traffic(t)
	t.Logf("%+v", tr)
	if tr.FromPeers < tr.FromEdge/2 {
		t.Errorf("%d bytes from the first viewer, %d from the edge", tr.FromPeers, tr.FromEdge)
	}
}

// moving writes a live MPD of ffmpeg's segments as a packager with short periods does: three
// segments of two seconds each, the last two periods and the one that has begun.
func moving(t *testing.T, www string, began time.Time) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="dynamic" minBufferTime="PT2S" minimumUpdatePeriod="PT1S" timeShiftBufferDepth="PT12S" availabilityStartTime="%s" publishTime="%s">`,
		began.UTC().Format(time.RFC3339Nano), time.Now().UTC().Format(time.RFC3339Nano))
	now := int(time.Since(began) / (6 * time.Second))
	for p := max(0, now-2); p <= now; p++ {
		fmt.Fprintf(&b, `<Period id="p%[1]d" start="PT%[2]dS"><AdaptationSet mimeType="video/mp4"><SegmentTemplate timescale="1" duration="2" startNumber="%[3]d" presentationTimeOffset="%[2]d" initialization="init-stream$RepresentationID$.m4s" media="chunk-stream$RepresentationID$-$Number%%05d$.m4s"/><Representation id="0" bandwidth="700000"/><Representation id="1" bandwidth="200000"/></AdaptationSet></Period>`,
			p, 6*p, 3*p+1)
	}
	b.WriteString("</MPD>")
	name := filepath.Join(www, "live.mpd")
	write(t, name+".new", b.Bytes())
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// The periods of a live stream come and go, and its tracks go on.
func TestMovingPeriods(t *testing.T) {
	t.Parallel()
	need(t, "nginx")
	www := t.TempDir()
	ffmpeg.Stream(t, www, "60", "-f", "dash", "-seg_duration", "2", "-use_timeline", "0", "main.mpd")
	began := time.Now().Add(-10 * time.Second)
	moving(t, www, began)
	base, viewers := audience(t, www)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < 34*time.Second { // four more periods begin
		moving(t, www, began)
		for _, v := range viewers {
			v.watch("/live.mpd")
		}
		<-tick.C
	}
	for _, v := range viewers {
		if n := len(v.had); n < 2*15 {
			t.Errorf("%d resources", n)
		}
	}
	tr := viewers[1].d.traffic(t)
	t.Logf("%+v", tr)
	if tr.FromPeers == 0 {
		t.Error("nothing has come from the first viewer")
	}
	if n := len(tracksOf(t, base+"/live.mpd")); n != 2 {
		t.Errorf("%d tracks, want one of each representation", n)
	}
}

// tracksOf are the tracks that an edge names in the answer to a playlist.
func tracksOf(t *testing.T, playlist string) (all []string) {
	t.Helper()
	for _, link := range request(t, http.MethodGet, playlist, nil).Header.Values("Link") {
		for l := range strings.SplitSeq(link, ",") {
			if strings.Contains(l, "track") {
				all = append(all, path.Base(l))
			}
		}
	}
	return all
}
