package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tandem": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			s := Std()
			s.ConfigFiles = []string{"tandem.yaml"} // of the script's directory
			os.Exit(Run(ctx, os.Args[1:], s))
		},
	})
}

// TestScripts runs the command lines of testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_DATA_HOME", e.WorkDir+"/data")
			e.Setenv("LOCALAPPDATA", e.WorkDir+"/data")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("ORIGIN", origin(t))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until, "sha256": sha256Of,
		},
	})
}

// origin is a plain web server with answers of every kind.
func origin(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello.txt", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "hello.txt", time.Unix(1, 0), strings.NewReader("hello\n"))
	})
	mux.HandleFunc("GET /named", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="../../a report.pdf"`)
		fmt.Fprint(w, "pdf")
	})
	mux.HandleFunc("GET /header", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Test"))
	})
	for _, status := range []int{403, 410, 500} {
		mux.HandleFunc(fmt.Sprintf("GET /%d", status), func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no", status)
		})
	}
	// The first half of a file, and then nothing until the client goes.
	mux.HandleFunc("GET /half", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", "131072")
		_, _ = w.Write(make([]byte, 65536))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// exits runs a command and checks its exit code: exits 4 tandem get URL.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var ee interface{ ExitCode() int }
	if errors.As(err, &ee) {
		code = ee.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// until waits until a file has content: until FILE.
func until(ts *testscript.TestScript, _ bool, args []string) {
	end := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if fi, err := os.Stat(ts.MkAbs(args[0])); err == nil && fi.Size() > 0 {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not appear", args[0])
		}
	}
}

// sha256Of puts the hash of a file into the environment: sha256 VAR FILE.
func sha256Of(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], fmt.Sprintf("%x", sha256.Sum256([]byte(ts.ReadFile(args[1])))))
}

// parse reads a command line without running it.
func parse(t *testing.T, args, env []string, file string) (*grammar, error) {
	t.Helper()
	path := t.TempDir() + "/tandem.yaml"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var g grammar
	s := &settings{environ: environ(env), locations: []string{path}}
	parser, err := kong.New(&g, kong.NoDefaultHelp(), kong.ExplicitGroups([]kong.Group{{Key: "common"}}), kong.Resolvers(s))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return &g, s.blame(err)
}

func TestPrecedence(t *testing.T) {
	const file = "log-level: warn\nget:\n  limit-rate: 1M\n  linger: 1m\n  header: [\"A: b, c\", \"D: e\"]\nedge:\n  control: [http://a, http://b]\n"
	env := []string{"TANDEM_LIMIT_RATE=2M", "OTHER=1", "TANDEM_UPLOAD="}
	cases := []struct {
		name    string
		args    []string
		environ []string
		file    string
		want    config.Rate
	}{
		{"default", []string{"get", "u"}, nil, "", 0},
		{"file", []string{"get", "u"}, nil, file, 1 << 20},
		{"environment over file", []string{"get", "u"}, env, file, 2 << 20},
		{"flag over environment", []string{"get", "u", "--limit-rate", "3M"}, env, file, 3 << 20},
		{"flag over file", []string{"get", "u", "--limit-rate=3M"}, nil, file, 3 << 20},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g, err := parse(t, c.args, c.environ, c.file)
			if err != nil || g.Get.LimitRate != c.want {
				t.Errorf("limit %v, %v; want %v", g.Get.LimitRate, err, c.want)
			}
		})
	}
	g, err := parse(t, []string{"get", "u"}, env, file)
	if err != nil || g.LogLevel != "warn" || g.Get.Linger != time.Minute || !g.Get.Uploads() || !reflect.DeepEqual(g.Get.Header, []string{"A: b, c", "D: e"}) {
		t.Errorf("file: %+v, %v", g.Get, err)
	}
	g, err = parse(t, []string{"edge"}, []string{"TANDEM_MIRRORS=http://x,http://y"}, file)
	if err != nil || len(g.Edge.Control) != 2 || len(g.Edge.Mirrors) != 2 {
		t.Errorf("lists: %+v, %v", g.Edge, err)
	}
}

// TestFileKeysAreFlags keeps the file and the command line one language.
func TestFileKeysAreFlags(t *testing.T) {
	var g grammar
	parser, err := kong.New(&g, kong.NoDefaultHelp(), kong.ExplicitGroups([]kong.Group{{Key: "common"}}))
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]map[string]bool{}
	for _, cmd := range parser.Model.Leaves(false) {
		flags[cmd.Name] = map[string]bool{}
		for _, level := range cmd.AllFlags(false) {
			for _, f := range level {
				flags[cmd.Name][f.Name] = true
			}
		}
	}
	var check func(command string, typ reflect.Type)
	check = func(command string, typ reflect.Type) {
		for f := range typ.Fields() {
			switch key := f.Tag.Get("yaml"); {
			case f.Anonymous:
				check(command, f.Type)
			case !flags[command][key]:
				t.Errorf("%s: key %q is no flag", command, key)
			case f.Tag.Get("help") == "":
				t.Errorf("%s: key %q has no help", command, key)
			}
		}
	}
	for f := range reflect.TypeFor[config.Config]().Fields() {
		if !f.Anonymous {
			check(f.Tag.Get("yaml"), f.Type)
		}
	}
	check("get", reflect.TypeFor[config.Common]())
}

func TestOrdered(t *testing.T) {
	var g grammar
	parser, err := kong.New(&g, kong.NoDefaultHelp(), kong.ExplicitGroups([]kong.Group{{Key: "common"}}))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"get u1 -o f":                   "get -o f u1",
		"get -O u1 -O u2":               "get -O -O u1 u2",
		"get -C - u1 --json":            "get -C --json u1",
		"get u1 --limit-rate 2M u2 -qf": "get --limit-rate 2M -qf u1 u2",
		"get -fo f u1":                  "get -fo f u1",
		"get -o - u1":                   "get -o - u1",
		"get --limit-rate=2M u -- -x":   "get --limit-rate=2M -- u -x",
		"--config f get get":            "--config f get get",
		"serve get --listen :1":         "serve --listen :1 get",
		"get u -o":                      "get -o u",
		"nonsense --x y":                "--x nonsense y",
	}
	for in, want := range cases {
		if got := strings.Join(ordered(parser.Model, strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	cases := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errShown, 0},
		{errors.New("x"), 1},
		{errUnwell, 1},
		{usage(errors.New("x")), 2},
		{agent.ErrURL, 3},
		{agent.ErrNotFound, 4},
		{agent.ErrDenied, 5},
		{agent.ErrServer, 6},
		{agent.ErrNetwork, 7},
		{agent.ErrTLS, 8},
		{agent.ErrVerify, 9},
		{agent.ErrChanged, 9},
		{agent.ErrExists, 10},
		{agent.ErrDisk, 10},
		{agent.ErrInterrupted, 130},
		{marked{agent.ErrNotFound, errShown}, 4},
	}
	for _, c := range cases {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
		if c.err == nil || errors.Is(c.err, errShown) {
			continue
		}
		if got := exitCode(fmt.Errorf("http://h/x: %w", c.err)); got != c.want {
			t.Errorf("%v, wrapped: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestErrorLine(t *testing.T) {
	cases := []struct {
		command string
		err     error
		want    string
	}{
		{"get", fmt.Errorf("http://h/x: %w: 404 Not Found", agent.ErrNotFound), "tandem get: http://h/x: no such object: 404 Not Found; check the URL"},
		{"", usage(errors.New("unknown\nflag")), "tandem: unknown flag; see tandem --help"},
		{"edge", errors.New("listen on :80: no"), "tandem edge: listen on :80: no"},
	}
	for _, c := range cases {
		if got := errorLine(c.command, c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
