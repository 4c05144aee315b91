package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/tandem-cdn/tandem"
	"github.com/tandem-cdn/tandem/test/ffmpeg"
)

// film is an HLS presentation of ffmpeg's behind nginx, an edge and a control.
type film struct {
	t        *testing.T
	dir, url string
	control  *process
}

func newFilm(t *testing.T) *film {
	t.Helper()
	f := &film{t: t, dir: t.TempDir()}
	ffmpeg.HLS(t, f.dir, "60", "mpegts")
	f.url, _, f.control = cell(t, nginx(t, f.dir))
	output(t, "curl", "-sf", f.url+"/main.m3u8") // which tells that the renditions are one stream
	return f
}

// viewer makes a client that shares.
func (f *film) viewer() *sdk.Client {
	f.t.Helper()
	c, err := sdk.New(sdk.Config{Data: f.t.TempDir(), Upload: true, UploadAlso: []string{"battery", "metered", "vpn"}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return c
}

// open opens a playlist, again until the edge follows it, and waits until so many peers
// are linked.
func (f *film) open(c *sdk.Client, playlist string, peers int) (s *sdk.Stream) {
	f.t.Helper()
	until(f.t, playlist+" is shared", func() bool {
		var err error
		if s, err = c.OpenStream(f.t.Context(), f.url+"/"+playlist); err != nil {
			f.t.Fatal(err)
		}
		f.play(s, playlist, 0, 1)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range 50 {
			if p := s.Progress(); p.Peers >= peers && p.FromEdge+p.FromPeers > 0 {
				return true
			}
			<-tick.C
		}
		_ = s.Close() // before it is opened again
		return false
	})
	return s
}

// play takes the segments from first up to end, much faster than a player, and holds them
// against what ffmpeg wrote.
func (f *film) play(s *sdk.Stream, playlist string, first, end int) {
	f.t.Helper()
	var names []string
	for line := range strings.Lines(string(s.Playlist())) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			names = append(names, line)
		}
	}
	if want, err := os.ReadFile(filepath.Join(f.dir, playlist)); err != nil || !bytes.Equal(s.Playlist(), want) {
		f.t.Errorf("%s is not what ffmpeg wrote: %v", playlist, err)
		return
	}
	for _, name := range names[first:min(end, len(names))] {
		g, err := s.Open(f.t.Context(), name)
		if err != nil {
			f.t.Error(err)
			return
		}
		b, err := io.ReadAll(g)
		if err != nil {
			f.t.Error(err)
			return
		}
		if want, err := os.ReadFile(filepath.Join(f.dir, name)); err != nil || !bytes.Equal(b, want) {
			f.t.Errorf("%s: %d bytes, not those that ffmpeg wrote: %v", name, len(b), err)
			return
		}
		if err := g.Close(); err != nil {
			f.t.Error(err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

const toEnd = 1 << 20

// Three watch a film: all is as ffmpeg wrote it, and after the first one most comes from
// peers, also when control is killed in the middle, and when one of them goes on with
// another rendition after that.
func TestFilm(t *testing.T) {
	f := newFilm(t)
	clients := []*sdk.Client{f.viewer(), f.viewer(), f.viewer()}
	first := f.open(clients[0], "0.m3u8", 0)
	f.play(first, "0.m3u8", 0, toEnd)
	low := f.open(clients[0], "1.m3u8", 0)
	f.play(low, "1.m3u8", 0, toEnd)
	second, third := f.open(clients[1], "0.m3u8", 1), f.open(clients[2], "0.m3u8", 2)
	f.play(second, "0.m3u8", 0, 10)
	f.control.kill()
	var wg sync.WaitGroup
	wg.Go(func() { f.play(second, "0.m3u8", 10, toEnd) })
	wg.Go(func() {
		f.play(third, "0.m3u8", 0, 15)
		f.play(f.open(clients[2], "1.m3u8", 2), "1.m3u8", 15, toEnd)
	})
	wg.Wait()
	for _, s := range []*sdk.Stream{second, third} {
		p := s.Progress()
		t.Logf("%+v", p)
		if p.FromPeers < 4*p.FromEdge {
			t.Errorf("%d bytes from peers, %d from the edge", p.FromPeers, p.FromEdge)
		}
	}
	if up := first.Progress().Uploaded; up == 0 {
		t.Error("the first has sent nothing")
	}
}

// live plays n further segments of a live playlist as they appear, from the third before
// the end on, and holds them against what ffmpeg wrote. It returns their size.
func (f *film) live(s *sdk.Stream, playlist string, n int) (size int64) {
	seen := map[string]bool{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); len(seen) < n; {
		var names []string
		for line := range strings.Lines(string(output(f.t, "curl", "-sf", f.url+"/"+playlist))) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				names = append(names, line)
			}
		}
		for _, name := range names[max(0, len(names)-3):] {
			if seen[name] || len(seen) == n {
				continue
			}
			seen[name] = true
			g, err := s.Open(f.t.Context(), name)
			if err != nil {
				f.t.Error(err)
				return size
			}
			b, err := io.ReadAll(g)
			want, _ := os.ReadFile(filepath.Join(f.dir, name))
			if err != nil || !bytes.Equal(b, want) {
				f.t.Errorf("%s: %d bytes, not those that ffmpeg wrote: %v", name, len(b), err)
				return size
			}
			size += int64(len(b))
			if err := g.Close(); err != nil {
				f.t.Error(err)
			}
		}
		select {
		case <-tick.C:
		case <-end:
			f.t.Errorf("%d segments after %v", len(seen), patience)
			return size
		}
	}
	return size
}

// Three watch live: all is as ffmpeg wrote it, and but for the beginning the edge sends
// little more than one copy.
func TestLiveFilm(t *testing.T) {
	f := &film{t: t, dir: t.TempDir()}
	ffmpeg.Live(t, f.dir, "-f", "hls", "-hls_time", "2", "-hls_list_size", "6", "-hls_flags", "omit_endlist+temp_file",
		"-master_pl_name", "main.m3u8", "-var_stream_map", "v:0 v:1", "%v.m3u8")
	until(t, "three segments", func() bool {
		b, _ := os.ReadFile(filepath.Join(f.dir, "0.m3u8"))
		return bytes.Count(b, []byte("#EXTINF")) >= 3
	})
	f.url, _, f.control = cell(t, nginx(t, f.dir))
	var all []*sdk.Stream
	for range 3 {
		s, err := f.viewer().OpenStream(t.Context(), f.url+"/0.m3u8")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	const segments = 10
	var wg sync.WaitGroup
	sizes := make([]int64, len(all))
	for i, s := range all {
		wg.Go(func() { sizes[i] = f.live(s, "0.m3u8", segments) })
	}
	wg.Wait()
	var edge, peers int64
	for i, s := range all {
		p := s.Progress()
		t.Logf("%d bytes played: %+v", sizes[i], p)
		edge += p.FromEdge
		peers += p.FromPeers
	}
	// Of ten segments each begins with three of its own, at the most.
	if most := sizes[0] + 2*4*sizes[0]/segments; edge > most || peers == 0 {
		t.Errorf("%d bytes from the edge, want at most %d, %d from peers", edge, most, peers)
	}
}
