package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/media/hls"
	"github.com/tandem-cdn/tandem/test/ffmpeg"
	"github.com/tandem-cdn/tandem/test/lowlatency"
)

// parts plays a low-latency stream from a gateway, from two segments before its end on and
// then so many parts, each of which is asked for while the playlist only hints at it. All
// are held against what the origin has. It returns their size and how long after it was
// there each of those came, at the most.
func (d *door) parts(t *testing.T, dir string, n int) (size int64, latest time.Duration) {
	t.Helper()
	u, err := url.Parse(d.base + "/v/index.m3u8")
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	var m *hls.Media
	load := func(at *url.URL) bool {
		p, err := hls.Parse(request(t, http.MethodGet, at.String(), nil).body, hls.Context{Base: u, Previous: m})
		if err != nil || p.Media == nil || len(p.Media.Hints) == 0 {
			t.Errorf("%s: %v", at, err)
			return false
		}
		m = p.Media
		return true
	}
	get := func(link string) {
		part := request(t, http.MethodGet, link, nil).body
		same(t, link, part, read(t, filepath.Join(dir, "v", path.Base(link))))
		size += int64(len(part))
	}
	if !load(u) {
		return 0, 0
	}
	listed := slices.Clone(m.Segments[max(0, len(m.Segments)-2):])
	if m.Partial != nil {
		listed = append(listed, *m.Partial)
	}
	for _, g := range listed {
		for _, p := range g.Parts {
			get(p.URL)
		}
	}
	for ok := load(u); ok && n > 0; n-- {
		hint := m.Hints[0].URL
		get(hint)
		came := time.Now()
		if ok = load(m.Reload(u)); ok && m.Partial != nil {
			end := m.Partial.ProgramTime
			for _, p := range m.Partial.Parts {
				if end = end.Add(p.Duration); p.URL == hint {
					latest = max(latest, came.Sub(end))
				}
			}
		}
	}
	return size, latest
}

// Three play a low-latency stream by its parts, near its source: all is as the origin has
// it, and much of it comes from the others.
func TestGatewayServesLowLatency(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg")
	dir := t.TempDir()
	o := lowlatency.New(lowlatency.Options{Segment: 2 * time.Second, Part: 520 * time.Millisecond, Window: 6, Dir: dir})
	origin := httptest.NewServer(o)
	t.Cleanup(origin.Close)
	r, w := io.Pipe()
	fed := make(chan error, 1)
	go func() { fed <- o.Feed("v", r) }()
	stop := ffmpeg.Fragments(t, w)
	t.Cleanup(func() {
		stop()
		w.Close()
		if err := <-fed; err != nil {
			t.Error(err)
		}
	})
	base, _, control := cell(t, origin.URL)
	until(t, "two segments", func() bool {
		resp, err := http.Get(base + "/v/00001.m4s")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	const parts = 40
	var doors []*door
	for range 3 {
		doors = append(doors, gateway(t, base, "--gateway-publisher", strings.TrimPrefix(control.ready(t), "http://"), "--upload-also", "battery,metered,vpn"))
	}
	sizes := make([]int64, len(doors))
	t.Run("players", func(t *testing.T) {
		for i, d := range doors {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				var latest time.Duration
				if sizes[i], latest = d.parts(t, dir, parts); latest > 2500*time.Millisecond {
					t.Errorf("a part came %v after it was there", latest)
				}
			})
		}
	})
	var edge, peers int64
	for i, d := range doors {
		tr := d.traffic(t)
		t.Logf("%d bytes played: %+v", sizes[i], tr)
		edge += tr.FromEdge
		peers += tr.FromPeers
	}
	// Each begins with two segments of its own, and one has the rest first.
	if peers < edge/4 {
		t.Errorf("%d bytes from the edge, %d from peers", edge, peers)
	}
}
