package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	controlplane "github.com/tandem-cdn/tandem/internal/control"
	"github.com/tandem-cdn/tandem/internal/edge"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/swarm"
)

// theatre is a real edge with an HLS presentation, and a real control.
type theatre struct {
	t        *testing.T
	dir, url string // of the edge
	segments map[string][]byte
	names    []string
	sent     atomic.Int64 // bytes of segments that the edge has sent
	asked    sync.Map     // requests, by path
	stop     func()       // control
	control  string
	edge     atomic.Pointer[edge.Edge]
	server   *httptest.Server // of the edge
}

// newTheatre has n segments of about 300 KB and two seconds each.
func newTheatre(t *testing.T, n int) *theatre {
	t.Helper()
	return openTheatre(t, func(th *theatre) {
		for i := range n {
			name := fmt.Sprintf("/video/%d.ts", i)
			th.names = append(th.names, name)
			th.segments[name] = random(byte(100+i), 300_000+i*1000)
			th.write(name, th.segments[name])
		}
		th.write("/video/all.m3u8", []byte(playlistOf(n, true)))
	})
}

// openTheatre serves what fill has put into the origin.
func openTheatre(t *testing.T, fill func(th *theatre)) *theatre {
	t.Helper()
	th := &theatre{t: t, dir: t.TempDir(), segments: map[string][]byte{}}
	fill(th)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	th.stop = serveControl(t, l)
	th.control = "ws://" + l.Addr().String() + "/v1/session"
	th.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".ts") {
			w = &counting{w, &th.sent}
		}
		n, _ := th.asked.LoadOrStore(r.URL.Path, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		th.edge.Load().Handler().ServeHTTP(w, r)
	}))
	th.start(t.TempDir())
	th.server.Start()
	th.url = th.server.URL
	t.Cleanup(func() {
		th.server.CloseClientConnections()
		th.server.Close()
		if err := th.edge.Load().Close(); err != nil {
			t.Error(err)
		}
	})
	th.published()
	return th
}

// start puts an edge with that data directory in its place.
func (th *theatre) start(data string) {
	th.t.Helper()
	e, err := edge.New(edge.Config{Origin: th.dir, Data: data, Control: []string{th.control}})
	if err != nil {
		th.t.Fatal(err)
	}
	before := th.edge.Swap(e)
	if before == nil {
		return
	}
	th.server.CloseClientConnections()
	if err := before.Close(); err != nil {
		th.t.Error(err)
	}
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

func playlistOf(n int, ended bool) string {
	var b strings.Builder
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n")
	for i := range n {
		fmt.Fprintf(&b, "#EXTINF:2.0,\n%d.ts\n", i)
	}
	if ended {
		b.WriteString("#EXT-X-ENDLIST\n")
	}
	return b.String()
}

func (th *theatre) write(name string, b []byte) {
	th.t.Helper()
	path := filepath.Join(th.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		th.t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		th.t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		th.t.Fatal(err)
	}
}

// serveControl runs a control on l until the function that it returns is called.
func serveControl(t *testing.T, l net.Listener) (stop func()) {
	t.Helper()
	c, err := controlplane.New(controlplane.Config{Data: t.TempDir(), NoSTUN: true})
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: c.Handler(), ReadHeaderTimeout: time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) }) // until it is closed
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		srv.Close()
		wg.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// published waits until the playlist names a track.
func (th *theatre) published() {
	th.t.Helper()
	until(th.t, "a track", func() bool {
		resp, err := http.Get(th.url + "/video/all.m3u8")
		if err != nil {
			th.t.Fatal(err)
		}
		resp.Body.Close()
		return len(trackLinks(resp.Request.URL, resp.Header)) > 0
	})
}

// viewer is an engine that shares and has the stream open.
func (th *theatre) viewer(name string) *Stream {
	th.t.Helper()
	log := io.Discard
	if testing.Verbose() {
		log = os.Stderr
	}
	e, err := New(Config{
		Data: th.t.TempDir(), Upload: true, ListenTCP: "127.0.0.1:0", ListenUDP: "127.0.0.1:0", Ungoverned: true,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("viewer", name),
	})
	if err != nil {
		th.t.Fatal(err)
	}
	th.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			th.t.Error(err)
		}
	})
	s, err := e.OpenStream(th.t.Context(), th.url+"/video/all.m3u8")
	if err != nil {
		th.t.Fatal(err)
	}
	th.t.Cleanup(func() { _ = s.Close() })
	return s
}

// watch reads segments, faster than a player by twenty times, and holds them against the
// origin's.
func (th *theatre) watch(s *Stream, names []string) {
	th.t.Helper()
	for _, name := range names {
		<-time.After(100 * time.Millisecond)
		seg, err := s.Open(th.t.Context(), th.url+name)
		if err != nil {
			th.t.Fatal(err)
		}
		b, err := io.ReadAll(seg)
		if err != nil || !bytes.Equal(b, th.segments[name]) || seg.Size() != int64(len(b)) {
			th.t.Fatalf("%s: %d bytes of %d, right: %v, %v", name, len(b), len(th.segments[name]), bytes.Equal(b, th.segments[name]), err)
		}
		if err := seg.Close(); err != nil {
			th.t.Error(err)
		}
	}
}

// TestStream has three watch one after the other: all bytes are right, and but for the
// first one's most come from the others.
func TestStream(t *testing.T) {
	th := newTheatre(t, 20)
	first := th.viewer("first")
	th.watch(first, th.names)
	if p := first.Progress(); p.FromEdge != th.sent.Load() || p.FromPeers > 0 {
		t.Errorf("first: %+v, the edge has sent %d", p, th.sent.Load())
	}
	before := th.sent.Load()
	for _, name := range []string{"second", "third"} {
		s := th.viewer(name)
		<-s.ready
		until(t, "a peer", func() bool { return s.Progress().Peers > 0 })
		th.watch(s, th.names)
		p := s.Progress()
		t.Logf("%s: %+v", name, p)
		if all := p.FromEdge + p.FromPeers; float64(p.FromPeers) < 0.85*float64(all) {
			t.Errorf("%s: %d of %d bytes from peers", name, p.FromPeers, all)
		}
		if p.Wasted > (p.FromEdge+p.FromPeers)/20 {
			t.Errorf("%s: %d bytes wasted", name, p.Wasted)
		}
	}
	t.Logf("the edge has sent %d bytes to the first, %d to others", before, th.sent.Load()-before)
	if _, err := first.Open(t.Context(), "/video/none.ts"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a segment that does not exist: %v", err)
	}
}

// linked waits until s has so many peers.
func linked(t *testing.T, s *Stream, n int) {
	t.Helper()
	<-s.ready
	until(t, fmt.Sprintf("%d peers", n), func() bool { return s.Progress().Peers >= n })
}

// TestStreamTogether has four watch at once: the edge sends little more than once what
// nobody has begun with.
func TestStreamTogether(t *testing.T) {
	const viewers = 4
	th := newTheatre(t, 30)
	var all []*Stream
	for i := range viewers {
		all = append(all, th.viewer(fmt.Sprint(i)))
	}
	for _, s := range all {
		linked(t, s, viewers-1)
	}
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() { th.watch(s, th.names) })
	}
	wg.Wait()
	var size, peers, edge int64
	for _, b := range th.segments {
		size += int64(len(b))
	}
	for _, s := range all {
		p := s.Progress()
		peers += p.FromPeers
		edge += p.FromEdge
	}
	copies := float64(th.sent.Load()) / float64(size)
	t.Logf("%.2f copies from the edge, %.0f %% of all from peers", copies, 100*float64(peers)/float64(peers+edge))
	if copies > 2 {
		t.Errorf("%.2f copies from the edge for %d viewers", copies, viewers)
	}
}

// TestStreamOutlivesControl: those who are linked go on helping each other.
func TestStreamOutlivesControl(t *testing.T) {
	th := newTheatre(t, 16)
	first, second := th.viewer("first"), th.viewer("second")
	linked(t, second, 1)
	th.watch(first, th.names)
	th.watch(second, th.names[:4])
	th.stop()
	before := second.Progress().FromEdge
	th.watch(second, th.names[4:])
	if p := second.Progress(); p.FromEdge > before || p.FromPeers == 0 {
		t.Errorf("%+v, had %d from the edge while there was a control", p, before)
	}
}

// poison is a source that says it has everything, and has nothing right.
type poison struct{ pieces swarm.Pieces }

func (p poison) Have() manifest.Bitfield {
	b := manifest.NewBitfield(p.pieces.NumPieces())
	b.SetAll()
	return b
}

func (p poison) Has(int) bool { return true }

func (p poison) ReadAt(b []byte, _ int64) (int, error) { return copy(b, random(9, len(b))), nil }

// TestStreamPoisoner: a peer that sends wrong bytes is dropped with the first piece, and
// nobody is shown one of them.
func TestStreamPoisoner(t *testing.T) {
	th := newTheatre(t, 12)
	bad := th.viewer("bad")
	<-bad.ready
	until(t, "a swarm", func() bool { return len(bad.shared.swarms()) > 0 })
	bad.shared.swarms()[0].Leave()
	tr := bad.shared.byID[0]
	until(t, "all of the track", func() bool { _, ended := tr.Next(); return ended }) // it claims what it knows of
	s := bad.shared
	w, err := s.p2p.node.Join(swarm.Membership{
		Object: tr.ID, Pieces: tr.Track, Grows: true, Grants: s.id, Source: poison{tr.Track},
		Grant: func() string { return *s.grant.Load() }, Trusted: s.doc.Keys.Public(), Uploads: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Leave()
	good := th.viewer("good")
	<-good.ready
	until(t, "a link", func() bool { return len(w.Keys()) > 0 })
	th.watch(good, th.names)
	if p := good.Progress(); p.FromPeers != 0 || p.Wasted == 0 || p.Peers != 0 {
		t.Errorf("%+v", p)
	}
}

// TestStreamElsewhere: what is of no track comes in the ordinary way, and streams of
// servers that follow none as well.
func TestStreamElsewhere(t *testing.T) {
	th := newTheatre(t, 3)
	th.write("/video/key", []byte("secret"))
	plain := httptest.NewServer(http.FileServer(http.Dir(th.dir)))
	defer plain.Close()
	e, err := New(Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	for _, base := range []string{th.url, plain.URL} {
		s, err := e.OpenStream(t.Context(), base+"/video/all.m3u8")
		if err != nil {
			t.Fatal(err)
		}
		<-s.ready
		if base == th.url {
			until(t, "a segment that is known", func() bool { _, _, ok := s.shared.d.Find("/video/0.ts"); return ok })
		}
		for name, want := range map[string]string{"key": "secret", "/video/0.ts": string(th.segments["/video/0.ts"])} {
			seg, err := s.Open(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if shared := base == th.url && name != "key"; seg.Shared() != shared {
				t.Errorf("%s: shared %v", name, seg.Shared())
			}
			if _, err := seg.Seek(3, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(seg); err != nil || string(b) != want[3:] {
				t.Errorf("%s of %s: %d bytes, %v", name, base, len(b), err)
			}
			_ = seg.Close()
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.OpenStream(t.Context(), th.url+"/video/none.m3u8"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a playlist that does not exist: %v", err)
	}
}

// TestStreamAdopts: what came before its track was known is shared all the same.
func TestStreamAdopts(t *testing.T) {
	th := newTheatre(t, 1) // with more the next would be fetched ahead, and counted
	s := th.viewer("early")
	seg := &Segment{s: s, ctx: t.Context(), size: -1}
	var err error
	if seg.url, err = s.at.Parse("0.ts"); err != nil {
		t.Fatal(err)
	}
	if err := seg.plain(0); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(seg); err != nil || !bytes.Equal(b, th.segments["/video/0.ts"]) {
		t.Fatal(err)
	}
	until(t, "a segment that is shared", func() bool { return s.Progress().FromEdge == int64(len(th.segments["/video/0.ts"])) })
}

// TestStreamChanges: a segment that the origin has replaced behind the track's back is
// shown as it is now, whole, or not at all.
func TestStreamChanges(t *testing.T) {
	th := newTheatre(t, 4)
	s := th.viewer("one")
	<-s.ready
	other := random(77, 123_456)
	th.write("/video/2.ts", other)
	seg, err := s.Open(t.Context(), "/video/2.ts")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(seg)
	if err == nil && !bytes.Equal(b, other) && !bytes.Equal(b, th.segments["/video/2.ts"]) || err != nil && len(b) > 0 && !bytes.HasPrefix(th.segments["/video/2.ts"], b) {
		t.Errorf("%d bytes that are of no version, %v", len(b), err)
	}
}
