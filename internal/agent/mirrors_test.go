package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/edge"
	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestMirrorURLs(t *testing.T) {
	const from = "https://a.example/dir/f.bin?v=1"
	at, err := url.Parse(from)
	if err != nil {
		t.Fatal(err)
	}
	src := &source{url: from, at: at, answered: http.Header{"Link": {
		`<https://c.example/f.bin>; rel="duplicate"; pri=2; geo=de, <https://b.example/f.bin>; rel=duplicate; pri=1`,
		`<https://last.example/f.bin>; rel="duplicate"`,
		`</m>; rel="describedby"; type="application/vnd.tandem.manifest", <http://clear.example/f.bin>; rel="duplicate"`,
		`</other.bin>; rel="duplicate"; pri=0`,
		`<https://user@secret.example/f>; rel="duplicate"`,
		`<ftp://d.example/f>; rel="duplicate"`,
		`<https://b.example/f.bin>; rel="duplicate"`,
	}}}
	var got []string
	for _, u := range mirrorURLs(src, []string{"https://e.example/base/", "https://a.example", "http://f.example"}) {
		got = append(got, u.String())
	}
	want := []string{
		"https://b.example/f.bin", "https://c.example/f.bin", "https://last.example/f.bin",
		"https://a.example/other.bin", "https://e.example/base/dir/f.bin?v=1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func FuzzLinks(f *testing.F) {
	f.Add(`<https://b.example/f>; rel="duplicate"; pri=1, <c>; rel=duplicate`)
	f.Add(`<x>; rel="describedby"; type="application/vnd.tandem.manifest"`)
	f.Add(`<<>>;=;rel==duplicate,<`)
	at := &url.URL{Scheme: "http", Host: "a.example", Path: "/f"}
	f.Fuzz(func(t *testing.T, field string) {
		h := http.Header{"Link": {field}}
		_ = describedBy(h, wire.ManifestType)
		for _, u := range mirrorURLs(&source{url: at.String(), at: at, answered: h}, nil) {
			if u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
				t.Errorf("mirror %q", u)
			}
		}
	})
}

func TestAlternate(t *testing.T) {
	var in, want []netip.Addr
	for _, s := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"} {
		in = append(in, netip.MustParseAddr(s))
	}
	for _, s := range []string{"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"} {
		want = append(want, netip.MustParseAddr(s))
	}
	if got := alternate(in); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// twice listens on one port of two loopback addresses.
func twice(t *testing.T) (port string, ls [2]net.Listener) {
	t.Helper()
	var lc net.ListenConfig
	first, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = first.Close() })
	_, port, _ = net.SplitHostPort(first.Addr().String())
	second, err := lc.Listen(t.Context(), "tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	t.Cleanup(func() { _ = second.Close() })
	return port, [2]net.Listener{first, second}
}

func answering(addrs ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

// The first address that answers is taken; when none does, the error says so.
func TestDialRaces(t *testing.T) {
	port, ls := twice(t)
	_ = ls[0].Close()
	d := newDialer()
	d.lookup = answering("127.0.0.1", "127.0.0.2")
	c, err := d.DialContext(t.Context(), "tcp", "two.example:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.RemoteAddr().String(); got != "127.0.0.2:"+port {
		t.Errorf("connected to %s", got)
	}
	_ = ls[1].Close()
	if c, err := d.DialContext(t.Context(), "tcp", "two.example:"+port); err == nil {
		t.Errorf("connected to %v, where nobody listens", c.RemoteAddr())
	}
}

// forward is a proxy.
func forward(to *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
}

// mirrored serves files on an edge with options.
func mirrored(t *testing.T, cfg edge.Config, data []byte) string {
	t.Helper()
	cfg.Origin, cfg.Data = t.TempDir(), t.TempDir()
	path := filepath.Join(cfg.Origin, "f")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
	e, err := edge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(e.Handler())
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.URL
}

func get(t *testing.T, e *Engine, u string, data []byte) Result {
	t.Helper()
	d, err := e.Download(t.Context(), Request{URL: u, File: filepath.Join(t.TempDir(), "f"), Header: http.Header{"Authorization": {"secret"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	r, err := d.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, r.File, data)
	return r
}

// A mirror is used, and dropped when its bytes are others.
func TestMirrors(t *testing.T) {
	data := random(5, 20<<20)
	other := slices.Clone(data)
	for i := range len(other) >> 20 { // wherever it is asked
		other[i<<20]++
	}
	for name, bytes := range map[string][]byte{"good": data, "other bytes": other, "other size": data[1:]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mirror := mirrored(t, edge.Config{}, bytes)
			r := get(t, slow(t), mirrored(t, edge.Config{Mirrors: []string{mirror}}, data)+"/f", data)
			if len(r.Edges) != 2 || r.Edges[0].Bytes+r.Edges[1].Bytes != int64(len(data)) {
				t.Fatalf("edges %+v", r.Edges)
			}
			if good := name == "good"; r.Edges[1].Dropped == good || good && r.Edges[1].Bytes == 0 {
				t.Errorf("mirror %+v", r.Edges[1])
			}
		})
	}
}

// What is meant for one host is not told to another.
func TestMirrorsGetNoCredentials(t *testing.T) {
	t.Parallel()
	data := random(6, 20<<20)
	asked := make(chan http.Header, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header
		http.NotFound(w, r)
	}))
	defer s.Close()
	r := get(t, slow(t), mirrored(t, edge.Config{Mirrors: []string{s.URL}}, data)+"/f", data)
	if h := <-asked; h.Get("Authorization") != "" || h.Get("If-Range") != "" || h.Get("Range") == "" {
		t.Errorf("the mirror was sent %v", h)
	}
	if !r.Edges[1].Dropped {
		t.Error("a mirror without the object was kept")
	}
}

// Every address of a name is a server of its own.
func TestAddresses(t *testing.T) {
	t.Parallel()
	data := random(7, 20<<20)
	port, ls := twice(t)
	base := mirrored(t, edge.Config{}, data)
	to, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ls {
		s := &http.Server{Handler: forward(to), ReadHeaderTimeout: time.Minute}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
	}
	e := slow(t)
	e.dialer.lookup = answering("127.0.0.1", "127.0.0.2")
	r := get(t, e, "http://two.example:"+port+"/f", data)
	if len(r.Edges) != 2 || r.Edges[0].Bytes == 0 || r.Edges[1].Bytes == 0 {
		t.Errorf("edges %+v", r.Edges)
	}
}

// occupy keeps the only turn of a full edge until release is called.
func occupy(t *testing.T, u string) (release func()) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return func() { _ = resp.Body.Close() }
}

// A full edge is no reason to fail: its mirror does without it, and without a
// mirror it is waited for.
func TestFullEdge(t *testing.T) {
	t.Parallel()
	data := random(8, 40<<20) // more than socket buffers hold
	e, err := New(Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	mirror := mirrored(t, edge.Config{}, data)

	full := mirrored(t, edge.Config{MaxRequests: 1, Mirrors: []string{mirror}}, data) + "/f"
	occupy(t, full)
	if r := get(t, e, full, data); r.Edges[0].Bytes > 0 || r.Edges[1].Bytes != int64(len(data)) {
		t.Errorf("edges %+v", r.Edges)
	}

	full = mirrored(t, edge.Config{MaxRequests: 1}, data) + "/f"
	release := occupy(t, full)
	timer := time.AfterFunc(1500*time.Millisecond, release)
	defer timer.Stop()
	began := time.Now()
	get(t, e, full, data)
	if took := time.Since(began); took < time.Second {
		t.Errorf("took %v from a server that was full", took)
	}
}

// A server without a manifest that is full is waited for too, for as long as
// patience lasts.
func TestFullServer(t *testing.T) {
	t.Parallel()
	data := random(9, 1000)
	for _, patience := range []time.Duration{time.Minute, 1500 * time.Millisecond} {
		began := time.Now()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if time.Since(began) < 2*time.Second {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "full", http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write(data)
		}))
		e, err := New(Config{Data: t.TempDir(), Patience: patience})
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Download(t.Context(), Request{URL: s.URL + "/f", File: filepath.Join(t.TempDir(), "f")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = d.Wait(t.Context()); (err == nil) != (patience == time.Minute) {
			t.Errorf("patience %v: %v after %v", patience, err, time.Since(began))
		}
		_ = d.Close()
		_ = e.Close()
		s.Close()
	}
}

// A server that breaks off before it answers is asked again.
func TestServerBreaksOff(t *testing.T) {
	t.Parallel()
	data := random(11, 1000)
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/f" && r.Method == http.MethodGet && asked.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(data)
	}))
	defer s.Close()
	e, err := New(Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	get(t, e, s.URL+"/f", data)
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// A first response that hangs is left as soon as the manifest is there.
func TestFirstResponseHangs(t *testing.T) {
	t.Parallel()
	data := random(10, 8<<20)
	to, err := url.Parse(mirrored(t, edge.Config{}, data))
	if err != nil {
		t.Fatal(err)
	}
	pass := forward(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/f" && r.Header.Get("Range") == fmt.Sprintf("bytes=0-%d", firstBytes-1) {
			h, _ := http.NewRequestWithContext(r.Context(), http.MethodHead, to.String()+"/f", nil)
			resp, err := http.DefaultClient.Do(h)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			for k, v := range resp.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		pass.ServeHTTP(w, r)
	}))
	defer func() {
		s.CloseClientConnections()
		s.Close()
	}()
	e, err := New(Config{Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	began := time.Now()
	get(t, e, s.URL+"/f", data)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("took %v", took)
	}
}
