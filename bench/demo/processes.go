package main

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
	"sync"
	"time"
)

// stopWithin is how long a process may take to end when it is told to.
const stopWithin = 10 * time.Second

// command is a process that is interrupted, not killed, when ctx ends.
func command(ctx context.Context, bin string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWithin
	return cmd
}

// server is a running `tandem serve`.
type server struct {
	url    string
	cmd    *exec.Cmd
	cancel context.CancelFunc
	log    bytes.Buffer
}

func serve(ctx context.Context, bin, www, data string) (*server, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &server{cancel: cancel}
	s.cmd = command(ctx, bin, "serve", www, "--listen", "127.0.0.1:0", "--data", data)
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("tandem serve: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		return nil, fmt.Errorf("tandem serve: it is not ready: %w; %s", errors.Join(err, s.stop()), s.log.String())
	}
	s.url = url
	return s, nil
}

func (s *server) stop() error {
	s.cancel()
	if err := s.cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("tandem serve: %w", err)
	}
	return nil
}

// progress is a line of `tandem get --progress json`.
type progress struct {
	Size      int64 `json:"size"`
	Done      int64 `json:"done"`
	FromEdge  int64 `json:"from_edge"`
	FromPeers int64 `json:"from_peers"`
	Peers     int   `json:"peers"`
	Rate      int64 `json:"rate"`
}

// result is the object of `tandem get --json`.
type result struct {
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	FromEdge  int64   `json:"from_edge"`
	FromPeers int64   `json:"from_peers"`
	Wasted    int64   `json:"wasted"`
	Peers     int     `json:"peers"`
	SHA256    string  `json:"sha256"`
}

// client is a running `tandem get`.
type client struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	last progress
	done *result
	said []string // on standard error, but progress
}

func (c *client) state() (progress, *result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.done
}

// crowd is all the clients.
type crowd struct {
	clients []*client
	began   time.Time
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	// ended is told each time a client has its file, or has given up.
	ended chan *client
}

func startCrowd(ctx context.Context, bin, url, dir string, o options) (*crowd, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{began: time.Now(), cancel: cancel, ended: make(chan *client, 2*o.clients)}
	for i := range o.clients {
		home := filepath.Join(dir, strconv.Itoa(i+1))
		if err := os.MkdirAll(home, 0o755); err != nil {
			return nil, errors.Join(err, c.stop())
		}
		cmd := command(ctx, bin, "get", url, "-o", filepath.Join(home, "file"), "--data", filepath.Join(home, "data"), "--alone",
			"--limit-rate", o.rate, "--upload-limit", o.rate, "--json", "--progress", "json", "--linger", tooLong.String())
		cl := &client{cmd: cmd}
		if err := c.start(cl); err != nil {
			return nil, errors.Join(fmt.Errorf("tandem get: %w", err), c.stop())
		}
		c.clients = append(c.clients, cl)
	}
	return c, nil
}

func (c *crowd) start(cl *client) error {
	stdout, err := cl.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cl.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cl.cmd.Start(); err != nil {
		return err
	}
	c.wg.Go(func() { cl.readProgress(stderr) })
	c.wg.Go(func() {
		cl.readResult(stdout)
		c.ended <- cl
	})
	return nil
}

func (c *client) readProgress(r io.Reader) {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		var p progress
		err := json.Unmarshal(sc.Bytes(), &p)
		c.mu.Lock()
		if err == nil {
			c.last = p
		} else {
			c.said = append(c.said, sc.Text())
		}
		c.mu.Unlock()
	}
}

// readResult returns when the client has its file or ends without it.
func (c *client) readResult(r io.Reader) {
	var res result
	err := json.NewDecoder(r).Decode(&res)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.done = &res
	}
}

// stop ends the sharing and waits for the processes.
func (c *crowd) stop() error {
	c.cancel()
	c.wg.Wait()
	var errs []error
	for i, cl := range c.clients {
		_ = cl.cmd.Wait() // it was interrupted; what counts is its result
		if _, done := cl.state(); done == nil {
			errs = append(errs, fmt.Errorf("client %d: %s", i+1, strings.Join(append([]string{"no result"}, cl.said...), "; ")))
		}
	}
	return errors.Join(errs...)
}
