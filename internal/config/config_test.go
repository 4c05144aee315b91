package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRate(t *testing.T) {
	cases := []struct {
		in   string
		want Rate
	}{
		{"0", 0},
		{"1000", 1000},
		{"500K", 500 << 10},
		{"500k", 500 << 10},
		{"2M", 2 << 20},
		{"1MiB/s", 1 << 20},
		{"1.5M", 3 << 19},
		{"1G", 1 << 30},
		{"2MB", 2_000_000},
		{"2kB/s", 2000},
		{"20mbit", 2_500_000},
		{"20Mbit/s", 2_500_000},
		{"8bit", 1},
		{"1bit", 1},
		{" 3K ", 3 << 10},
	}
	for _, c := range cases {
		var r Rate
		if err := r.UnmarshalText([]byte(c.in)); err != nil || r != c.want {
			t.Errorf("%q: %d, %v; want %d", c.in, r, err, c.want)
		}
	}
	for _, bad := range []string{"", "M", "-1", "1e3", "5Mb", "5 M", "5X", "1..2", "99999999999G", "iB", "1iB", "5M/h", "NaN", "Inf"} {
		var r Rate
		if err := r.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken as %d", bad, r)
		}
	}
}

func TestSizeHasNoBits(t *testing.T) {
	var s Size
	if err := s.UnmarshalText([]byte("10G")); err != nil || s != 10<<30 {
		t.Errorf("10G: %d, %v", s, err)
	}
	if err := s.UnmarshalText([]byte("10gbit")); err == nil {
		t.Error("10gbit is taken for a size")
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"0", "500K", "1.5M", "20mbit", "1MiB/s", "2GB", "x", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r, again Rate
		if r.UnmarshalText([]byte(s)) != nil {
			return
		}
		if r < 0 {
			t.Fatalf("%q: negative %d", s, r)
		}
		if err := again.UnmarshalText([]byte(r.String())); err != nil {
			t.Fatalf("%q prints as %q: %v", s, r, err)
		}
		// Large numbers keep the precision of a float64.
		if d := again - r; d > r>>50 || -d > r>>50 {
			t.Fatalf("%q is %d, printed and read again %d", s, r, again)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"listen", "origin", "upload", "upload-limit", "data"}
	cases := map[string]string{
		"orign": "origin", "lisetn": "listen", "uplaod-limit": "upload-limit",
		"upload-lim": "upload-limit", "dat": "data", "xyz": "", "": "",
	}
	for in, want := range cases {
		if got := Nearest(in, known); got != want {
			t.Errorf("Nearest(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"typo at the top", "lgo-level: info\n", `unknown key "lgo-level", did you mean "log-level"?`},
		{"typo in a section", "edge:\n  orign: http://x\n", `unknown key "edge.orign", did you mean "edge.origin"?`},
		{"nothing near", "zzzzzz: 1\n", `unknown key "zzzzzz"`},
		{"key of another section", "control:\n  origin: x\n", `unknown key "control.origin"`},
		{"type", "edge:\n  origin: [1, 2]\n", `line 2: `},
		{"rate", "get:\n  limit-rate: 5Mb\n", `get.limit-rate: rate "5Mb"`},
		{"syntax", "edge: [\n", `line 1: `},
		{"twice", "log-level: info\nlog-level: warn\n", `line 2: `},
		{"a list", "- a\n", `line 1: `},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.yaml")
	doc := "log-level: debug\nedge:\n  origin: http://o\n  control: [http://a, http://b]\n  listen: \":80\"\ncontrol:\n  listen: \":81\"\nget:\n  limit-rate: 5M\n  linger: 10m\nagent:\n  upload: off\n"
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Find(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		command, flag string
		want          any
	}{
		{"edge", "origin", "http://o"},
		{"edge", "control", []any{"http://a", "http://b"}},
		{"edge", "listen", ":80"},
		{"control", "listen", ":81"},
		{"serve", "listen", nil},
		{"serve", "control", nil},
		{"get", "log-level", "debug"},
		{"get", "limit-rate", "5M"},
		{"get", "linger", "10m"},
	}
	for _, c := range cases {
		got, ok := f.Lookup(c.command, c.flag)
		if ok != (c.want != nil) || !cmp.Equal(got, c.want) {
			t.Errorf("%s.%s is %v, %v; want %v", c.command, c.flag, got, ok, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	missing, there := filepath.Join(dir, "no.yaml"), filepath.Join(dir, "yes.yaml")
	if err := os.WriteFile(there, []byte("log-level: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Find("", []string{missing, there})
	if err != nil || f.Path() != there {
		t.Errorf("found %q, %v; want %q", f.Path(), err, there)
	}
	if f, err = Find("", []string{missing}); err != nil || f.Path() != "" {
		t.Errorf("no file: %q, %v", f.Path(), err)
	}
	if _, err = Find(missing, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a named file that is missing: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("edge:\n  origin: http://x\n"))
	f.Add([]byte("log-level: [\n"))
	f.Add([]byte("get: {header: [a, b], linger: 5s}\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) < 1<<12 {
			parse(b) // only its panics matter
		}
	})
}

func TestParseAccepts(t *testing.T) {
	for _, in := range []string{
		"", "# nothing\n", "agent:\n  upload: on\n", "get:\n  limit-rate: 500\n",
		"get:\n  limit-rate: 0\n", "get:\n  linger: 0s\n", "get:\n  json: true\n", "edge:\n", "edge:\n  cache-size: 1.5G\n",
	} {
		if _, err := parse([]byte(in)); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}
