//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
)

// sample is what a process holds at a moment; of several processes the mean.
type sample struct {
	At          float64 `json:"at"` // seconds
	MiB         float64 `json:"rss_mib"`
	Descriptors float64 `json:"descriptors"`
	Threads     float64 `json:"threads"`
}

// watch looks at the server and at those that stay until ctx ends.
func (r *result) watch(ctx context.Context, server *os.Process, stayers []*client) error {
	began := time.Now()
	for rig.Sleep(ctx, sampleEvery) == nil {
		at := time.Since(began).Seconds()
		s, err := look(server.Pid)
		if err != nil {
			return fmt.Errorf("server: %w", err)
		}
		s.At = at
		r.Server = append(r.Server, s)
		mean := sample{At: at}
		n := 0.0
		for _, c := range stayers {
			pid := int(c.pid.Load())
			if pid == 0 {
				continue // has yet to come
			}
			s, err := look(pid)
			if err != nil {
				return fmt.Errorf("agent of %s: %w\n%s", c.host.Name, err, rig.Tail(c.log()))
			}
			mean.MiB, mean.Descriptors, mean.Threads = mean.MiB+s.MiB, mean.Descriptors+s.Descriptors, mean.Threads+s.Threads
			n++
		}
		if n > 0 {
			mean.MiB, mean.Descriptors, mean.Threads = mean.MiB/n, mean.Descriptors/n, mean.Threads/n
			r.Agents = append(r.Agents, mean)
		}
	}
	return nil
}

// look reads /proc about a process.
func look(pid int) (sample, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/status")
	if err != nil {
		return sample{}, err
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return sample{}, err
	}
	s := sample{Descriptors: float64(len(fds))}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		v, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		switch name {
		case "VmRSS":
			kib, err := strconv.Atoi(v)
			if err != nil {
				return s, fmt.Errorf("memory of process %d: %w", pid, err)
			}
			s.MiB = float64(kib) / 1024
		case "Threads":
			n, err := strconv.Atoi(v)
			if err != nil {
				return s, fmt.Errorf("threads of process %d: %w", pid, err)
			}
			s.Threads = float64(n)
		}
	}
	return s, nil
}

// countGoroutines ends everybody by SIGQUIT, which makes Go programs tell of all
// their goroutines.
func (r *result) countGoroutines(s *site, crowd []*client, stayers int) error {
	_ = s.server.Signal(syscall.SIGQUIT)
	for _, c := range crowd {
		if c.pid.Load() != 0 {
			_ = c.agent.Process.Signal(syscall.SIGQUIT)
		}
	}
	var old, young []float64
	for i, c := range crowd {
		if c.pid.Load() == 0 {
			continue
		}
		select {
		case <-c.ended: //nolint:errcheck // "exit status 2" is what was asked for
		case <-time.After(endWithin):
			return fmt.Errorf("agent of %s goes on %v after SIGQUIT", c.host.Name, endWithin)
		}
		n, err := goroutines(c.log())
		if err != nil {
			return err
		}
		if i < stayers {
			old = append(old, n)
		} else {
			young = append(young, n)
		}
	}
	r.Goroutines.Stayers, r.Goroutines.Others = rig.Median(old), rig.Median(young)
	var err error
	r.Goroutines.Server, err = goroutines(s.log)
	return err
}

// goroutines counts those that a log tells of.
func goroutines(log string) (float64, error) {
	b, err := os.ReadFile(log)
	if err != nil {
		return 0, fmt.Errorf("goroutines: %w", err)
	}
	return float64(bytes.Count(b, []byte("\ngoroutine "))), nil
}
