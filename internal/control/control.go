package control

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/geo"
	"github.com/tandem-cdn/tandem/internal/keyfile"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Control is one control node. [New] opens it, [Control.Handler] serves clients
// while [Control.Run] runs, [Control.Close] releases it after Run has returned.
type Control struct {
	cfg       Config
	log       *slog.Logger
	key       grantKey
	geo       *geo.DB
	dir       *directory.Directory
	reports   *reportDB
	stun      *stunService
	stunAddrs []string
	started   time.Time

	counters counters
	sites    sites
	learned  learned
	blames   blames

	// stopping ends when control shuts down.
	stopping context.Context
	stop     context.CancelFunc

	mu       sync.Mutex
	sessions map[wire.Key]*session
	entered  int            // connections that are sessions or on the way to be
	open     sync.WaitGroup // the same
	drained  bool           // the queue of reports is closed
}

type grantKey struct {
	private ed25519.PrivateKey
	public  wire.Key
}

// Reasons for refusing a session.
var (
	errStopping = errors.New("control is stopping")
	errFull     = errors.New("control is full")
)

// New opens the database and the STUN sockets. Where a server for HTTP/3 wants
// the UDP port of cfg.Listen, it must have it before.
func New(cfg Config) (*Control, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if cfg.Key == nil {
		if cfg.Key, _, err = keyfile.LoadOrCreate(filepath.Join(cfg.Data, "control.key")); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
	}
	c := &Control{
		cfg: cfg, log: cfg.Logger, dir: directory.New(rand.Uint64()), started: cfg.Now(),
		key:      grantKey{cfg.Key, wire.KeyOf(cfg.Key.Public().(ed25519.PublicKey))},
		sessions: map[wire.Key]*session{},
		sites:    sites{m: map[netip.Prefix]*site{}},
		learned:  learned{m: map[wire.Key]map[netip.Prefix]time.Time{}},
		blames:   blames{m: map[pair]*fault{}, bad: map[wire.Key]time.Time{}},
	}
	c.stopping, c.stop = context.WithCancel(context.Background())
	if err := c.openParts(); err != nil {
		return nil, errors.Join(fmt.Errorf("control: %w", err), c.Close())
	}
	return c, nil
}

func (c *Control) openParts() (err error) {
	if c.geo, err = geo.Open(c.cfg.CountryDB, c.cfg.ASNDB); err != nil {
		return err
	}
	if c.reports, err = openReports(c.cfg.Data, c.log); err != nil {
		return err
	}
	if c.stun, err = listenSTUN(c.cfg); err != nil {
		return err
	}
	c.stunAddrs = c.cfg.AdvertiseSTUN
	if c.stunAddrs == nil {
		c.stunAddrs = c.stun.advertise()
	}
	return nil
}

// Run serves STUN, writes reports and expires what is old until ctx ends; then
// it closes the sessions, whose clients come back when control does, writes the
// reports it has taken, and returns nil. It runs once.
func (c *Control) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, conn := range c.stun.conns {
		wg.Go(func() { c.stun.serve(ctx, conn) })
	}
	wg.Go(c.reports.run)
	c.sweep(ctx)
	c.drain()
	wg.Wait()
	return nil
}

// sweep expires soft state until ctx ends.
func (c *Control) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	divide := time.NewTicker(divideEvery)
	defer divide.Stop()
	var pruned time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-divide.C:
			c.redivide()
			continue
		case <-tick.C:
		}
		now := c.cfg.Now()
		c.expire(now)
		if now.Sub(pruned) < 24*time.Hour {
			continue
		}
		pruned = now
		if err := c.reports.prune(ctx, now.Add(-reportKeep)); err != nil && ctx.Err() == nil {
			c.log.Error("old reports not pruned", "error", err)
		}
	}
}

// redivide tells the members of swarms that have grown or shrunk what each is to
// fetch from the edge now.
func (c *Control) redivide() {
	type notice struct {
		to *directory.Peer
		wire.Peers
	}
	var notices []notice
	c.dir.Redivide(func(s directory.Scope, p *directory.Peer, duty wire.Duty) {
		notices = append(notices, notice{p, wire.Peers{Object: s.Object, Peers: []wire.Candidate{}, Duty: &duty}})
	})
	for _, n := range notices {
		if s := c.sessionOf(n.to); s != nil {
			s.send(wire.Message{Type: wire.MsgPeers, Peers: &n.Peers})
		}
	}
}

// expire drops soft state that has run out by now.
func (c *Control) expire(now time.Time) {
	c.counters.expired.Add(int64(c.dir.Expire(now)))
	c.sites.sweep(now)
	c.learned.sweep(now)
	released := c.blames.sweep(now)
	if len(released) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		for _, k := range released {
			if s.installation == k {
				s.peer.Blame(0)
			}
		}
	}
}

// drain ends all sessions, waits for them and lets the report writer finish.
func (c *Control) drain() {
	c.mu.Lock()
	c.stop()
	c.mu.Unlock()
	c.open.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.drained && c.reports != nil {
		c.drained = true
		close(c.reports.queue)
	}
}

// Close ends the sessions and releases files and sockets. Run, if it was called,
// must have returned.
func (c *Control) Close() error {
	c.drain()
	var errs []error
	if c.stun != nil {
		errs = append(errs, c.stun.close())
	}
	if c.reports != nil {
		errs = append(errs, c.reports.close())
	}
	if c.geo != nil {
		errs = append(errs, c.geo.Close())
	}
	return errors.Join(errs...)
}

// enter admits a connection that wants to be a session; leave must be called at
// its end.
func (c *Control) enter(ip netip.Addr) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopping.Err() != nil:
		return nil, errStopping
	case c.entered >= c.cfg.MaxSessions:
		return nil, errFull
	}
	if err := c.sites.enter(ip, c.cfg.Now()); err != nil {
		return nil, err
	}
	c.entered++
	c.open.Add(1)
	return func() {
		c.sites.leave(ip, c.cfg.Now())
		c.mu.Lock()
		c.entered--
		c.mu.Unlock()
		c.open.Done()
	}, nil
}

// register makes a session known to others, in the place of an earlier one with
// the same key: a client that reconnects before control saw it go.
func (c *Control) register(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.sessions[s.peer.Key]; old != nil {
		old.end(closeReplaced, "logged in again")
	}
	c.sessions[s.peer.Key] = s
}

func (c *Control) unregister(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[s.peer.Key] == s {
		delete(c.sessions, s.peer.Key)
	}
}

// sessionFor finds the session of a key, sessionOf that of a peer.
func (c *Control) sessionFor(k wire.Key) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[k]
}

func (c *Control) sessionOf(p *directory.Peer) *session {
	if s := c.sessionFor(p.Key); s != nil && s.peer == p {
		return s
	}
	return nil
}

// memberTTL outlives a refresh that comes late or gets lost once.
func (c *Control) memberTTL() time.Duration { return c.cfg.Refresh * 5 / 2 }
