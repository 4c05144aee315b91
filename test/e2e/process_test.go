package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds every wait of these tests; nothing should come near it.
const patience = 60 * time.Second

// process is a running program.
type process struct {
	cmd    *exec.Cmd
	stdout *record
	stderr *record
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	peak   atomic.Int64
}

// record keeps what a process writes, for tests to read while it goes on.
type record struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed at the next write
}

func newRecord() *record { return &record{changed: make(chan struct{})} }

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
	return r.b.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// await returns the first line that holds text, as soon as it is complete.
func (r *record) await(ctx context.Context, text string) (string, bool) {
	for {
		r.mu.Lock()
		all, changed := r.b.String(), r.changed
		r.mu.Unlock()
		if _, after, ok := strings.Cut(all, text); ok && strings.Contains(after, "\n") {
			start := strings.LastIndexByte(all[:len(all)-len(after)], '\n') + 1
			line, _, _ := strings.Cut(all[start:], "\n")
			return line, true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", false
		}
	}
}

// tandem starts the program. It is killed at the end of the test.
func tandem(t *testing.T, args ...string) *process {
	t.Helper()
	return start(t, exec.Command("tandem", args...))
}

// start starts a command that has no settings but those of its command line, and what is in
// its environment already.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, stdout: newRecord(), stderr: newRecord(), ended: make(chan struct{})}
	home := t.TempDir()
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+home, "USERPROFILE="+home, "TMPDIR="+home, "TANDEM_UPLOAD_ALSO=battery,metered,vpn")
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.WaitDelay = time.Second // for children that outlive it
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	go p.watchMemory()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s\nstdout: %s\nstderr: %s", strings.Join(cmd.Args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

// kill ends the process and its children as nothing can prevent, and waits for
// it.
func (p *process) kill() {
	killGroup(p.cmd)
	<-p.ended
}

// peakRSS is the most memory the process is known to have had resident, in
// bytes; 0 where the system does not tell.
func (p *process) peakRSS() int64 { return p.peak.Load() }

// watchMemory reads the peak until the process ends. What wait4 tells instead
// counts the memory of this process, which the child begins in.
func (p *process) watchMemory() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-tick.C:
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)) // not on every system
		_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
		if fields := bytes.Fields(rest); len(fields) > 0 {
			if kib, err := strconv.ParseInt(string(fields[0]), 10, 64); err == nil {
				p.peak.Store(max(p.peak.Load(), kib<<10))
			}
		}
	}
}

// wait waits for the end and returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s: still running after %v", strings.Join(p.cmd.Args, " "), patience)
	}
	if p.err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		t.Fatalf("%s: %v", strings.Join(p.cmd.Args, " "), p.err)
	}
	return exit.ExitCode()
}

// ready waits for the line "ready URL" and returns the URL.
func (p *process) ready(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, ok := p.stdout.await(ctx, "ready http")
	if !ok {
		t.Fatalf("%s: never ready", strings.Join(p.cmd.Args, " "))
	}
	return strings.TrimSuffix(strings.Fields(line)[1], "/")
}

// until waits for a condition that nothing announces.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// serve runs the all-in-one server of a directory and returns its URL.
func serve(t *testing.T, dir string, flags ...string) (url string, p *process) {
	t.Helper()
	p = tandem(t, append([]string{"serve", dir, "--listen", "127.0.0.1:0", "--data", t.TempDir()}, flags...)...)
	return p.ready(t), p
}

// cell runs a control and an edge in front of origin, as processes of their own.
func cell(t *testing.T, origin string, flags ...string) (url string, edge, control *process) {
	t.Helper()
	control = tandem(t, "control", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	at := control.ready(t)
	edge = tandem(t, append([]string{
		"edge", "--origin", origin, "--control", at,
		"--listen", "127.0.0.1:0", "--data", t.TempDir(),
	}, flags...)...)
	return edge.ready(t), edge, control
}

// file makes a file of random bytes and returns its path.
func file(t *testing.T, name string, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, random(size), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneLine checks an error message.
func oneLine(t *testing.T, stderr string, parts ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if len(lines) != 1 {
		t.Errorf("%d lines, want one: %q", len(lines), stderr)
	}
	for _, p := range parts {
		if !strings.Contains(strings.ToLower(lines[len(lines)-1]), strings.ToLower(p)) {
			t.Errorf("the error does not name %q: %q", p, stderr)
		}
	}
	if strings.Contains(stderr, "panic") || strings.Contains(stderr, "goroutine ") {
		t.Errorf("a panic: %q", stderr)
	}
}
