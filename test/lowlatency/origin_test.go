package lowlatency

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/media/hls"
	"github.com/tandem-cdn/tandem/test/ffmpeg"
)

// film is six seconds of fragmented MP4 with a fragment every half second, as pieces of
// which each ends one: what is first has the initialization, too.
func film(t *testing.T) (fragments [][]byte) {
	t.Helper()
	dir := t.TempDir()
	ffmpeg.Stream(t, dir, "6", "-map", "-0:v", "-map", "0:v", "-f", "mp4",
		"-movflags", "empty_moov+default_base_moof+frag_keyframe+skip_trailer", "-frag_duration", "500000", "film.mp4")
	r, err := os.Open(filepath.Join(dir, "film.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var now []byte
	for {
		kind, b, err := readBox(r)
		if errors.Is(err, io.EOF) {
			return fragments
		}
		if err != nil {
			t.Fatal(err)
		}
		if now = append(now, b...); kind == "mdat" {
			fragments, now = append(fragments, now), nil
		}
	}
}

// stage is an origin whose encoder writes a fragment every half second.
type stage struct {
	*Origin
	t       *testing.T
	dir     string
	encoder *io.PipeWriter
	fed     chan error
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, dir: t.TempDir(), fed: make(chan error, 1)}
	s.Origin = New(Options{Segment: 2 * time.Second, Part: 520 * time.Millisecond, Window: 3, Dir: s.dir})
	r, w := io.Pipe()
	s.encoder = w
	go func() { s.fed <- s.Feed("v", r); close(s.fed) }()
	t.Cleanup(func() {
		w.Close()
		for range s.fed { //nolint:revive // it ends
		}
	})
	synctest.Wait()
	return s
}

func (s *stage) write(fragments [][]byte) {
	for _, b := range fragments {
		<-time.After(500 * time.Millisecond)
		if _, err := s.encoder.Write(b); err != nil {
			s.t.Error(err)
		}
	}
}

func (s *stage) get(path string) (code int, body []byte) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.Bytes()
}

func (s *stage) playlist(query string, before *hls.Media) *hls.Media {
	s.t.Helper()
	code, b := s.get("/v/index.m3u8" + query)
	p, err := hls.Parse(b, hls.Context{Base: &url.URL{Scheme: "http", Host: "o", Path: "/v/index.m3u8"}, Previous: before})
	if code != http.StatusOK || err != nil || p.Media == nil {
		s.t.Fatalf("%s: %d, %v\n%s", query, code, err, b)
	}
	return p.Media
}

// TestOrigin: what is asked for before it is there is held until it is, playlists go on, and
// a segment is its parts.
func TestOrigin(t *testing.T) {
	fragments := film(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		began := time.Now()
		go func() { s.write(fragments); s.encoder.Close() }()
		took := func(what string, want time.Duration) {
			t.Helper()
			if got := time.Since(began).Round(100 * time.Millisecond); got != want {
				t.Errorf("%s: after %v, want %v", what, got, want)
			}
		}
		m := s.playlist("?_HLS_msn=0&_HLS_part=1", nil)
		took("the second part", time.Second)
		if m.PartTarget != 520*time.Millisecond || !m.ServerControl.CanBlockReload || len(m.Partial.Parts) != 2 || !m.Partial.Parts[0].Independent || m.Partial.Parts[1].Independent {
			t.Errorf("%+v", m)
		}
		if code, b := s.get(mustPath(t, m.Hints[0].URL)); code != http.StatusOK || !bytes.Equal(b, fragments[2]) {
			t.Errorf("the part that is hinted at: %d, %d bytes", code, len(b))
		}
		took("the part that is hinted at", 1500*time.Millisecond)
		m = s.playlist("?_HLS_msn=1", nil)
		took("the second segment", 4*time.Second)
		m = s.playlist("?_HLS_msn=2&_HLS_part=3&_HLS_skip=YES", m)
		took("the third segment's last part", 6*time.Second)
		if err := <-s.fed; err != nil {
			t.Error(err)
		}
		if m = s.playlist("", m); !m.EndList || len(m.Segments) != 3 {
			t.Errorf("%+v", m)
		}
		for _, g := range m.Segments {
			_, whole := s.get(mustPath(t, g.URL))
			var parts []byte
			for _, p := range g.Parts {
				_, b := s.get(mustPath(t, p.URL))
				parts = append(parts, b...)
			}
			kept, err := os.ReadFile(filepath.Join(s.dir, mustPath(t, g.URL)))
			if len(g.Parts) != 4 || !bytes.Equal(parts, whole) || !bytes.Equal(kept, whole) || err != nil || g.Duration != 2*time.Second {
				t.Errorf("segment %d of %v: %d parts, %d bytes, whole %d, kept %d, %v", g.Number, g.Duration, len(g.Parts), len(parts), len(whole), len(kept), err)
			}
		}
	})
}

// TestRefuses: what cannot be meant is refused at once.
func TestRefuses(t *testing.T) {
	fragments := film(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.write(fragments[:1])
		synctest.Wait()
		for path, want := range map[string]int{
			"/v/index.m3u8?_HLS_msn=x": 400, "/v/index.m3u8?_HLS_part=1": 400, "/v/index.m3u8?_HLS_msn=7": 400,
			"/v/00000.7.m4s": 404, "/w/index.m3u8": 404,
		} {
			if code, _ := s.get(path); code != want {
				t.Errorf("%s: %d, want %d", path, code, want)
			}
		}
		if code, _ := s.get("/v/index.m3u8?_HLS_msn=0&_HLS_part=2"); code != http.StatusServiceUnavailable {
			t.Errorf("what does not come: %d", code)
		}
		s.encoder.CloseWithError(io.ErrUnexpectedEOF)
		if err := <-s.fed; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the encoder broke off: %v", err)
		}
	})
}

func mustPath(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.Path
}
