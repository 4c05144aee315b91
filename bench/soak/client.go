//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tandem-cdn/tandem/bench/internal/rig"
	"github.com/tandem-cdn/tandem/test/lab"
)

// call is what happens to a client.
type call int

const (
	die   call = iota // kill -9, and start again with what is on disk
	leave             // an ordinary end; somebody new comes in its place
)

const (
	// keep is how many files a client shares at most: the next takes the place of
	// the oldest.
	keep = 4
	// Bounds of what would otherwise hang the soak.
	getWithin   = 5 * time.Minute
	startWithin = 30 * time.Second
	endWithin   = 30 * time.Second
	// newcomer is the mean time until somebody comes for one who has left.
	newcomer = 5 * time.Second
)

// client is a host with an agent that fetches one file after another.
type client struct {
	*options
	*site
	host  *lab.Host
	dir   string
	calls chan call
	rng   *rand.Rand

	agent  *exec.Cmd
	ended  chan error
	pid    atomic.Int64 // of the agent, 0: none
	born   time.Time    // when the agent started
	asked  int          // files it has asked for
	broken int          // file that a kill has interrupted, −1: none
	life   int          // number of the one who is there
	tally
}

// tally is what came of a client.
type tally struct {
	seconds             []float64 // of files
	resumed             int
	kills, leaves       int
	failures            []string
	fromEdge, fromPeers int64
	wasted              int64
}

// live is the client until ctx ends, whoever it is.
func (c *client) live(ctx context.Context) error {
	c.broken = -1
	if err := rig.Sleep(ctx, c.wait(newcomer)); err != nil {
		return nil //nolint:nilerr // the time is over
	}
	for ctx.Err() == nil {
		if err := c.start(ctx); err != nil {
			return err
		}
		what, called := c.fetchAll(ctx)
		if !called {
			return nil // the agent goes on until its goroutines are counted
		}
		if err := c.end(what); err != nil {
			return err
		}
		if what == leave {
			_ = rig.Sleep(ctx, c.wait(newcomer))
		}
	}
	return nil
}

// wait is a time of that mean.
func (c *client) wait(mean time.Duration) time.Duration {
	return time.Duration(c.rng.ExpFloat64() * float64(mean))
}

func (c *client) home() string { return filepath.Join(c.dir, fmt.Sprint(c.life)) }
func (c *client) log() string  { return filepath.Join(c.home(), "log") }

// start starts the agent and returns when it can be asked. It is not bound to the
// end of the soak: the lab ends it.
func (c *client) start(ctx context.Context) error {
	data := filepath.Join(c.home(), "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return fmt.Errorf("agent of %s: %w", c.host.Name, err)
	}
	ready := filepath.Join(data, "agent.json")
	_ = os.Remove(ready) // one that was killed has left it
	log, err := os.OpenFile(c.log(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("agent of %s: %w", c.host.Name, err)
	}
	defer func() { _ = log.Close() }()
	c.agent = c.host.Command(context.WithoutCancel(ctx), c.binary, "agent", "--data", data, "--upload", "on")
	c.agent.Stdout, c.agent.Stderr = log, log
	if err := c.agent.Start(); err != nil {
		return fmt.Errorf("agent of %s: %w", c.host.Name, err)
	}
	agent, ended := c.agent, make(chan error, 1)
	go func() { ended <- agent.Wait() }() // ends with the agent, at the latest with the lab
	c.ended, c.born = ended, time.Now()
	c.pid.Store(int64(agent.Process.Pid))
	for time.Since(c.born) < startWithin && ctx.Err() == nil {
		if _, err := os.Stat(ready); err == nil {
			return nil
		}
		_ = rig.Sleep(ctx, 20*time.Millisecond)
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("agent of %s is not ready after %v\n%s", c.host.Name, startWithin, rig.Tail(c.log()))
}

// end is the end of the agent: as violent or as ordinary as was asked for.
func (c *client) end(what call) error {
	c.pid.Store(0)
	if what == die {
		c.kills++
		_ = c.agent.Cancel()
		<-c.ended //nolint:errcheck // "signal: killed" is what was asked for
		return nil
	}
	c.leaves++
	_ = c.agent.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-c.ended:
		if err != nil {
			return fmt.Errorf("agent of %s ended badly: %w\n%s", c.host.Name, err, rig.Tail(c.log()))
		}
	case <-time.After(endWithin):
		return fmt.Errorf("agent of %s goes on %v after SIGTERM\n%s", c.host.Name, endWithin, rig.Tail(c.log()))
	}
	if err := os.RemoveAll(c.home()); err != nil {
		return fmt.Errorf("leave %s: %w", c.host.Name, err)
	}
	c.life++
	c.asked, c.broken = 0, -1
	return nil
}

// fetchAll fetches one file after the other until something happens to the client,
// or false when ctx ends.
func (c *client) fetchAll(ctx context.Context) (what call, called bool) {
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for life.Err() == nil {
			c.fetch(life)
			_ = rig.Sleep(life, c.wait(c.pause))
		}
	}()
	select {
	case what = <-c.calls:
		called = true
	case <-ctx.Done():
	}
	cancel()
	<-done
	return what, called
}

// fetch gets a file, the one that was interrupted first, and checks it.
func (c *client) fetch(life context.Context) {
	file, again := c.broken, c.broken >= 0
	if !again {
		file = c.rng.IntN(len(c.urls))
		c.asked++
	}
	c.broken = file
	path := filepath.Join(c.home(), fmt.Sprint(c.asked%keep))
	ctx, cancel := context.WithTimeout(life, getWithin)
	defer cancel()
	// -C goes on with what a kill has left, -f takes the place of the oldest file; what
	// is here already is to come over the network once more.
	cmd := c.host.Command(ctx, c.binary, "get", c.urls[file], "-o", path, "-C", "-f", "--fresh", "--json", "--data", filepath.Join(c.home(), "data"))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if life.Err() != nil {
		return // it was killed: broken remembers the file
	}
	c.broken = -1
	var got rig.Outcome
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err == nil {
		err = check(path, c.sums[file])
	}
	if err != nil {
		c.failures = append(c.failures, fmt.Sprintf("%s, %s: %v: %s", c.host.Name, c.urls[file], err, strings.TrimSpace(complaint.String())))
		return
	}
	if again {
		c.resumed++
	}
	c.seconds = append(c.seconds, got.Seconds)
	c.fromEdge, c.fromPeers, c.wasted = c.fromEdge+got.FromEdge, c.fromPeers+got.FromPeers, c.wasted+got.Wasted
}

func check(path, want string) error {
	got, err := sumOf(path)
	if err != nil {
		return err
	}
	if got != want {
		return errors.New("the file is not the one at the server")
	}
	return nil
}

// sumOf is the SHA-256 of a file, in hexadecimal digits.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("check: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("check: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
