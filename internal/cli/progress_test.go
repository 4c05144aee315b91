package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// TestProgressGolden compares the line at several widths with testdata/progress.txt.
func TestProgressGolden(t *testing.T) {
	const mib = 1 << 20
	states := []struct {
		name string
		p    agent.Progress
	}{
		{"go1.27.src.tar.gz", agent.Progress{Size: 250 * mib, Done: 100 * mib, FromEdge: 40 * mib, FromPeers: 60 * mib, Peers: 11, Rate: 6 * mib}},
		{"next.iso", agent.Progress{Size: 1000 * mib, Done: 992 * mib, FromEdge: mib, FromPeers: mib, FromOld: 990 * mib, Peers: 2, Rate: 6 * mib}},
		{"beginning.iso", agent.Progress{Size: -1}},
		{"unknown size", agent.Progress{Size: -1, Done: 3 * mib, FromEdge: 3 * mib, Rate: 900_000}},
		{"full.iso", agent.Progress{Size: -1, Note: "the server is full, asking again in 3s"}},
		{"complete", agent.Progress{Size: 5000, Done: 5000, FromEdge: 5000, Rate: 5000}},
		{"a name that is much longer than what fits on a terminal of usual width.tar", agent.Progress{Size: 9 << 40, Done: 1 << 40, FromPeers: 1 << 40, Peers: 1, Rate: 1}},
		{"evil\r\x1b[31mname", agent.Progress{Size: 100, Done: 1, Rate: 1}},
	}
	var b strings.Builder
	for _, s := range states {
		for _, width := range []int{120, 79, 50, 30, 10} {
			line := renderProgress(s.name, s.p, width)
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("%q at %d columns has %d", s.name, width, n)
			}
			fmt.Fprintf(&b, "%3d|%s|\n", width, line)
		}
	}
	path := filepath.Join("testdata", "progress.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
}

func TestProgressLine(t *testing.T) {
	var b strings.Builder
	l := &progressLine{w: &b, width: func() int { return 40 }, name: "f"}
	l.put("one")
	l.put("one")
	l.put("two")
	l.clear()
	if want := "\rone\x1b[K\rtwo\x1b[K\r\x1b[K"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	var none *progressLine
	none.draw(agent.Progress{})
	none.clear()
	if newProgressLine(&b, "f") != nil {
		t.Error("a buffer is taken for a terminal")
	}
}

func TestFormat(t *testing.T) {
	sizes := map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10200: "10 KiB", 1 << 20: "1.0 MiB", 1023 << 10: "1.0 MiB", 250 << 20: "250 MiB", 3 << 30: "3.0 GiB"}
	for n, want := range sizes {
		if got := formatSize(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	times := map[int64]string{0: "0:00", 61: "1:01", 3600: "1h00", 400000: ">99h"}
	for n, want := range times {
		if got := formatETA(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	r := agent.Result{File: "f", Size: 100 << 20, Elapsed: 10 * time.Second, FromEdge: 25 << 20, FromPeers: 75 << 20, Peers: 3, Object: manifest.ObjectID{1}}
	if got, want := summary(r), "f: 100 MiB in 10 s (10 MiB/s), 75% from 3 peers, verified"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSummaryOfUpdate(t *testing.T) {
	r := agent.Result{File: "f", Size: 100 << 20, Elapsed: time.Second, FromEdge: 2 << 20, FromOld: 98 << 20, Object: manifest.ObjectID{1}}
	if got, want := summary(r), "f: 100 MiB in 1.0 s (2.0 MiB/s), 98 MiB from the old version, verified"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSanitise(t *testing.T) {
	cases := map[string]string{
		"a.tar.gz": "a.tar.gz", "": "", ".": "", "..": "", "/": "", ".bashrc": "bashrc", "-rf": "rf",
		"a/b": "a_b", `a\b`: "a_b", "a\x00\x1b[1mb": "a[1mb", "CON": "_CON", "con.txt": "_con.txt", "com1": "_com1",
		"com10": "com10", "trailing. ": "trailing", "\u202Egpj.exe": "gpj.exe", "über.txt": "über.txt",
	}
	for in, want := range cases {
		if got := sanitise(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if long := sanitise(strings.Repeat("ä", 500) + ".iso"); len(long) > maxName || !strings.HasSuffix(long, ".iso") {
		t.Errorf("%d bytes, %q", len(long), long)
	}
}

func FuzzSanitise(f *testing.F) {
	for _, s := range []string{"a", "..", "/etc/passwd", "CON", "\xff", strings.Repeat("x", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := sanitise(s)
		if len(name) > maxName+1 || name != filepath.Base(name) && name != "" || strings.HasPrefix(name, ".") || !utf8.ValidString(name) {
			t.Errorf("%q becomes %q", s, name)
		}
	})
}
