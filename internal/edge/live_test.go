package edge

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/ffmpeg"
	"github.com/tandem-cdn/tandem/test/nginx"
)

// late is how long after its appearance in the playlist a segment may come to the
// track: the playlist is loaded every second.
const late = time.Second + 200*time.Millisecond

// watched notes when segments appear at the origin.
type watched struct {
	names func() []string // those that are there
	at    map[string]time.Time
}

// inPlaylist watches an HLS playlist.
func inPlaylist(path string) *watched {
	return &watched{at: map[string]time.Time{}, names: func() []string {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		return segmentsIn(b, "/")
	}}
}

// inFolder watches files.
func inFolder(dir, pattern string) *watched {
	return &watched{at: map[string]time.Time{}, names: func() (names []string) {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil
		}
		for _, p := range paths {
			names = append(names, "/"+filepath.Base(p))
		}
		return names
	}}
}

func (w *watched) look() {
	now := time.Now()
	for _, name := range w.names() {
		if _, ok := w.at[name]; !ok {
			w.at[name] = now
		}
	}
}

// followFor follows the track for a while, and holds it against what appears from
// now on.
func (v *viewer) followFor(origin string, w *watched, d time.Duration) {
	v.t.Helper()
	w.look()
	before := map[string]bool{}
	for name := range w.at {
		before[name] = true
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			w.look()
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	got := map[string]time.Time{}
	for end := time.Now().Add(d); time.Now().Before(end); {
		from, _ := v.track.Next()
		v.more(1)
		for next, _ := v.track.Next(); from.Segment < next.Segment; from.Segment++ {
			s, at := v.track.Segment(from.Segment)
			got[s.Name] = time.Now()
			v.checkOne(origin, s, at)
		}
	}
	close(stop)
	<-done
	fresh := 0
	for name, at := range w.at {
		switch {
		case before[name] || time.Since(at) < late:
		case got[name].IsZero():
			v.t.Errorf("%s appeared %v ago and is not in the track", name, time.Since(at))
		case got[name].Sub(at) > late:
			v.t.Errorf("%s came %v after its appearance", name, got[name].Sub(at))
		default:
			v.t.Logf("%s after %v", name, got[name].Sub(at).Round(time.Millisecond))
			fresh++
		}
	}
	if fresh == 0 {
		v.t.Error("no segment appeared")
	}
}

// A live stream of ffmpeg at nginx: every segment is in the track soon after it is
// in the playlist; the track outlives a restart of the edge, and not one of the
// origin, whose new segments have the names of old ones.
func TestLiveHLS(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 seconds of live stream")
	}
	t.Parallel()
	dir, data := t.TempDir(), t.TempDir()
	live := func() (stop func()) {
		return ffmpeg.Live(t, dir, "-f", "hls", "-hls_time", "2", "-hls_list_size", "4",
			"-hls_flags", "omit_endlist+delete_segments+temp_file", "-var_stream_map", "v:0 v:1", "%v.m3u8")
	}
	stop := live()
	w := inPlaylist(filepath.Join(dir, "0.m3u8"))
	until(t, "the first segment", func() bool { w.look(); return len(w.at) > 0 })
	origin := nginx.Serve(t, dir)

	e, base, end := started(t, Config{Origin: origin, Data: data})
	path := tracksOf(t, base+"/0.m3u8", 1)[0]
	v := view(t, e, base, path)
	v.followFor(origin, w, 5*time.Second)
	end()

	e, base, _ = started(t, Config{Origin: origin, Data: data})
	if again := tracksOf(t, base+"/0.m3u8", 1); again[0] != path {
		t.Fatalf("after a restart the track is %v, before it was %s", again, path)
	}
	v.url = base + path
	v.followFor(origin, w, 4*time.Second)

	stop()
	live()
	v.toEnd()
	var next []string
	until(t, "another track", func() bool {
		next = trackPaths(get(t, base+"/0.m3u8"))
		return len(next) == 1 && next[0] != path
	})
	other := view(t, e, base, next[0])
	until(t, "segments of the new run", func() bool {
		other.more(1)
		n, _ := other.track.Next()
		return n.Segment >= 2
	})
	other.check(origin)
}

// A live MPD of ffmpeg at nginx, with a timeline and with numbers that follow from
// the clock.
func TestLiveDASH(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 8 seconds of live stream")
	}
	t.Parallel()
	for _, timeline := range []string{"1", "0"} {
		t.Run("timeline "+timeline, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ffmpeg.Live(t, dir, "-f", "dash", "-seg_duration", "2", "-window_size", "4", "-use_timeline", timeline, "live.mpd")
			w := inFolder(dir, "chunk-stream1-*.m4s")
			until(t, "the first segment", func() bool { w.look(); return len(w.at) > 0 })
			origin := nginx.Serve(t, dir)
			e, base := start(t, Config{Origin: origin})
			paths := tracksOf(t, base+"/live.mpd", 2)
			get(t, base+"/chunk-stream1-00001.m4s") // which says what is played
			v := view(t, e, base, paths[1])
			until(t, "the first segment", func() bool { v.more(1); next, _ := v.track.Next(); return next.Segment >= 2 })
			v.followFor(origin, w, 5*time.Second)
			if _, _, ok := v.track.Find("/init-stream1.m4s"); !ok {
				t.Error("the initialization is not in the track")
			}
			other := view(t, e, base, paths[0])
			other.more(0)
			if next, _ := other.track.Next(); next.Segment > 0 {
				t.Errorf("%d segments of what nobody plays", next.Segment)
			}
		})
	}
}
