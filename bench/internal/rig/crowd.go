//go:build linux

package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/test/lab"
)

// Outcome is what one client says about its download. Programs other than tandem
// say only the seconds.
type Outcome struct {
	Seconds   float64 `json:"seconds"`
	FromEdge  int64   `json:"from_edge"`
	FromPeers int64   `json:"from_peers"`
	Wasted    int64   `json:"wasted"`
	Peers     int     `json:"peers"`
	SHA256    string  `json:"sha256"`
	// Began is when the seconds begin to count, after the first start of a process
	// of the crowd: later than the client's own start by what a process needs.
	Began float64 `json:"began"`
}

// Download is one client of a crowd.
type Download struct {
	Cmd  *exec.Cmd
	File string // where the file must be when the client has said so
	Log  string
	At   time.Duration // when it starts, after the first
}

// Get is a `tandem get` on a host that keeps sharing until it is killed. Its
// file, data and log are in dir.
func Get(ctx context.Context, h *lab.Host, bin, url, dir string, flags ...string) (*Download, error) {
	d := &Download{File: filepath.Join(dir, "file"), Log: filepath.Join(dir, "log")}
	args := append([]string{
		"get", url, "-o", d.File, "--json", "--upload", "on", "--linger", "1h",
		"--data", filepath.Join(dir, "data"),
	}, flags...)
	d.Cmd = h.Command(ctx, bin, args...)
	return d, mkdir(dir)
}

// Curl is a plain download on a host, into dir.
func Curl(ctx context.Context, h *lab.Host, url, dir string) (*Download, error) {
	d := &Download{File: filepath.Join(dir, "file"), Log: filepath.Join(dir, "log")}
	d.Cmd = h.Command(ctx, "curl", "-sS", "-f", "-o", d.File, "-w", `%{time_total}\n`, url)
	return d, mkdir(dir)
}

func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("directory of a client: %w", err)
	}
	return nil
}

// Crowd starts all downloads, which are in order of At, and returns when the last
// has its file, with the outcomes in order and the time from the first start to
// the last end. The clients go on sharing until stop is called or ctx ends.
func Crowd(ctx context.Context, all []*Download) (got []Outcome, wall time.Duration, stop func(), err error) {
	got = make([]Outcome, len(all))
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i, d := range all {
		out, err := d.startAt(ctx, began)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause // one that was there already has failed
			}
			kill(all[:i])
			_ = g.Wait()
			return nil, 0, nil, err
		}
		stopRead := context.AfterFunc(ctx, func() { _ = out.Close() })
		g.Go(func() error {
			defer stopRead()
			o, err := readOutcome(out)
			if err != nil {
				return fmt.Errorf("client %d: %w\n%s", i+1, err, Tail(d.Log))
			}
			o.Began = time.Since(began).Seconds() - o.Seconds
			got[i] = o
			return nil
		})
	}
	err = g.Wait()
	wall = time.Since(began)
	if err != nil {
		kill(all)
		return nil, 0, nil, err
	}
	return got, wall, func() { kill(all) }, nil
}

// startAt starts the client when its time has come, unless ctx ends before.
func (d *Download) startAt(ctx context.Context, began time.Time) (*os.File, error) {
	if wait := time.Until(began.Add(d.At)); wait > 0 {
		if err := Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
	return d.start()
}

// start starts the client and returns the pipe it prints its outcome to.
func (d *Download) start() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	log, err := os.Create(d.Log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("client: %w", err), r.Close(), w.Close())
	}
	d.Cmd.Stdout, d.Cmd.Stderr = w, log
	err = d.Cmd.Start()
	if err := errors.Join(err, w.Close(), log.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("client: %w", err), r.Close())
	}
	return r, nil
}

func kill(started []*Download) {
	for _, d := range started {
		_ = d.Cmd.Cancel()
	}
	for _, d := range started {
		_ = d.Cmd.Wait() // "signal: killed" is what was asked for
	}
}

// readOutcome reads the one line a client prints: a JSON object, or seconds and
// whatever follows them.
func readOutcome(r io.ReadCloser) (Outcome, error) {
	defer func() { _ = r.Close() }()
	var o Outcome
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		return o, fmt.Errorf("ended without an outcome (%q): %w", line, err)
	}
	if strings.HasPrefix(line, "{") {
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			return o, fmt.Errorf("outcome %.100q: %w", line, err)
		}
		return o, nil
	}
	first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if o.Seconds, err = strconv.ParseFloat(first, 64); err != nil {
		return o, fmt.Errorf("outcome %.100q: %w", line, err)
	}
	return o, nil
}

// Same checks that every client got exactly the bytes of want.
func Same(want string, all []*Download) error {
	for i, d := range all {
		if err := SameFile(want, d.File); err != nil {
			return fmt.Errorf("client %d: %w", i+1, err)
		}
	}
	return nil
}

// SameFile checks that two files have the same bytes.
func SameFile(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return fmt.Errorf("compare files: %w", err)
	}
	defer func() { _ = fa.Close() }()
	fb, err := os.Open(b)
	if err != nil {
		return fmt.Errorf("compare files: %w", err)
	}
	defer func() { _ = fb.Close() }()
	ba, bb := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(ba)) {
		na, erra := io.ReadFull(fa, ba)
		nb, errb := io.ReadFull(fb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return fmt.Errorf("the file differs from the original between bytes %d and %d", off, off+int64(len(ba)))
		}
		if erra != nil || errb != nil {
			return nil // equal so far and one, hence both, at the end
		}
	}
}
