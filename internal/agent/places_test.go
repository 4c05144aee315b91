package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/steering"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// branch is a second place that has what a theatre has, below /b/ instead of /video/, and
// may do wrong.
type branch struct {
	*httptest.Server
	asked  atomic.Int64
	misdo  func(w http.ResponseWriter, r *http.Request, b []byte) // nil: it does right
	steer  atomic.Pointer[string]                                 // manifest; nil: 503
	steers atomic.Int64
	moved  atomic.Pointer[string] // where it is instead; nil: here
}

func newBranch(t *testing.T, th *theatre) *branch {
	t.Helper()
	b := &branch{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/steer" {
			b.steers.Add(1)
			if to := b.moved.Load(); to != nil {
				http.Redirect(w, r, *to, http.StatusFound)
				return
			}
			m := b.steer.Load()
			if m == nil {
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprint(w, *m)
			return
		}
		seg := th.segments["/video/"+strings.TrimPrefix(r.URL.Path, "/b/")]
		if seg == nil {
			http.NotFound(w, r)
			return
		}
		b.asked.Add(1)
		if b.misdo != nil {
			b.misdo(w, r, seg)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(seg)))
	}))
	t.Cleanup(b.Close)
	th.write("/video/top.m3u8", []byte(`#EXTM3U
#EXT-X-CONTENT-STEERING:SERVER-URI="`+b.URL+`/steer?s=1",PATHWAY-ID="B"
#EXT-X-STREAM-INF:BANDWIDTH=1200000,PATHWAY-ID="A"
all.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1200000,PATHWAY-ID="B"
`+b.URL+`/b/all.m3u8
`))
	return b
}

// open has a viewer see the multivariant playlist.
func (b *branch) open(t *testing.T, th *theatre) *Stream {
	t.Helper()
	s := th.viewer("viewer")
	top, err := s.e.OpenStream(t.Context(), th.url+"/video/top.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = top.Close() })
	<-s.ready
	return s
}

// The place that steering names first is asked for what does not come from peers, and one
// that fails in whatever way is left for the next at once.
func TestPlaces(t *testing.T) {
	hang := func(r *http.Request) { <-r.Context().Done() }
	for _, c := range []struct {
		name  string
		misdo func(w http.ResponseWriter, r *http.Request, b []byte)
		most  int64 // requests that it gets
	}{
		{"does right", nil, 100},
		{"is down", nil, 0},
		{"busy", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "full", http.StatusServiceUnavailable)
		}, 3},
		{"has not got it", func(w http.ResponseWriter, r *http.Request, _ []byte) { http.NotFound(w, r) }, 5},
		{"hangs", func(_ http.ResponseWriter, r *http.Request, _ []byte) { hang(r) }, 5},
		{"hangs in the middle", func(w http.ResponseWriter, r *http.Request, b []byte) {
			http.ServeContent(&stopping{w, len(b) / 3, func() { hang(r) }}, r, "", time.Time{}, strings.NewReader(string(b)))
		}, 5},
		{"drips", func(w http.ResponseWriter, r *http.Request, b []byte) {
			http.ServeContent(&dripping{w, r.Context()}, r, "", time.Time{}, strings.NewReader(string(b)))
		}, 5},
		{"breaks off", func(w http.ResponseWriter, r *http.Request, b []byte) {
			http.ServeContent(&stopping{w, len(b) / 3, func() { panic(http.ErrAbortHandler) }}, r, "", time.Time{}, strings.NewReader(string(b)))
		}, 5},
		{"has others", func(w http.ResponseWriter, r *http.Request, b []byte) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(random(1, len(b)))))
		}, 3},
		{"has shorter ones", func(w http.ResponseWriter, r *http.Request, b []byte) {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b[:len(b)/2])))
		}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			th := newTheatre(t, 12)
			b := newBranch(t, th)
			b.misdo = c.misdo
			if c.most == 0 {
				b.Close()
			}
			s := b.open(t, th)
			began := time.Now()
			th.watch(s, th.names)
			took, asked, p := time.Since(began), b.asked.Load(), s.Progress()
			t.Logf("%v, %d requests, the edge has sent %d, %+v", took, asked, th.sent.Load(), p)
			if (asked == 0) != (c.most == 0) || asked > c.most || took > 8*time.Second {
				t.Errorf("%d requests, want 1 to %d, in %v", asked, c.most, took)
			}
			if c.most == 100 && th.sent.Load() > p.FromEdge/4 {
				t.Errorf("the edge has sent %d bytes of %d, though another place comes first", th.sent.Load(), p.FromEdge)
			}
			if c.most < 100 && th.sent.Load() == 0 {
				t.Error("nothing has come from the edge")
			}
		})
	}
}

// alternating reads n bytes from places that answer so, the first before the others.
func alternating(t *testing.T, n int64, answers ...http.HandlerFunc) *alternatives {
	t.Helper()
	text, first := "#EXTM3U\n", ""
	for i, h := range answers {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		first = cmp.Or(first, s.URL)
		text += fmt.Sprintf("#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID=\"%d\"\n%s/all.m3u8\n", i, s.URL)
	}
	at, err := url.Parse(first + "/top.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	p := &presentation{Presentation: steering.New(time.Now(), []byte(text), at)}
	for _, h := range p.Hosts() {
		p.Allow(h, true)
	}
	a := &alternatives{ctx: t.Context(), shows: newPresentations(), p: p, src: source{client: http.DefaultClient, size: n}, end: n}
	if a.places = p.Places(time.Now(), first+"/all.m3u8", first+"/1.ts"); len(a.places) != len(answers) {
		t.Fatalf("%d places", len(a.places))
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// Of a piece whose bytes have come from two places nobody knows which of them has others: no
// other place is blamed, nor one that has not been asked.
func TestWrongOfTwo(t *testing.T) {
	good, bad := random(1, 200), random(2, 200)
	part := func(from []byte, n int) http.HandlerFunc { // of 200 bytes, the last n of 206 in chunks
		return func(w http.ResponseWriter, r *http.Request) {
			var off int
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off)
			c, b, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(b, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-199/200\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", off, n-off, from[off:n])
			_ = b.Flush()
		}
	}
	broken := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		again   bool
	}{
		{"one is wrong and breaks off", []http.HandlerFunc{part(bad, 50), part(good, 200)}, true},
		{"the last is wrong and ends with the piece", []http.HandlerFunc{broken, part(bad, 100)}, false},
		{"the first is wrong and ends with the piece", []http.HandlerFunc{part(bad, 100), part(good, 200)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := alternating(t, 200, c.answers...)
			piece := make([]byte, 100)
			if _, err := io.ReadFull(a, piece); err != nil {
				t.Fatal(err)
			}
			if again := a.Wrong(100); again != c.again {
				t.Fatalf("the piece comes from another place: %v", again)
			}
			if !c.again {
				return
			}
			if _, err := io.ReadFull(a, piece); err != nil || !bytes.Equal(piece, good[:100]) {
				t.Errorf("the piece is wrong again, or %v", err)
			}
		})
	}
}

// stopping is an answer that ends after n bytes.
type stopping struct {
	http.ResponseWriter
	n   int
	end func()
}

func (s *stopping) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b[:min(len(b), s.n)])
	if s.n -= n; s.n == 0 {
		s.ResponseWriter.(http.Flusher).Flush()
		s.end()
	}
	return n, err
}

// dripping is an answer of a byte every tenth of a second.
type dripping struct {
	http.ResponseWriter
	ctx context.Context
}

func (d *dripping) Write(b []byte) (int, error) {
	for i := range b {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-d.ctx.Done():
			return i, d.ctx.Err()
		}
		if _, err := d.ResponseWriter.Write(b[i : i+1]); err != nil {
			return i, err
		}
		d.ResponseWriter.(http.Flusher).Flush()
	}
	return len(b), nil
}

// A steering server changes what is asked first; one that fails changes nothing.
func TestSteered(t *testing.T) {
	th := newTheatre(t, 16)
	b := newBranch(t, th)
	s := b.open(t, th)
	th.watch(s, th.names[:4])
	p := s.e.openShows.byURL[th.url+"/video/top.m3u8"]
	at, err := url.Parse(b.URL + "/steer?s=1")
	if err != nil {
		t.Fatal(err)
	}
	s.shared.askSteering(t.Context(), p, at)
	if got := s.e.openShows.first(p, th); got != "B" {
		t.Errorf("after a failure of the steering server %s is first", got)
	}
	manifest := `{"VERSION":1,"TTL":60,"PATHWAY-PRIORITY":["A","B"]}`
	b.steer.Store(&manifest)
	s.shared.askSteering(t.Context(), p, at)
	if got := s.e.openShows.first(p, th); got != "A" {
		t.Errorf("%s is first, though the steering server says A", got)
	}
	// It is not followed to whom may not be asked.
	trapped := atomic.Int64{}
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()
	b.moved.Store(&trap.URL)
	p.allow = func(_ context.Context, u *url.URL) error {
		if "http://"+u.Host == trap.URL {
			return errors.New("no publisher")
		}
		return nil
	}
	s.shared.askSteering(t.Context(), p, at)
	if got := s.e.openShows.first(p, th); got != "A" || trapped.Load() > 0 {
		t.Errorf("after a redirect %s is first, %d requests where it leads", got, trapped.Load())
	}
	before := b.asked.Load()
	th.watch(s, th.names[4:])
	if after := b.asked.Load(); after > before+1 { // what was under way
		t.Errorf("%d requests to the second place after that", after-before)
	}
}

// first is the pathway that is asked first for the first segment.
func (s *presentations) first(p *presentation, th *theatre) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.Places(time.Now(), th.url+"/video/all.m3u8", th.url+th.names[0])[0].Pathway
}

// Of guarded streams nobody is asked who is no publisher: neither places nor a steering
// server, nor where that redirects to.
func TestGuardedPlaces(t *testing.T) {
	e, err := New(Config{Data: t.TempDir(), Guard: func(string, netip.AddrPort) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	at, err := url.Parse("https://a.example/top.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(`#EXTM3U
#EXT-X-CONTENT-STEERING:SERVER-URI="https://steer.example/s",PATHWAY-ID="A"
#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID="A"
all.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID="B"
https://b.example/all.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1,PATHWAY-ID="P"
https://10.0.0.1/all.m3u8
`)
	no := errors.New("no publisher")
	e.Presented(at, text, func(_ context.Context, u *url.URL) error {
		if u.Host == "10.0.0.1" || u.Host == "c.example" {
			return no
		}
		return nil
	})
	hosts := func() (all []string) {
		e.guardedShows.mu.Lock()
		defer e.guardedShows.mu.Unlock()
		for _, p := range e.guardedShows.byURL[at.String()].Places(time.Now(), at.JoinPath("../all.m3u8").String(), "https://a.example/1.ts") {
			all = append(all, p.URL)
		}
		return all
	}
	until(t, "two places", func() bool { return len(hosts()) == 2 })
	steer, err := url.Parse("https://steer.example/s?_HLS_pathway=A")
	if err != nil {
		t.Fatal(err)
	}
	if !e.Steers(steer) {
		t.Error("the steering server is not known")
	}
	e.Steered(steer, []byte(`{"VERSION":1,"PATHWAY-PRIORITY":["C","D","B"],"PATHWAY-CLONES":[
		{"ID":"C","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"c.example"}},{"ID":"D","BASE-ID":"A","URI-REPLACEMENT":{"HOST":"d.example"}}]}`))
	want := "https://d.example/1.ts https://b.example/1.ts https://a.example/1.ts"
	until(t, want, func() bool { return strings.Join(hosts(), " ") == want })
	for i := range maxPresentations + 5 {
		other, err := url.Parse(fmt.Sprintf("https://a.example/%d.m3u8", i))
		if err != nil {
			t.Fatal(err)
		}
		e.Presented(other, text, func(context.Context, *url.URL) error { return no })
	}
	if n := len(e.guardedShows.byURL); n != maxPresentations {
		t.Errorf("%d presentations are remembered", n)
	}
}

// Nor is a place followed to whom may not be asked, or from what is secure into the clear.
func TestPlaceRedirects(t *testing.T) {
	var trapped atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()
	elsewhere := http.RedirectHandler(trap.URL, http.StatusFound)
	secure := httptest.NewTLSServer(elsewhere)
	defer secure.Close()
	th := newTheatre(t, 3)
	b := newBranch(t, th)
	b.misdo = func(w http.ResponseWriter, r *http.Request, _ []byte) { elsewhere.ServeHTTP(w, r) }
	s := b.open(t, th)
	p := s.e.openShows.byURL[th.url+"/video/top.m3u8"]
	p.allow = func(_ context.Context, u *url.URL) error {
		if "http://"+u.Host == trap.URL {
			return errors.New("no publisher")
		}
		return nil
	}
	th.watch(s, th.names)
	if b.asked.Load() == 0 || trapped.Load() > 0 {
		t.Errorf("%d requests to a place that redirects, %d where it leads", b.asked.Load(), trapped.Load())
	}
	if resp, err := (&presentation{}).client(secure.Client()).Get(secure.URL); err == nil {
		resp.Body.Close()
		t.Errorf("a redirect into the clear: %s", resp.Status)
	}
}

// A publisher whose MPD names another one's host as a place answers for that only if its
// well-known document has his keys.
func TestNamesElsewhere(t *testing.T) {
	e, err := New(Config{Data: t.TempDir(), Guard: func(string, netip.AddrPort) error { return errors.New("no network") }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	key := func(n byte) ed25519.PublicKey { return random(n, ed25519.PublicKeySize) }
	known := func(at string, keys ...ed25519.PublicKey) {
		h := &host{ready: make(chan struct{}), until: time.Now().Add(time.Hour), doc: &wire.WellKnown{Keys: wire.NewJWKS(keys...)}}
		close(h.ready)
		e.hosts.mu.Lock()
		defer e.hosts.mu.Unlock()
		e.hosts.known[at] = h
	}
	const mpd = `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT4S"><BaseURL>https://a.example/</BaseURL><BaseURL>https://b.example/</BaseURL>
<Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate duration="2" media="$Number$.m4s"/><Representation id="v" bandwidth="1"/></AdaptationSet></Period></MPD>`
	known("https://b.example", key(2))
	e.Presented(parse("https://a.example/m.mpd"), []byte(mpd), func(context.Context, *url.URL) error { return nil })
	at, base := parse("https://b.example/app.js"), parse("https://a.example/")
	until(t, "another place", func() bool { return len(e.guardedShows.names(base, at)) == 1 })
	s, shared := &Stream{e: e, guarded: true}, &streaming{base: base, doc: &wire.WellKnown{Keys: wire.NewJWKS(key(1))}}
	names := func() string { return strings.Join(s.names(shared, at), " ") }
	if got := names(); got != "" {
		t.Errorf("another publisher's %s is %s", at, got)
	}
	known("https://b.example", key(2), key(1))
	if got := names(); got != "/app.js" {
		t.Errorf("at another place of the publisher: %q", got)
	}
	if shared.doc = (&wire.WellKnown{}); names() != "" {
		t.Error("a publisher without keys answers for another")
	}
}
