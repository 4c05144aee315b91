package agentapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/gateway"
)

// ErrNoAgent says that no agent runs in a data directory.
var ErrNoAgent = errors.New("no agent is running")

const (
	dialWithin = 2 * time.Second
	maxAnswer  = 16 << 20
)

// Client talks to the running agent.
type Client struct {
	discovery
	http *http.Client
}

// Dial finds the agent of a data directory. It fails with ErrNoAgent when there
// is none.
func Dial(ctx context.Context, data string) (*Client, error) {
	b, err := os.ReadFile(filepath.Join(data, discoveryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoAgent, data)
	}
	if err != nil {
		return nil, errorf("%w", err)
	}
	c := &Client{http: &http.Client{Transport: &http.Transport{}}}
	if err := json.Unmarshal(b, &c.discovery); err != nil {
		return nil, errorf("%s: %w", discoveryFile, err)
	}
	// The file of an agent that was killed names a port that nobody, or somebody
	// else, listens on.
	if _, err := c.Status(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("%w in %s: its last one did not say good-bye: %w", ErrNoAgent, data, err)
	}
	return c, nil
}

// Close lets go of the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, errorf("%w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(b))
	if err != nil {
		return nil, errorf("%w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, errorf("%w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return resp, nil
}

// ask sends a short request and reads the answer into v.
func (c *Client) ask(ctx context.Context, method, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	resp, err := c.do(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v); err != nil {
		return errorf("%s: %w", path, err)
	}
	return nil
}

// Status asks what the agent does.
func (c *Client) Status(ctx context.Context) (st Status, err error) {
	return st, c.ask(ctx, http.MethodGet, "/v1/status", &st)
}

// Pair asks for a code with which a web page can pair itself.
func (c *Client) Pair(ctx context.Context) (code PairingCode, err error) {
	return code, c.ask(ctx, http.MethodPost, "/v1/pairings", &code)
}

// Pairings asks which web pages are paired.
func (c *Client) Pairings(ctx context.Context) (list []gateway.Pairing, err error) {
	return list, c.ask(ctx, http.MethodGet, "/v1/pairings", &list)
}

// Unpair ends the pairing of a web page.
func (c *Client) Unpair(ctx context.Context, origin string) error {
	var left []gateway.Pairing
	return c.ask(ctx, http.MethodDelete, "/v1/pairings?origin="+url.QueryEscape(origin), &left)
}

// Remote is a download in the agent.
type Remote struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when result and err are set
	result agent.Result
	err    error

	mu   sync.Mutex
	last agent.Progress
}

// Download hands a download to the agent. ctx bounds its start only: Close ends
// it, unless it is complete, when the agent goes on sharing.
func (c *Client) Download(ctx context.Context, req agent.Request) (*Remote, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	//nolint:bodyclose // follow's goroutine closes it
	resp, err := c.do(own, http.MethodPost, "/v1/downloads", Request{
		URL: req.URL, File: req.File, Resume: req.Resume, Overwrite: req.Overwrite, From: req.From, Fresh: req.Fresh, Header: req.Header,
		Class: req.Class, FinishBy: req.FinishBy.Seconds(),
	})
	if !stop() && err == nil {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	r := &Remote{cancel: cancel, done: make(chan struct{}), last: agent.Progress{Size: -1}}
	go func() {
		defer close(r.done)
		defer resp.Body.Close()
		r.result, r.err = r.follow(resp.Body)
		if own.Err() != nil {
			r.err = fmt.Errorf("%s: %w", req.URL, agent.ErrInterrupted)
		}
	}()
	return r, nil
}

func (r *Remote) follow(body io.Reader) (agent.Result, error) {
	sc := bufio.NewScanner(body)
	for sc.Scan() {
		var e Event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return agent.Result{}, errorf("%w", err)
		}
		switch {
		case e.Error != nil:
			return agent.Result{}, e.Error
		case e.Result != nil:
			r.set(e.Result.progress())
			return e.Result.result(), nil
		case e.Progress != nil:
			r.set(e.Progress.progress())
		}
	}
	return agent.Result{}, errorf("the agent ended: %w; the download can be continued", errors.Join(agent.ErrInterrupted, sc.Err()))
}

func (r *Remote) set(p agent.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = p
}

// Progress is what the agent told last.
func (r *Remote) Progress() agent.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Wait returns how the download ended. When ctx ends first, it goes on.
func (r *Remote) Wait(ctx context.Context) (agent.Result, error) {
	select {
	case <-r.done:
		return r.result, r.err
	case <-ctx.Done():
		return agent.Result{}, fmt.Errorf("waiting for the agent: %w", agent.ErrInterrupted)
	}
}

// Close stops the download if it still runs.
func (r *Remote) Close() error {
	r.cancel()
	<-r.done
	return nil
}
