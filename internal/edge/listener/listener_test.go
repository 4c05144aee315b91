package listener

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// echo tells the version of HTTP.
func echo(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }

// run starts a server and returns it with what ends it; the test checks that it
// ends well.
func run(t *testing.T, cfg Config) (*Server, context.CancelFunc) {
	t.Helper()
	s := listen(t, cfg)
	return s, start(t, s)
}

func listen(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, s *Server) context.CancelFunc {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return cancel
}

// trust is a client configuration that trusts the development authority in data.
func trust(t *testing.T, data string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, DevCAFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		t.Fatal("no certificate in the file")
	}
	return &tls.Config{RootCAs: roots}
}

func get(t *testing.T, rt http.RoundTripper, url string) (body string, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), resp.Header
}

func TestVersionsOfHTTP(t *testing.T) {
	data := t.TempDir()
	s, _ := run(t, Config{Handler: http.HandlerFunc(echo), DevCA: []string{"cdn.test"}, Data: data})
	conf := trust(t, data)
	url := "https://" + s.Addr().String()

	h1 := &http.Transport{TLSClientConfig: conf.Clone()}
	defer h1.CloseIdleConnections()
	body, h := get(t, h1, url)
	if body != "HTTP/1.1" {
		t.Errorf("HTTP/1.1: %q", body)
	}
	if want := "h3=\":" + strconv.Itoa(s.port()) + `"`; !strings.Contains(h.Get("Alt-Svc"), want) {
		t.Errorf("Alt-Svc %q, want %q", h.Get("Alt-Svc"), want)
	}
	h2 := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	if body, _ := get(t, h2, url); body != "HTTP/2.0" {
		t.Errorf("HTTP/2: %q", body)
	}
	h3 := &http3.Transport{TLSClientConfig: conf.Clone()}
	defer h3.Close()
	if body, _ := get(t, h3, url); body != "HTTP/3.0" {
		t.Errorf("HTTP/3: %q", body)
	}
	named := conf.Clone()
	named.ServerName = "cdn.test"
	h1n := &http.Transport{TLSClientConfig: named}
	defer h1n.CloseIdleConnections()
	get(t, h1n, url)
	if !strings.HasPrefix(s.URL(), "https://cdn.test:") {
		t.Errorf("URL %s", s.URL())
	}
}

func TestPlainHTTP(t *testing.T) {
	s, _ := run(t, Config{Handler: http.HandlerFunc(echo)})
	body, h := get(t, http.DefaultTransport, s.URL())
	if body != "HTTP/1.1" || h.Get("Alt-Svc") != "" {
		t.Errorf("body %q, Alt-Svc %q", body, h.Get("Alt-Svc"))
	}
}

func TestDevCAIsKept(t *testing.T) {
	data := t.TempDir()
	cfg := Config{Listen: "127.0.0.1:0", Handler: http.HandlerFunc(echo), DevCA: []string{"x"}, Data: data}
	first, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	a, err := os.ReadFile(filepath.Join(data, DevCAFile))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
	if b, _ := os.ReadFile(filepath.Join(data, DevCAFile)); string(a) != string(b) {
		t.Error("the authority was made again")
	}
	if err := os.Remove(filepath.Join(data, devCAKey)); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(cfg); err == nil {
		s.Close()
		t.Error("an authority without its key is no error")
	}
}

func TestDevCertificateIsRenewed(t *testing.T) {
	d, err := newDevCA(Config{Data: t.TempDir(), DevCA: []string{"x"}, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := d.get()
	if b, _ := d.get(); a != b {
		t.Error("a fresh certificate was made again")
	}
	start := time.Now()
	d.now = func() time.Time { return start.Add(devLeafLife * 3 / 4) }
	b, err := d.get()
	if err != nil || a == b || !b.Leaf.NotAfter.After(a.Leaf.NotAfter) {
		t.Errorf("an old certificate was not renewed: %v", err)
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first, second := makePair(t, "one.test"), makePair(t, "two.test")
	writePair(t, cert, key, first)
	f, err := newFiles(Config{CertFile: cert, KeyFile: key, Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { return now }
	name := func() string { return leafName(t, f.get()) }
	if name() != "one.test" {
		t.Error(name())
	}
	writePair(t, cert, key, second)
	if name() != "one.test" {
		t.Error("the files are looked at for every handshake")
	}
	now = now.Add(2 * filesLook)
	if name() != "two.test" {
		t.Error("the new certificate is not served")
	}
	if err := os.WriteFile(key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * filesLook)
	if name() != "two.test" {
		t.Error("a damaged file ended the old certificate")
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * filesLook)
	if name() != "two.test" {
		t.Error("a missing file ended the old certificate")
	}
	writePair(t, cert, key, first)
	now = now.Add(2 * filesLook)
	if name() != "one.test" {
		t.Error("the repaired certificate is not served")
	}
}

func TestConfigErrors(t *testing.T) {
	dir := t.TempDir()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for name, cfg := range map[string]Config{
		"port taken":      {Listen: busy.Addr().String()},
		"nonsense":        {Listen: "nonsense"},
		"missing files":   {Listen: "127.0.0.1:0", CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")},
		"one file":        {Listen: "127.0.0.1:0", CertFile: filepath.Join(dir, "c")},
		"no data":         {Listen: "127.0.0.1:0", DevCA: []string{"x"}},
		"ACME, no data":   {Listen: "127.0.0.1:0", ACME: []string{"x"}},
		"ACME, bad roots": {Listen: "127.0.0.1:0", ACME: []string{"x"}, Data: dir, ACMERoots: filepath.Join(dir, "none")},
		"two ways":        {Listen: "127.0.0.1:0", ACME: []string{"x"}, DevCA: []string{"x"}, Data: dir},
	} {
		if s, err := Listen(cfg); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// A request that is under way when the server is told to end gets its answer; one
// that takes too long is cut.
func TestDrain(t *testing.T) {
	for name, c := range map[string]struct {
		drain time.Duration
		whole bool
	}{"enough": {10 * time.Second, true}, "too long": {10 * time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			begun, finish := make(chan struct{}), make(chan struct{})
			s, cancel := run(t, Config{Drain: c.drain, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "begin ")
				_ = http.NewResponseController(w).Flush()
				close(begun)
				select {
				case <-finish:
				case <-r.Context().Done():
				}
				fmt.Fprint(w, "end")
			})})
			req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL(), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Transport{}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			<-begun
			cancel()
			if c.whole {
				close(finish)
			}
			b, err := io.ReadAll(resp.Body)
			if whole := err == nil && string(b) == "begin end"; whole != c.whole {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

// A client that does not read is cut, on every version of HTTP; one that reads
// slowly is not.
func TestStall(t *testing.T) {
	data := t.TempDir()
	ended := make(chan error, 1)
	endless := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(w, zeros{})
		ended <- err
	})
	s, _ := run(t, Config{Handler: endless, stall: 200 * time.Millisecond, DevCA: []string{"x"}, Data: data})
	conf := trust(t, data)
	h1 := &http.Transport{TLSClientConfig: conf.Clone()}
	h2 := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}
	h3 := &http3.Transport{TLSClientConfig: conf.Clone()}
	defer h1.CloseIdleConnections()
	defer h2.CloseIdleConnections()
	defer h3.Close()
	for name, rt := range map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2": h2, "HTTP/3": h3} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+s.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: the endless response ended", name)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: the response goes on with nobody reading", name)
		}
		resp.Body.Close()
	}
}

// The deadline of one response does not cut the next on the same connection.
func TestStallEnds(t *testing.T) {
	s, _ := run(t, Config{Handler: http.HandlerFunc(echo), stall: 50 * time.Millisecond})
	rt := &http.Transport{}
	defer rt.CloseIdleConnections()
	get(t, rt, s.URL())
	pause := time.NewTimer(150 * time.Millisecond)
	<-pause.C
	if body, _ := get(t, rt, s.URL()); body != "HTTP/1.1" {
		t.Errorf("second response %q", body)
	}
}

// A client that reads slowly gets everything, although what the kernel is given at
// once takes it longer than the deadline.
func TestSlowClient(t *testing.T) {
	const size = 2 * stallRun
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		if _, err := io.CopyN(w, io.NewSectionReader(file, 0, size), 1); err != nil {
			t.Error(err)
		}
		if _, err := file.Seek(1, io.SeekStart); err != nil {
			t.Error(err)
		}
		if n, err := io.CopyN(w, file, size-1); err != nil {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	})
	s, _ := run(t, Config{Handler: handler, stall: 200 * time.Millisecond})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	rt := &http.Transport{}
	defer rt.CloseIdleConnections()
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	var got int64
	for range tick.C {
		n, err := io.CopyN(io.Discard, resp.Body, 1<<20)
		if got += n; err != nil {
			break
		}
	}
	if got != size {
		t.Errorf("%d bytes of %d", got, size)
	}
}

// What is read from no file cannot be read again: a client that is too slow for it is
// cut off, but never gets bytes that do not follow one another.
func TestSlowClientOfStream(t *testing.T) {
	const size = 2 * stallRun
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = io.CopyN(w, &counting{}, size) // it may be cut
	})
	s, _ := run(t, Config{Handler: handler, stall: 200 * time.Millisecond})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	rt := &http.Transport{}
	defer rt.CloseIdleConnections()
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	tick := time.NewTicker(40 * time.Millisecond)
	defer tick.Stop()
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	follow := &counting{}
	for range tick.C {
		n, err := io.ReadFull(resp.Body, got)
		_, _ = io.ReadFull(follow, want[:n])
		if !bytes.Equal(got[:n], want[:n]) {
			t.Fatalf("other bytes within the %d before byte %d", n, follow.n)
		}
		if err != nil {
			break
		}
	}
}

// counting is a stream without an end, each of whose words is its number.
type counting struct{ n int64 }

func (c *counting) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte((c.n >> 3) >> (8 * (c.n & 7)))
		c.n++
	}
	return len(p), nil
}

func TestReadFromKeepsSource(t *testing.T) {
	const n = 3*stallRun + 5
	rec := &sourceRecorder{}
	s := &stallWriter{ResponseWriter: rec, control: http.NewResponseController(rec), timeout: time.Minute, run: stallRun}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(n); err != nil {
		t.Fatal(err)
	}
	sent, err := io.CopyN(s, file, n)
	if sent != n || err != nil || len(rec.sources) != 4 {
		t.Fatalf("%d bytes in %d parts, %v", sent, len(rec.sources), err)
	}
	for _, src := range rec.sources {
		if lim, ok := src.(*io.LimitedReader); !ok || lim.R != io.Reader(file) {
			t.Errorf("the connection is handed a %T: no sendfile", src)
		}
	}
	if sent, err = io.CopyN(s, file, 1); sent != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("past the end: %d, %v", sent, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// sourceRecorder notes what it is told to read from.
type sourceRecorder struct {
	http.ResponseWriter
	sources []io.Reader
}

func (s *sourceRecorder) ReadFrom(r io.Reader) (int64, error) {
	s.sources = append(s.sources, r)
	return io.Copy(io.Discard, r)
}
