package agentapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/config"
)

// start runs an agent's API until the test ends; stop ends it before.
func start(t *testing.T, data string) (s *Server, stop func()) {
	t.Helper()
	e, err := agent.New(agent.Config{Data: data, Upload: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err = NewServer(t.Context(), Config{Data: data, Listen: "127.0.0.1:0", Engine: e, Info: Status{Version: "v", Upload: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func dial(t *testing.T, data string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// origin serves content, and under /slow the first half of it only.
func origin(t *testing.T, content string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		switch r.URL.Path {
		case "/slow":
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			fmt.Fprint(w, content[:len(content)/2])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/file":
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A web page must not reach the API: not by its own origin, not by a name that
// it rebinds to this machine, not without the token.
func TestRefusesWebPages(t *testing.T) {
	s, _ := start(t, t.TempDir())
	own := s.ln.Addr().String()
	port := own[strings.LastIndex(own, ":"):]
	good := http.Header{"Authorization": {"Bearer " + s.token}}
	with := func(k, v string) http.Header {
		h := good.Clone()
		h.Set(k, v)
		return h
	}
	cases := []struct {
		name, host string
		header     http.Header
		want       int
	}{
		{"the command", own, good, 200},
		{"localhost", "localhost" + port, good, 200},
		{"IPv6", "[::1]" + port, good, 200},
		{"rebound name", "attacker.example" + port, good, 421},
		{"name that looks like an address", "127.0.0.1.attacker.example" + port, good, 421},
		{"another machine's address", "192.168.1.1" + port, good, 421},
		{"another port", "127.0.0.1:1", good, 421},
		{"no port", "127.0.0.1", good, 421},
		{"origin", own, with("Origin", "https://attacker.example"), 403},
		{"own origin", own, with("Origin", "http://"+own), 403},
		{"null origin", own, with("Origin", "null"), 403},
		{"image tag", own, with("Sec-Fetch-Site", "cross-site"), 403},
		{"no token", own, nil, 401},
		{"wrong token", own, with("Authorization", "Bearer x"), 401},
		{"empty token", own, with("Authorization", "Bearer "), 401},
		{"token as password", own, with("Authorization", "Basic "+s.token), 401},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, req := range []*http.Request{
				httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/status", nil),
				httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/downloads", strings.NewReader(`{"url":"http://127.0.0.1:1/x","file":"relative"}`)),
			} {
				req.Host = c.host
				for k, v := range c.header {
					req.Header[k] = v
				}
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, req)
				want := c.want
				if req.Method == http.MethodPost && want == 200 {
					want = 400 // past the guards, refused for its file
				}
				if w.Code != want {
					t.Errorf("%s: %d %s, want %d", req.Method, w.Code, w.Body, want)
				}
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	data := t.TempDir()
	if _, err := Dial(t.Context(), data); !errors.Is(err, ErrNoAgent) {
		t.Errorf("before: %v", err)
	}
	_, stop := start(t, data)
	fi, err := os.Stat(filepath.Join(data, discoveryFile))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("others can read the token: %v", fi.Mode())
	}
	c := dial(t, data)
	if st, err := c.Status(t.Context()); err != nil || st.PID != os.Getpid() || st.Version != "v" || !st.Upload {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := NewServer(t.Context(), Config{Data: data, Listen: "127.0.0.1:0"}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second agent: %v", err)
	}
	stop()
	if _, err := Dial(t.Context(), data); !errors.Is(err, ErrNoAgent) {
		t.Errorf("after: %v", err)
	}
	// What an agent leaves that was killed.
	if err := os.WriteFile(filepath.Join(data, discoveryFile), []byte(`{"url":"http://127.0.0.1:1","token":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), data); !errors.Is(err, ErrNoAgent) {
		t.Errorf("after a kill: %v", err)
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.168.1.1:80", "example.com:80", "127.0.0.1"} {
		if _, err := NewServer(t.Context(), Config{Data: t.TempDir(), Listen: addr}); !errors.Is(err, config.ErrAddress) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestDownload(t *testing.T) {
	data, content := t.TempDir(), strings.Repeat("tandem ", 1000)
	url := origin(t, content)
	start(t, data)
	c := dial(t, data)
	file := filepath.Join(t.TempDir(), "file")
	d, err := c.Download(t.Context(), agent.Request{URL: url + "/file", File: file})
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Wait(t.Context())
	if err != nil || r.Size != int64(len(content)) || r.FromEdge != r.Size || r.File != file || r.Elapsed <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != content {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// A plain URL has no swarm to share it in.
	if st, err := c.Status(t.Context()); err != nil || len(st.Seeds) != 0 || len(st.Downloads) != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	// The same once more: it exists.
	for _, overwrite := range []bool{false, true} {
		d, err := c.Download(t.Context(), agent.Request{URL: url + "/file", File: file, Overwrite: overwrite})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Wait(t.Context()); errors.Is(err, agent.ErrExists) == overwrite {
			t.Errorf("overwrite %v: %v", overwrite, err)
		}
	}
}

func TestErrorsKeepTheirCause(t *testing.T) {
	data := t.TempDir()
	url := origin(t, "x")
	start(t, data)
	c := dial(t, data)
	for path, want := range map[string]error{url + "/missing": agent.ErrNotFound, "http://127.0.0.1:1/x": agent.ErrNetwork} {
		d, err := c.Download(t.Context(), agent.Request{URL: path, File: filepath.Join(t.TempDir(), "f")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Wait(t.Context()); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	for name, cause := range causes() {
		f := failure(fmt.Errorf("http://h/: %w", cause))
		if f.Cause != name || !errors.Is(f, cause) {
			t.Errorf("%v travels as %q", cause, f.Cause)
		}
	}
}

// A command that is interrupted stops its download; what came stays.
func TestHangingUpStops(t *testing.T) {
	data := t.TempDir()
	url := origin(t, strings.Repeat("tandem ", 20000))
	start(t, data)
	c := dial(t, data)
	file := filepath.Join(t.TempDir(), "file")
	d, err := c.Download(t.Context(), agent.Request{URL: url + "/slow", File: file})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "some bytes", func() bool { return d.Progress().Done > 0 })
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Wait(t.Context()); !errors.Is(err, agent.ErrInterrupted) {
		t.Errorf("%v, want interrupted", err)
	}
	poll(t, "the agent to stop", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && len(st.Downloads) == 0 && len(st.Seeds) == 0
	})
	if _, err := os.Stat(file + ".tandem-part"); err != nil {
		t.Error(err)
	}
}

// When the agent ends, its commands hear so.
func TestAgentEnds(t *testing.T) {
	data := t.TempDir()
	url := origin(t, strings.Repeat("tandem ", 20000))
	_, stop := start(t, data)
	d, err := dial(t, data).Download(t.Context(), agent.Request{URL: url + "/slow", File: filepath.Join(t.TempDir(), "file")})
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "some bytes", func() bool { return d.Progress().Done > 0 })
	stop()
	if _, err := d.Wait(t.Context()); !errors.Is(err, agent.ErrInterrupted) {
		t.Errorf("%v, want interrupted", err)
	}
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
