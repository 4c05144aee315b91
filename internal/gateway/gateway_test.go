package gateway

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/edge"
)

// site is a publisher on this machine: a real edge in front of a directory, and
// whatever else a test puts on paths.
type site struct {
	*httptest.Server
	dir string
	mux map[string]http.HandlerFunc
}

func newSite(t *testing.T, files map[string][]byte) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), mux: map[string]http.HandlerFunc{}}
	for name, b := range files {
		s.write(t, name, b, time.Hour)
	}
	e, err := edge.New(edge.Config{Origin: s.dir, Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := s.mux[r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		e.Handler().ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	t.Cleanup(func() {
		s.Close()
		cancel()
		if err := <-ran; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// write makes a file of some age, so that the edge takes it for finished.
func (s *site) write(t *testing.T, name string, b []byte, age time.Duration) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-age)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

// warm waits for the edge to make the manifest of a file.
func (s *site) warm(t *testing.T, name string) {
	t.Helper()
	poll(t, "the manifest of "+name, func() bool {
		resp, _ := do(t, http.MethodHead, s.URL+"/"+name, nil)
		_, link, _ := strings.Cut(resp.Header.Get("Link"), "<")
		link, _, _ = strings.Cut(link, ">")
		do(t, http.MethodGet, s.URL+link, nil)
		return agent.HasManifest(resp.Header)
	})
}

func (s *site) host() string { return strings.TrimPrefix(s.URL, "http://") }

// door is a running gateway.
type door struct {
	*Gateway
	engine *agent.Engine
	stop   func()
}

// open runs a gateway until the test ends, whose user has listed publishers.
func open(t *testing.T, cfg Config, publishers ...string) *door {
	t.Helper()
	var err error
	if cfg.Policy, err = NewPolicy(publishers); err != nil {
		t.Fatal(err)
	}
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	if cfg.Quota == 0 {
		cfg.Quota = 64 << 20
	}
	cfg.Listen = "127.0.0.1:0"
	engine := cfg.Engine
	if engine == nil {
		engine = newEngine(t, agent.Config{Guard: cfg.Policy.Dial})
	}
	cfg.Engine = engine
	g, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	d := &door{Gateway: g, engine: engine}
	stopped := false
	d.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-ended, engine.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(d.stop)
	return d
}

func newEngine(t *testing.T, cfg agent.Config) *agent.Engine {
	t.Helper()
	cfg.Data, cfg.ListenTCP, cfg.ListenUDP = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	e, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// at is a URL as the gateway has it.
func (d *door) at(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	return "http://" + d.Addr() + "/" + scheme + "/" + rest
}

// head is an answer without its body.
type head struct {
	Status        string
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// do sends a request without following redirects, and reads the answer.
func do(t *testing.T, method, url string, h http.Header) (head, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	if host := h.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", url, err)
	}
	return head{resp.Status, resp.StatusCode, resp.Header, resp.ContentLength}, b
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A host that has opted in needs no entry in the user's list, one that has not does.
func TestOptIn(t *testing.T) {
	resolve(t, map[string][]string{"example.com": {"127.0.0.1"}})
	for _, in := range []bool{true, false} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x"), []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := edge.New(edge.Config{Origin: dir, Data: t.TempDir(), Gateway: in})
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewTLSServer(e.Handler())
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
		anywhere := func(string, netip.AddrPort) error { return nil } // this machine stands for the Internet
		d := open(t, Config{Engine: newEngine(t, agent.Config{Guard: anywhere, CAFile: ca})})
		resp, body := do(t, http.MethodGet, "http://"+d.Addr()+"/https/example.com:"+port+"/x", nil)
		if want := map[bool]int{true: 200, false: 403}[in]; resp.StatusCode != want || in && string(body) != "content" {
			t.Errorf("opted in %v: %s %s", in, resp.Status, body)
		}
		d.stop()
		s.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// trap is a server that nobody may connect to.
func trap(t *testing.T) (host string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Error("somebody connects to what is forbidden")
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}
