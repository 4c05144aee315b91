package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/internal/keyfile"
	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/swarm"
	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Engine runs downloads and seeds. It takes part in swarms from the first
// download on that meets one, with one key and one pair of sockets.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	data   string
	temp   bool // data is to be removed at the end
	http   *http.Client
	dialer *dialer // of http; nil for one that is not the engine's own
	// guarded is the client of guarded downloads; nil without a guard.
	guarded *http.Client
	down    *downlink
	ledger  *ledger.Ledger
	hosts   *hosts
	echoes  chan string // STUN servers that control has named

	history *history

	ctx    context.Context
	cancel context.CancelFunc
	group  *errgroup.Group

	mu       sync.Mutex
	p2p      *p2p
	p2pErr   error
	controls map[string]*control
	streams  map[streamKey]*streaming

	openShows, guardedShows *presentations
}

// p2p is what an engine has once it takes part in swarms.
type p2p struct {
	key          ed25519.PrivateKey // of the session
	installation ed25519.PrivateKey
	endpoint     *transport.Endpoint
	node         *swarm.Node
	ports        ports
}

// New returns an engine. Close must be called in the end.
func New(cfg Config) (*Engine, error) {
	e := &Engine{cfg: cfg, log: cfg.Logger, data: cfg.Data, controls: map[string]*control{}, streams: map[streamKey]*streaming{}, echoes: make(chan string, 1)}
	e.openShows, e.guardedShows = newPresentations(), newPresentations()
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	for _, state := range cfg.UploadAlso {
		if !slices.Contains(States(), state) {
			return nil, fmt.Errorf("upload also: unknown state %.40q, want one of %q", state, States())
		}
	}
	if err := e.prepareData(); err != nil {
		return nil, err
	}
	var err error
	if e.http = cfg.HTTP; e.http == nil {
		e.dialer = newDialer()
		if e.http, err = newHTTPClient(cfg, e.dialer); err != nil {
			return nil, err
		}
	}
	if cfg.Guard != nil {
		if e.guarded, err = newGuarded(cfg); err != nil {
			return nil, err
		}
	}
	if e.ledger, err = ledger.Open(filepath.Join(e.data, "ledger"), e.log); err != nil {
		return nil, fmt.Errorf("ledger in %s: %w", e.data, err)
	}
	e.down = newDownlink(cfg, e.ledger)
	e.hosts = newHosts()
	e.history = openHistory(filepath.Join(e.data, "downloads.json"))
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.group, _ = errgroup.WithContext(e.ctx)
	e.group.Go(func() error { e.down.run(e.ctx); return nil })
	if (cfg.Upload || cfg.MapPorts) && cfg.Host != nil {
		e.group.Go(func() error { return cfg.Host.Run(e.ctx) })
	}
	return e, nil
}

func (e *Engine) prepareData() error {
	if e.data != "" {
		if err := os.MkdirAll(e.data, 0o700); err != nil {
			return fmt.Errorf("data directory: %w: %w", ErrDisk, err)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "tandem-")
	if err != nil {
		return fmt.Errorf("data directory: %w: %w", ErrDisk, err)
	}
	e.data, e.temp = dir, true
	return nil
}

// Close ends all downloads and seeds and waits for them. Reports that control
// has not acknowledged stay in the data directory for the next time.
func (e *Engine) Close() error {
	e.mu.Lock()
	controls := slices.Collect(maps.Values(e.controls))
	e.mu.Unlock()
	ctx, stop := context.WithTimeout(e.ctx, flushWithin)
	for _, c := range controls {
		c.s.Flush(ctx)
	}
	stop()
	e.mu.Lock() // whoever starts something now sees that the context has ended
	e.cancel()
	p := e.p2p
	e.mu.Unlock()
	var errs []error
	if p != nil {
		errs = append(errs, p.endpoint.Close())
	}
	errs = append(errs, e.group.Wait(), e.ledger.Close())
	e.http.CloseIdleConnections()
	if e.guarded != nil {
		e.guarded.CloseIdleConnections()
	}
	if e.temp {
		errs = append(errs, os.RemoveAll(e.data))
	}
	return errors.Join(errs...)
}

// start runs f in a goroutine that Close waits for. On an engine that has been
// closed, f meets a context that has ended.
func (e *Engine) start(f func()) {
	e.mu.Lock()
	open := e.ctx.Err() == nil
	if open {
		e.group.Go(func() error { f(); return nil })
	}
	e.mu.Unlock()
	if !open {
		f()
	}
}

// swarming returns what is needed to take part in swarms, made at the first use.
func (e *Engine) swarming() (*p2p, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil, ErrInterrupted
	}
	if e.p2p == nil && e.p2pErr == nil {
		e.p2p, e.p2pErr = e.newP2P()
	}
	return e.p2p, e.p2pErr
}

func (e *Engine) newP2P() (*p2p, error) {
	installation, _, err := keyfile.LoadOrCreate(filepath.Join(e.data, "installation.key"))
	if err != nil {
		return nil, fmt.Errorf("installation key: %w", err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("session key: %w", err)
	}
	endpoint, err := transport.Listen(transport.Config{
		Key: key, ListenTCP: e.cfg.ListenTCP, ListenUDP: e.cfg.ListenUDP, Logger: e.log,
	})
	if err != nil {
		return nil, err
	}
	pace := newPacer(e.down.polite)
	node := swarm.NewNode(e.ctx, swarm.Config{
		Key: key, Connector: connector{endpoint}, Agent: e.cfg.Agent, Pacer: pace, Down: e.down.links(),
		Uplink: float64(e.cfg.UploadLimit), Uploaded: e.ledger.Uploaded, Logger: e.log,
	})
	e.group.Go(node.Run)
	e.group.Go(func() error { pace.run(e.ctx, node, e.echoes); return nil })
	e.group.Go(func() error { e.allow(e.ctx, node, pace); return nil })
	return &p2p{key: key, installation: installation, endpoint: endpoint, node: node}, nil
}

// connector shows an Endpoint to package swarm.
type connector struct{ *transport.Endpoint }

func (c connector) Connect(ctx context.Context, peer wire.Candidate) (swarm.Conn, error) {
	conn, err := c.Endpoint.Connect(ctx, peer)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (c connector) Accept(ctx context.Context) (swarm.Conn, error) {
	conn, err := c.Endpoint.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// HTTP is the client that the engine uses for servers.
func (e *Engine) HTTP() *http.Client { return e.http }
