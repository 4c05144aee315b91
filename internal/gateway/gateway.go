package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/config"
	"github.com/tandem-cdn/tandem/internal/serving"
)

const (
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 64 << 10
	// closeWithin is how long the answers under way may take at the end.
	closeWithin = 3 * time.Second
	// idleFor is how long a connection may be without a request.
	idleFor = 2 * time.Minute
)

// Config is what a Gateway needs.
type Config struct {
	// Listen is a loopback address with a port, Data a directory of the gateway's own,
	// which is made. Quota is the most bytes of objects to keep there.
	Listen string
	Data   string
	Quota  int64
	// Policy says who is a publisher. It guards the connections of Engine, which the
	// gateway does not close.
	Policy *Policy
	Engine *agent.Engine
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Gateway serves programs on this machine.
type Gateway struct {
	log      *slog.Logger
	ln       net.Listener
	port     string
	policy   *Policy
	engine   *agent.Engine
	docs     documents    // of the engine
	http     *http.Client // for what is passed on
	pairings *Pairings
	objects  *objects
	streams  *streams
	traffic  traffic
	// variables are those of multivariant playlists.
	variables *variables
}

// traffic counts what the gateway gives, in bytes, but for the requests.
type traffic struct {
	requests, refused, active atomic.Int64
	passed, cached            atomic.Int64
}

// Traffic is what the gateway has done since the start. Sizes are in bytes.
type Traffic struct {
	URL       string `json:"url"`
	Requests  int64  `json:"requests"`
	Refused   int64  `json:"refused"`
	Active    int64  `json:"active"` // requests being answered
	FromPeers int64  `json:"from_peers"`
	FromEdge  int64  `json:"from_edge"`  // what was passed on, too
	FromCache int64  `json:"from_cache"` // given from what was kept
	Kept      int64  `json:"kept"`       // on the disk now
	Quota     int64  `json:"quota"`
}

// New listens, and shares again what earlier runs have kept once Run runs.
func New(ctx context.Context, cfg Config) (*Gateway, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := config.Loopback(cfg.Listen); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	client := cfg.Engine.Guarded()
	if client == nil {
		return nil, errors.New("gateway: the engine has no guard")
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("gateway: data directory: %w", err)
	}
	pairings, err := OpenPairings(filepath.Join(cfg.Data, "paired.json"))
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g := &Gateway{
		log: cfg.Logger, ln: ln, policy: cfg.Policy, engine: cfg.Engine, docs: cfg.Engine, http: client, pairings: pairings,
		streams: &streams{engine: cfg.Engine, open: map[string]*watched{}}, variables: newVariables(),
	}
	_, g.port, _ = net.SplitHostPort(g.Addr())
	if g.objects, err = openObjects(g, filepath.Join(cfg.Data, "objects"), cfg.Quota); err != nil {
		return nil, errors.Join(fmt.Errorf("gateway: %w", err), ln.Close())
	}
	return g, nil
}

// Close lets go of a gateway that was not run.
func (g *Gateway) Close() error { return errors.Join(g.ln.Close(), g.objects.close()) }

// Addr is where the gateway listens.
func (g *Gateway) Addr() string { return g.ln.Addr().String() }

// Pairings are the web pages that may use the gateway.
func (g *Gateway) Pairings() *Pairings { return g.pairings }

// Run serves until ctx ends, and lets go of what it keeps.
func (g *Gateway) Run(ctx context.Context) error {
	g.objects.restore(ctx)
	srv := &http.Server{
		Handler: g, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: idleFor, MaxHeaderBytes: maxHeader, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	watching, unwatch := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { g.streams.run(watching); close(watched) }()
	err := serving.Until(ctx, srv, g.ln, closeWithin)
	if err != nil {
		err = fmt.Errorf("gateway: %w", err)
	}
	unwatch()
	<-watched
	g.http.CloseIdleConnections()
	return errors.Join(err, g.objects.close())
}

// Traffic returns what the gateway has done.
func (g *Gateway) Traffic() Traffic {
	t := Traffic{
		URL: "http://" + g.Addr(), Requests: g.traffic.requests.Load(), Refused: g.traffic.refused.Load(), Active: g.traffic.active.Load(),
		FromEdge: g.traffic.passed.Load(), FromCache: g.traffic.cached.Load(),
	}
	edge, peers, kept, quota := g.objects.sums()
	of := g.streams.sums()
	t.FromEdge += edge + of.edge
	t.FromPeers, t.Kept, t.Quota = peers+of.peers, kept, quota
	return t
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	c, target, err := g.admit(r)
	if err != nil {
		g.fail(w, err)
		return
	}
	switch {
	case r.Method == http.MethodOptions:
		g.preflight(w, r, c)
		return
	case r.Method == http.MethodPost && target == pairPath:
		g.pair(w, r, c)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		g.fail(w, &refusal{http.StatusMethodNotAllowed, "only GET and HEAD"})
		return
	}
	c.allowPage(w.Header())
	u, err := parseTarget(target)
	if err != nil {
		g.fail(w, &refusal{http.StatusBadRequest, "this is the gateway of the agent on this machine: " + err.Error()})
		return
	}
	if err := g.check(r.Context(), u); err != nil {
		g.fail(w, &refusal{http.StatusForbidden, err.Error()})
		return
	}
	g.traffic.requests.Add(1)
	g.traffic.active.Add(1)
	defer g.traffic.active.Add(-1)
	x := &exchange{g: g, w: w, r: r, caller: c, url: u, header: outgoing(r, c.page)}
	x.own = personal(x.header)
	x.serve()
}

// check returns nil for a URL of a publisher. The gateway is none of its own.
func (g *Gateway) check(ctx context.Context, u *url.URL) error {
	if g.ours(hostport(u)) {
		return fmt.Errorf("%s: %w: it is the gateway itself", u.Host, ErrRefused)
	}
	return g.policy.check(ctx, u, g.docs)
}

// fail answers in one line.
func (g *Gateway) fail(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	var no *refusal
	if errors.As(err, &no) {
		status = no.status
		g.traffic.refused.Add(1)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, strings.ReplaceAll(err.Error(), "\n", "; "), status)
}
