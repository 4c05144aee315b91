package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/agentapi"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestSessionURL(t *testing.T) {
	good := map[string]string{
		"http://c":               "ws://c/v1/session",
		"https://c.example/":     "wss://c.example/v1/session",
		"ws://c:81/v1/session":   "ws://c:81/v1/session",
		"wss://c/v1/session/":    "wss://c/v1/session",
		"http://h" + ControlPath: "ws://h" + ControlPath + "/v1/session",
	}
	for in, want := range good {
		if got, err := SessionURL(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "c:81", "ftp://c", "http://", "http://%zz"} {
		if got, err := SessionURL(in); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %s, %v", in, got, err)
		}
	}
}

func TestPrefixes(t *testing.T) {
	got, err := prefixes("x", []string{"10.0.0.0/8", "::1", "192.0.2.1"})
	if err != nil || len(got) != 3 || got[1].Bits() != 128 || got[2].Bits() != 32 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := prefixes("operators", []string{"home"}); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "operators") {
		t.Error(err)
	}
}

// Parts stop in the reverse of their order, whoever ends first.
func TestRunPartsStopsInOrder(t *testing.T) {
	boom := errors.New("boom")
	cases := []struct {
		name string
		fail string
		want error
	}{{"asked to", "", nil}, {"first fails", "a", boom}, {"last fails", "c", boom}}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var stopped []string
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var parts []part
			for _, name := range []string{"a", "b", "c"} {
				parts = append(parts, part{name, func(ctx context.Context) error {
					if name == c.fail {
						return boom
					}
					<-ctx.Done()
					mu.Lock()
					defer mu.Unlock()
					stopped = append(stopped, name)
					return nil
				}})
			}
			if c.fail == "" {
				cancel()
			}
			if err := runParts(ctx, parts...); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			want := slices.DeleteFunc([]string{"c", "b", "a"}, func(s string) bool { return s == c.fail })
			if !slices.Equal(stopped, want) {
				t.Errorf("stopped %v, want %v", stopped, want)
			}
		})
	}
	err := runParts(t.Context(), part{"short", func(context.Context) error { return nil }})
	if err == nil || !strings.Contains(err.Error(), "short") {
		t.Errorf("a part that ends by itself: %v", err)
	}
}

func TestMount(t *testing.T) {
	name := func(n string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, n+" "+r.URL.Path) })
	}
	h := mount(name("control"), name("edge"))
	for path, want := range map[string]string{
		ControlPath + "/v1/key": "control /v1/key", "//a": "edge //a", wire.WellKnownPath: "edge " + wire.WellKnownPath,
		ControlPath: "edge " + ControlPath, ControlPath + "x": "edge " + ControlPath + "x",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.String() != want {
			t.Errorf("%s: %q, want %q", path, w.Body, want)
		}
	}
}

// run starts a node and returns its URL; it stops when the test ends, or before
// by the function returned.
func run(t *testing.T, node func(context.Context, Env) error) (url string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan string, 1), make(chan error, 1)
	env := Env{Logger: slog.New(slog.DiscardHandler), Version: "tandem/test", Ready: func(u string) { ready <- u }}
	go func() { ended <- node(ctx, env) }()
	once := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("node: %v", err)
		}
	})
	t.Cleanup(once)
	select {
	case url = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("node: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the node does not get ready")
	}
	return url, once
}

func loopbackOnly() config.Sharing {
	return config.Sharing{Upload: "on", UploadAlso: agent.States(), LinkTCP: "127.0.0.1:0", LinkUDP: "127.0.0.1:0"}
}

// An agent fetches for a command, shares with others, and shares again after a
// restart, all through one `serve`.
func TestServeAndAgent(t *testing.T) {
	www := t.TempDir()
	content := make([]byte, 8<<20)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(content)
	if err := os.WriteFile(filepath.Join(www, "f.bin"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	base, _ := run(t, func(ctx context.Context, env Env) error {
		return Serve(ctx, www, config.Serve{Listen: "127.0.0.1:0", Data: t.TempDir()}, env)
	})
	data := t.TempDir()
	startAgent := func() func() {
		c := config.Agent{Listen: "127.0.0.1:0", Sharing: loopbackOnly()}
		c.Data = data
		_, stop := run(t, func(ctx context.Context, env Env) error { return Agent(ctx, c, env) })
		return stop
	}
	stop := startAgent()
	client, err := agentapi.Dial(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "f.bin")
	d, err := client.Download(t.Context(), agent.Request{URL: base + "/f.bin", File: file})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := d.Wait(t.Context()); err != nil || r.Size != int64(len(content)) {
		t.Fatalf("%+v, %v", r, err)
	}
	client.Close()
	fromPeers(t, base+"/f.bin", content)
	stop()
	startAgent()
	fromPeers(t, base+"/f.bin", content)

	status := func() agentapi.Status {
		c, err := agentapi.Dial(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		st, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := status(); len(st.Seeds) != 1 || st.Seeds[0].Uploaded == 0 {
		t.Errorf("after the restart nothing was given: %+v", st.Seeds)
	}
}

// fromPeers downloads, as another client would, until peers have helped: a seed
// takes a moment to be known.
func fromPeers(t *testing.T, url string, want []byte) {
	t.Helper()
	s := loopbackOnly()
	s.LimitRate = 4 << 20 // slow enough for links to come up
	for range 5 {
		e, err := agent.New(EngineConfig(s, Env{Logger: slog.New(slog.DiscardHandler)}))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "copy")
		d, err := e.Download(t.Context(), agent.Request{URL: url, File: file})
		if err != nil {
			t.Fatal(err)
		}
		r, err := d.Wait(t.Context())
		if err := errors.Join(err, d.Close(), e.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the copy differs, %v", err)
		}
		if r.FromPeers > 0 {
			return
		}
	}
	t.Error("no byte came from the agent")
}

// The doctor of a healthy machine finds nothing; that of a sick one says what.
func TestDiagnose(t *testing.T) {
	base, stop := run(t, func(ctx context.Context, env Env) error {
		return Serve(ctx, t.TempDir(), config.Serve{Listen: "127.0.0.1:0", Data: t.TempDir()}, env)
	})
	env := Env{Logger: slog.New(slog.DiscardHandler), Version: "tandem/test"}
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	d := Diagnose(t.Context(), base+"/x", hc, env)
	for _, want := range []string{"edge", "control", "nat"} {
		i := slices.IndexFunc(d.Checks, func(c Check) bool { return c.Name == want })
		if i < 0 || !d.Checks[i].OK || d.Checks[i].Text == "" {
			t.Errorf("%s: %+v", want, d.Checks)
		}
	}
	stop()
	d = Diagnose(t.Context(), base+"/x", hc, env)
	if d.OK() {
		t.Errorf("an edge that is down: %+v", d.Checks)
	}
}
