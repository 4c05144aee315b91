//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/test/lab"
)

// usage is what a process has cost.
type usage struct {
	CPU time.Duration `json:"cpu"`
	RSS int64         `json:"rss"` // bytes, at most
	// Took is from the request to the last verified piece; receivers say it.
	Took time.Duration `json:"took"`
}

func used() usage {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // cannot fail with these arguments
	return usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), RSS: r.Maxrss << 10}
}

// one runs a sender and a receiver.
func (o options) one(ctx context.Context, h *lab.Host, f *figures, i int) (r run, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := func(role string) []string {
		a := []string{"end", "-role", role, "-kind", f.Kind, "-size", fmt.Sprint(f.Bytes), fmt.Sprintf("-bare=%v", f.Bare)}
		if o.profile != "" {
			name := fmt.Sprintf("%s-%s-%d.pprof", strings.NewReplacer("/", "", " ", "-").Replace(f.variant.String()), role, i+1)
			a = append(a, "-profile", filepath.Join(o.profile, name))
		}
		return a
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	sender, err := startEnd(h.Command(ctx, self, args("send")...))
	if err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	at, err := sender.line()
	if err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	receiver, err := startEnd(h.Command(ctx, self, append(args("receive"), "-at", at)...))
	if err != nil {
		return r, fmt.Errorf("receiver: %w", err)
	}
	got, err := receiver.end()
	if err != nil {
		return r, fmt.Errorf("receiver: %w", err)
	}
	sent, err := sender.end()
	if err != nil {
		return r, fmt.Errorf("sender: %w", err)
	}
	return run{
		Seconds: got.Took.Seconds(), SendCPU: sent.CPU.Seconds(), RecvCPU: got.CPU.Seconds(),
		SendRSS: sent.RSS, RecvRSS: got.RSS,
	}, nil
}

// end is the process of one end: it says lines, the last of which is its usage
// once its input is closed.
type end struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

func startEnd(cmd *exec.Cmd) (*end, error) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &end{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

func (e *end) line() (string, error) {
	s, err := e.out.ReadString('\n')
	return strings.TrimSpace(s), err
}

func (e *end) end() (u usage, err error) {
	err = e.in.Close()
	line, readErr := e.line()
	if err = errors.Join(err, readErr); err == nil {
		err = json.Unmarshal([]byte(line), &u)
	}
	return u, errors.Join(err, e.cmd.Wait())
}

// ending waits until the parent has closed this process's input.
func ending() { _, _ = io.Copy(io.Discard, os.Stdin) }

// runEnd is the process of one end.
func runEnd(ctx context.Context, args []string) error {
	var v variant
	f := flag.NewFlagSet("end", flag.ExitOnError)
	role := f.String("role", "", "send or receive")
	f.StringVar(&v.Kind, "kind", "", "tcp or quic")
	f.BoolVar(&v.Bare, "bare", false, "without tandem")
	size := f.Int64("size", 0, "of the object")
	at := f.String("at", "", "where the sender is")
	profile := f.String("profile", "", "file for a CPU profile")
	if err := f.Parse(args); err != nil {
		return err
	}
	o := newObject(*size)
	if *profile != "" {
		p, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(p); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var u usage
	var err error
	switch {
	case *role == "send" && v.Bare:
		u, err = sendBare(ctx, v.Kind, o)
	case *role == "send":
		u, err = send(ctx, v.Kind, o)
	case v.Bare:
		u, err = receiveBare(ctx, v.Kind, o, *at)
	default:
		u, err = receive(ctx, v.Kind, o, *at)
	}
	if err != nil {
		return fmt.Errorf("%s over %v: %w", *role, v, err)
	}
	return json.NewEncoder(os.Stdout).Encode(u)
}

// since is what was used after before.
func since(before usage) usage {
	u := used()
	u.CPU -= before.CPU
	return u
}
