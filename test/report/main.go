// Command report reads the output of one or more runs of `go test -json` and
// prints what people want to see of it: go test's own closing line of every
// package, the output of what failed, and at the end the counts of passed, failed
// and skipped tests, the skipped ones with their reasons. Its exit code is 1 when
// anything failed or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sort"
	"strings"
)

func main() {
	ok, err := summarise(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// event is one line of `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
}

// name identifies a test in lists: package path and test.
func (e event) name() string { return e.Package + " " + e.Test }

type summary struct {
	out      io.Writer
	output   map[string][]string // of tests still running, or of a package's build
	passed   int
	packages int
	failed   []string
	skipped  []string
}

// summarise reads events until the end and reports whether all is well.
func summarise(r io.Reader, w io.Writer) (bool, error) {
	s := summary{out: w, output: map[string][]string{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(w, sc.Text()) // of go itself: no package matched, for instance
			continue
		}
		s.add(e)
	}
	s.close()
	return len(s.failed) == 0 && s.packages > 0, sc.Err()
}

func (s *summary) add(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		if e.Test == "" && closing(e.Output) {
			fmt.Fprint(s.out, e.Output)
			return
		}
		s.output[e.name()] = append(s.output[e.name()], e.Output)
	case "pass", "fail", "skip":
		s.end(e)
	}
}

// closing reports whether a line is go test's last about a package.
func closing(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t")
}

func (s *summary) end(e event) {
	lines := s.output[e.name()]
	delete(s.output, e.name())
	if e.Test == "" {
		s.packages++
		if e.Action == "fail" {
			s.unfinished(e.Package)
			s.print(lines)
			s.failed = append(s.failed, e.Package)
		}
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped = append(s.skipped, e.name()+": "+reason(lines))
	case "fail":
		s.print(lines)
		s.failed = append(s.failed, e.name())
	}
}

// unfinished are the tests that a panic or a time-out has ended with their
// package: go test says no more of them, and what it printed stands with one.
func (s *summary) unfinished(pkg string) {
	for _, name := range slices.Sorted(maps.Keys(s.output)) {
		if strings.HasPrefix(name, pkg+" ") && name != pkg+" " {
			s.print(s.output[name])
			s.failed = append(s.failed, name+": it did not end")
			delete(s.output, name)
		}
	}
}

func (s *summary) print(lines []string) {
	for _, l := range lines {
		if l != "FAIL\n" && l != "PASS\n" && !strings.HasPrefix(l, "=== ") {
			fmt.Fprint(s.out, l)
		}
	}
}

// reason is what t.Skip said: the last line that is not go test's own.
func reason(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		l := strings.TrimSpace(lines[i])
		if l == "" || strings.HasPrefix(l, "--- ") || strings.HasPrefix(l, "=== ") {
			continue
		}
		// "file_test.go:12: reason"
		if _, after, found := strings.Cut(l, ".go:"); found {
			if _, text, found := strings.Cut(after, ": "); found {
				return text
			}
		}
		return l
	}
	return "no reason given"
}

func (s *summary) close() {
	tests := 0
	for _, f := range s.failed {
		if strings.Contains(f, " ") { // package and test
			tests++
		}
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped in %d packages\n", s.passed, tests, len(s.skipped), s.packages)
	list := func(title string, names []string) {
		sort.Strings(names)
		for _, n := range names {
			fmt.Fprintf(s.out, "  %s %s\n", title, n)
		}
	}
	list("skipped", s.skipped)
	list("FAILED ", s.failed)
}
