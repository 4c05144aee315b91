package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/ffmpeg"
	"github.com/tandem-cdn/tandem/test/loopback"
)

// broadcast is a live stream of ffmpeg's behind nginx, an edge and a control: segments of
// two seconds that are numbered from zero, whenever ffmpeg begins.
type broadcast struct {
	t             *testing.T
	dir           string // what nginx serves
	url, at       string // of the edge, and of control
	edge, control *process
	end           func() // of ffmpeg

	mu   sync.Mutex
	runs []string // what each run of ffmpeg has written; the last writes into dir
}

// newBroadcast is on air once players can begin. The clock of the edge is wrong by that
// much, empty for not at all.
func newBroadcast(t *testing.T, clock string) *broadcast {
	t.Helper()
	b := &broadcast{t: t, dir: t.TempDir()}
	b.begin("0")
	until(t, "three segments", func() bool {
		list, _ := os.ReadFile(filepath.Join(b.dir, "0.m3u8"))
		return bytes.Count(list, []byte("#EXTINF")) >= 3
	})
	b.control = tandem(t, "control", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	b.at = b.control.ready(t)
	b.edge = astray(t, clock, "edge", "--origin", nginx(t, b.dir), "--control", b.at, "--listen", loopback.Addr(t), "--data", t.TempDir())
	b.url = b.edge.ready(t)
	output(t, "curl", "-sf", b.url+"/main.m3u8") // which tells that the renditions are one stream
	return b
}

// begin starts ffmpeg, whose first segment has that number. What each run has to show has
// other bytes.
func (b *broadcast) begin(number string) {
	rate := fmt.Sprint(700_000 - 50_000*len(b.runs))
	b.end = ffmpeg.Live(b.t, b.dir, "-f", "hls", "-hls_time", "2", "-hls_list_size", "10", "-hls_flags", "omit_endlist+temp_file",
		"-start_number", number, "-b:v:0", rate, "-master_pl_name", "main.m3u8", "-var_stream_map", "v:0 v:1", "%v.m3u8")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.runs = append(b.runs, b.dir)
}

// again ends ffmpeg and has it begin anew over what it has written.
func (b *broadcast) again(number string) {
	b.end()
	all, err := filepath.Glob(filepath.Join(b.dir, "*.ts"))
	if err != nil || len(all) == 0 {
		b.t.Errorf("no segments: %v", err)
	}
	kept := b.t.TempDir()
	for _, path := range all { // ffmpeg puts others in their place
		if err := os.Link(path, filepath.Join(kept, filepath.Base(path))); err != nil {
			b.t.Error(err)
		}
	}
	b.mu.Lock()
	b.runs[len(b.runs)-1] = kept
	b.mu.Unlock()
	b.begin(number)
}

// segment is what that run of ffmpeg has written.
func (b *broadcast) segment(run int, name string) ([]byte, error) {
	b.mu.Lock()
	dir := b.runs[min(run, len(b.runs)-1)]
	b.mu.Unlock()
	return os.ReadFile(filepath.Join(dir, name))
}

// viewer is a player of the broadcast: it begins three segments before the end, tries
// again what fails, and goes on where an encoder does.
type viewer struct {
	b    *broadcast
	base string // of what it asks
	door *door  // nil: the edge

	began    time.Time
	run      int       // of ffmpeg, as far as the playlists have told
	next     int       // number of the segment that it plays next
	until    time.Time // it has something to play
	segments int
	bytes    atomic.Int64
	lost     int           // segments that were gone before they came
	stalled  time.Duration // in all, without the start
	wrong    []string
	log      []string
}

// gateway makes a viewer that asks the gateway of an agent of its own, whose clock is wrong
// by that much.
func (b *broadcast) gateway(clock string) *viewer {
	addr, data := loopback.Addr(b.t), b.t.TempDir()
	edge := strings.TrimPrefix(b.url, "http://")
	p := astray(b.t, clock, "agent", "--data", data, "--gateway", addr, "--gateway-publisher", edge,
		"--gateway-publisher", strings.TrimPrefix(b.at, "http://"), "--port-mapping", "off", "--log-level", "debug")
	p.ready(b.t)
	d := &door{"http://" + addr + "/http/" + edge, data, p}
	return &viewer{b: b, base: d.base, door: d}
}

// noJump is how many segments may be missing before a playlist is one of another run.
const noJump = 100

func (v *viewer) note(format string, args ...any) {
	v.log = append(v.log, fmt.Sprintf("%6.2f ", time.Since(v.began).Seconds())+fmt.Sprintf(format, args...))
}

// watch plays until the context ends.
func (v *viewer) watch(ctx context.Context) {
	v.began, v.next = time.Now(), -1
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if list, err := v.get(ctx, "0.m3u8"); err != nil {
			v.note("playlist: %v", err)
		} else {
			v.play(ctx, string(list))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// play plays what a playlist has that was not played yet.
func (v *viewer) play(ctx context.Context, list string) {
	first, names := 0, []string(nil)
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if n, ok := strings.CutPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"); ok {
			first, _ = strconv.Atoi(n)
		} else if line != "" && line[0] != '#' {
			names = append(names, line)
		}
	}
	end := first + len(names)
	switch {
	case v.next < 0:
		v.next = max(first, end-3)
	case end < v.next, first > v.next+noJump:
		v.run++
		v.next = max(first, end-3)
		v.note("encoder has begun anew at %d", first)
	case first > v.next:
		v.note("%d segments are gone", first-v.next)
		v.lost += first - v.next
		v.next = first
	}
	for ; v.next < end; v.next++ {
		if !v.take(ctx, names[v.next-first]) {
			return
		}
	}
}

// take gets a segment, as far as it comes, and holds it against what ffmpeg wrote.
func (v *viewer) take(ctx context.Context, name string) bool {
	asked := time.Now()
	got, err := v.get(ctx, name)
	name = path.Base(name)
	if ctx.Err() != nil {
		return false
	}
	want, _ := v.b.segment(v.run, name)
	if err != nil && !bytes.HasPrefix(want, got) || err == nil && !bytes.Equal(want, got) {
		v.wrong = append(v.wrong, name)
	}
	if err != nil {
		v.note("%s: %v", name, err)
		return false
	}
	v.bytes.Add(int64(len(got)))
	now := time.Now()
	v.note("%s run %d, %d bytes in %v", name, v.run, len(got), now.Sub(asked).Round(time.Millisecond))
	if v.segments++; v.segments == 1 {
		v.until = now
	}
	if gap := now.Sub(v.until); gap > 0 {
		v.stalled += gap
		v.until = now
		v.note("stalled for %v", gap.Round(time.Millisecond))
	}
	v.until = v.until.Add(2 * time.Second)
	return true
}

// get returns what comes of a response, also where it breaks off.
func (v *viewer) get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if !strings.Contains(name, "://") { // as a gateway has all that it names
		name = v.base + "/" + name
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return io.ReadAll(resp.Body)
}
