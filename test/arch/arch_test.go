// Package arch holds the tests of the shape of the code: who may import whom,
// that every package says what it is for, and how long files and functions may
// get. docs/DESIGN.md gives the reasons.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tandem-cdn/tandem"

// A layer may import the layers after it. Inside one, packages do not import one
// another except where sameLayer says so. A trailing "/" stands for the packages
// below, too: they are one part, whose members may use each other.
var layers = [][]string{
	{"cmd/tandem", "bench/", "test/"},
	{"internal/cli/"},
	{"", "internal/node/", "internal/sim/", "internal/agentapi/", "internal/gateway/"},
	{"internal/edge/", "internal/control/", "internal/agent/", "internal/publish/"},
	{"internal/fetch/", "internal/swarm/", "internal/session/", "internal/store/", "internal/ledger/", "internal/stream/", "internal/geo/"},
	{"internal/transport/", "internal/portmap/", "internal/upload/", "internal/governor/"},
	{"internal/nat/"},
	{"internal/config/", "internal/inbox/", "internal/serving/", "internal/hoststate/", "internal/filehash/", "internal/keyfile/", "internal/steering/", "scenarios/"},
	{"internal/wire/", "internal/manifest/", "internal/chunkmap/", "internal/track/", "internal/grant/", "internal/twinhash/", "internal/media/", "internal/media/hls/", "internal/media/dash/"},
}

// sameLayer lists the imports between neighbours that are meant, each with why.
var sameLayer = map[[2]string]string{
	{"internal/wire/", "internal/manifest/"}:     "messages carry object IDs",
	{"internal/chunkmap/", "internal/manifest/"}: "a map names an object",
	{"internal/manifest/", "internal/twinhash/"}: "a manifest has two hashes of each byte",
	{"internal/track/", "internal/manifest/"}:    "segments of a track have manifests",
	{"internal/grant/", "internal/manifest/"}:    "a grant names an object",
	{"internal/stream/", "internal/fetch/"}:      "streams elect owners as downloads do",
	{"internal/grant/", "internal/wire/"}:        "a grant names a key and a policy",
	{"test/", "bench/"}:                          "tests run the benchmarks' scenarios",
	{"bench/", "test/"}:                          "benchmarks run in the lab",
	{"internal/node/", "internal/agentapi/"}:     "the node runs the local API",
	{"internal/agentapi/", "internal/gateway/"}:  "the local API tells of the gateway",
	{"internal/node/", "internal/gateway/"}:      "the node runs the gateway",
	{"internal/sim/", "internal/node/"}:          "the simulator wires nodes",
}

type pkg struct {
	Dir, ImportPath                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
}

// rel is the path inside the module; "" is the root package.
func (p pkg) rel() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=Dir,ImportPath,GoFiles,TestGoFiles,XTestGoFiles,Imports", "./...")
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// place finds the layer of a package and its part there.
func place(rel string) (layer int, part string, ok bool) {
	for i, parts := range layers {
		for _, p := range parts {
			if rel == p || strings.HasSuffix(p, "/") && strings.HasPrefix(rel+"/", p) {
				return i, p, true
			}
		}
	}
	return 0, "", false
}

// allowed says whether a package may import another, and if not, why.
func allowed(from, to string) (why string, ok bool) {
	fl, fp, _ := place(from)
	tl, tp, known := place(to)
	_, meant := sameLayer[[2]string{fp, tp}]
	switch {
	case !known:
		return "it has no layer", false
	case fl < tl, fp == tp && fp != "", meant:
		return "", true
	case fl > tl:
		return "that is upwards", false
	default:
		return "they are neighbours that meet elsewhere", false
	}
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		if _, _, ok := place(p.rel()); !ok {
			t.Errorf("%s has no layer: put it into the table of this test", p.rel())
			continue
		}
		for _, imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				continue
			}
			to := pkg{ImportPath: imp}.rel()
			if why, ok := allowed(p.rel(), to); !ok {
				t.Errorf("%s imports %s: %s", p.rel(), to, why)
			}
		}
	}
}

func TestAllowed(t *testing.T) {
	cases := []struct {
		from, to string
		ok       bool
	}{
		{"cmd/tandem", "internal/cli", true},
		{"internal/cli", "", true},
		{"internal/agent", "", false},
		{"internal/edge", "internal/control", false},
		{"internal/edge", "internal/edge/cache", true},
		{"internal/wire", "internal/manifest", true},
		{"internal/manifest", "internal/wire", false},
		{"internal/fetch", "internal/swarm", false},
		{"internal/swarm", "internal/transport", true},
		{"internal/transport", "internal/swarm", false},
		{"internal/node", "internal/agent", true},
		{"internal/node", "internal/cli", false},
		{"internal/edgeways", "internal/wire", false},
	}
	for _, c := range cases {
		_, _, known := place(c.from)
		_, ok := allowed(c.from, c.to)
		if (ok && known) != c.ok {
			t.Errorf("%s imports %s: %v, want %v", c.from, c.to, ok && known, c.ok)
		}
	}
}

// TestFormatsArePure holds the formats to what makes them testable and portable
// to another language: no I/O, no goroutine, no clock, no log.
func TestFormatsArePure(t *testing.T) {
	banned := map[string]string{
		"net/http": "no I/O", "os": "no I/O", "log/slog": "no log", "log": "no log",
		"sync": "no goroutine", "context": "no I/O", "io/fs": "no I/O",
	}
	formats := layers[len(layers)-1]
	for _, p := range packages(t) {
		if !slices.Contains(formats, p.rel()+"/") {
			continue
		}
		for _, imp := range p.Imports {
			if why, ok := banned[imp]; ok {
				t.Errorf("%s imports %s: a format has %s", p.rel(), imp, why)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		fset := token.NewFileSet()
		files := p.GoFiles
		if len(files) == 0 {
			files = append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
		}
		for _, name := range files {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc.Text() != "" {
				with = append(with, name)
			}
		}
		if len(with) != 1 {
			t.Errorf("package %s has %d package comments, want 1: %v", path.Join(".", p.rel()), len(with), with)
		}
	}
}

// Budgets, in lines. Files of 400 and functions of 40 are the aim; these are the
// ends. Functions of tests may be tables as long as they like.
const (
	maxFile = 800
	maxFunc = 100
)

func TestBudgets(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir(root(t), func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := d.Name(); d.IsDir() && (strings.HasPrefix(n, ".") || n == "bin" || n == "testdata" || n == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		checkBudget(t, fset, f, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkBudget(t *testing.T, fset *token.FileSet, f *ast.File, p string) {
	t.Helper()
	if n := fset.Position(f.FileEnd).Line; n > maxFile {
		t.Errorf("%s has %d lines, at most %d", p, n, maxFile)
	}
	if strings.HasSuffix(p, "_test.go") {
		return
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunc {
			t.Errorf("%s: %s has %d lines, at most %d", p, fn.Name.Name, n, maxFunc)
		}
	}
}
