// Package tandem downloads from a web server and from other people who download
// the same, together. A server that runs a Tandem edge, or whose files were
// published with `tandem publish`, is recognised by its answers; from any other
// server this package is an ordinary, careful HTTP client.
//
// [Client.Get] writes a file. [Client.Open] reads and seeks while the object
// arrives. [Client.OpenStream] plays HLS and DASH. [Client.Transport] is an [http.RoundTripper], to give an existing
// program to. All of them verify every byte of objects that have a manifest
// before anyone sees it, never take longer than the server alone would, and
// share what they hold only when [Config.Upload] says so.
//
// A Client keeps connections to peers and serves what it has fetched until it is
// closed: make one and keep it.
package tandem

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/hoststate"
)

// Errors by cause; those of this package wrap one of them. Test with [errors.Is].
var (
	ErrURL         = agent.ErrURL         // not an http or https URL
	ErrNotFound    = agent.ErrNotFound    // the server answers 404 or 410
	ErrDenied      = agent.ErrDenied      // the server answers 401 or 403
	ErrServer      = agent.ErrServer      // the server answers with another error
	ErrNetwork     = agent.ErrNetwork     // the server cannot be reached, or went away for long
	ErrTLS         = agent.ErrTLS         // the server's certificate is not good
	ErrVerify      = agent.ErrVerify      // bytes, manifest or signature do not agree
	ErrChanged     = agent.ErrChanged     // the object kept changing on the server
	ErrExists      = agent.ErrExists      // the file exists
	ErrDisk        = agent.ErrDisk        // the file cannot be written
	ErrInterrupted = agent.ErrInterrupted // the context ended, or the client was closed
)

// Config is what a Client may be told. The zero value downloads and does not
// share.
type Config struct {
	// Data is the directory of the client's own state: the installation's key,
	// reports on their way, temporary files. The default is a temporary one.
	Data string
	// Upload lets other people's clients fetch what this one holds. Ask the user.
	Upload bool
	// UploadLimit and DownloadLimit are in bytes per second; 0 is no limit.
	UploadLimit, DownloadLimit int64
	// UploadAlso are states of the machine in which uploads go on where they rest
	// otherwise: "battery", "metered" (a link that is paid for by the byte), "vpn".
	UploadAlso []string
	// NoP2P fetches everything from servers.
	NoP2P bool
	// HTTP is used for servers; the default suits bulk data.
	HTTP *http.Client
	// Agent names the program to servers and peers, in printable ASCII.
	Agent string
	// Logger receives what happens; the default is to discard it.
	Logger *slog.Logger
}

// Client downloads. It is safe for concurrent use.
type Client struct {
	engine *agent.Engine

	mu      sync.Mutex
	kept    []*agent.Download // finished, shared until Close
	streams map[*Stream]bool  // open
	closed  bool
}

// New returns a client. Close must be called in the end.
func New(cfg Config) (*Client, error) {
	e, err := agent.New(agent.Config{
		Host: hoststate.New(cfg.Logger), UploadAlso: cfg.UploadAlso,
		Data: cfg.Data, Upload: cfg.Upload, UploadLimit: cfg.UploadLimit, DownloadLimit: cfg.DownloadLimit,
		NoP2P: cfg.NoP2P, HTTP: cfg.HTTP, Agent: cfg.Agent, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Client{engine: e, streams: map[*Stream]bool{}}, nil
}

// Close ends everything the client does and waits for it. Unfinished files stay
// resumable.
func (c *Client) Close() error {
	c.mu.Lock()
	kept, streams := c.kept, c.streams
	c.kept, c.streams, c.closed = nil, nil, true
	c.mu.Unlock()
	var errs []error
	for s := range streams {
		errs = append(errs, s.s.Close())
	}
	for _, d := range kept {
		errs = append(errs, d.Close())
	}
	return errors.Join(append(errs, c.engine.Close())...)
}

// GetOptions are the ways of [Client.Get]. The zero value starts from the
// beginning and does not overwrite.
type GetOptions struct {
	// Resume goes on with what an interrupted Get of the same URL has left.
	Resume bool
	// Overwrite replaces an existing file, when the new one is whole.
	Overwrite bool
	// From are files that may hold an older version: what has not changed is copied
	// from there and verified, and only the rest is fetched. A file that is replaced
	// is one of them, and what earlier Gets of the URL have left, of earlier clients
	// with the same Config.Data, too.
	From []string
	// Header is sent with every request to the server.
	Header http.Header
	// Progress, if set, is called about five times a second.
	Progress func(Progress)
}

// Progress is a download at one moment. Sizes are in bytes.
type Progress struct {
	Size      int64 // −1 while not known
	Done      int64
	FromEdge  int64
	FromPeers int64
	FromOld   int64 // had in older versions
	Peers     int   // connected now
	Rate      int64 // per second
}

// Result is a finished download. Sizes are in bytes.
type Result struct {
	Size      int64
	FromEdge  int64
	FromPeers int64
	FromOld   int64 // had in older versions
	Wasted    int64 // received and not needed, or not right
	Peers     int   // that sent something
	Elapsed   time.Duration
	SHA256    [32]byte
}

const progressEvery = 200 * time.Millisecond

// Get downloads url to file, which appears when it is whole and verified. The
// file is shared until the client is closed, if it shares at all.
func (c *Client) Get(ctx context.Context, url, file string, o *GetOptions) (Result, error) {
	if o == nil {
		o = &GetOptions{}
	}
	d, err := c.engine.Download(ctx, agent.Request{
		URL: url, File: file, Resume: o.Resume, Overwrite: o.Overwrite, From: o.From, Header: o.Header,
	})
	if err != nil {
		return Result{}, err
	}
	r, err := wait(ctx, d, o.Progress)
	if err != nil {
		return Result{}, errors.Join(err, d.Close())
	}
	c.keep(d)
	return Result{
		Size: r.Size, FromEdge: r.FromEdge, FromPeers: r.FromPeers, FromOld: r.FromOld, Wasted: r.Wasted, Peers: r.Peers,
		Elapsed: r.Elapsed, SHA256: r.SHA256,
	}, nil
}

func wait(ctx context.Context, d *agent.Download, report func(Progress)) (agent.Result, error) {
	if report == nil {
		return d.Wait(ctx)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	watched, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
				p := d.Progress()
				report(Progress{Size: p.Size, Done: p.Done, FromEdge: p.FromEdge, FromPeers: p.FromPeers, FromOld: p.FromOld, Peers: p.Peers, Rate: p.Rate})
			}
		}
	})
	return d.Wait(ctx)
}

// keep goes on sharing a finished download until Close.
func (c *Client) keep(d *agent.Download) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.kept = append(c.kept, d)
	}
	c.mu.Unlock()
	if closed {
		_ = d.Close() // the client is gone, and with it what could be told
	}
}

// Open begins to download url and returns it as a file that can be read and
// sought in at once. What is near the reading position comes first, up to 64 MiB
// ahead of it, and next to nothing before the first Read. ctx bounds the whole
// life of the Object.
func (c *Client) Open(ctx context.Context, url string) (*Object, error) {
	return c.open(ctx, agent.Request{URL: url})
}

func (c *Client) open(ctx context.Context, r agent.Request) (*Object, error) {
	r.Sequential = true
	d, err := c.engine.Download(ctx, r)
	if err != nil {
		return nil, err
	}
	o := &Object{ctx: ctx, d: d}
	if o.ordinary, err = d.Ordinary(ctx); err == nil {
		o.size, err = d.Size(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	o.stop = context.AfterFunc(ctx, func() { _ = d.Close() }) // Object.Close tells
	return o, nil
}

var _ io.ReadSeekCloser = (*Object)(nil)

// isStatus reports whether err is an answer of the server.
func isStatus(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrDenied) || errors.Is(err, ErrServer)
}
