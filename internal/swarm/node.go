package swarm

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Limits of a node.
const (
	// maxLinks is the most links a node keeps.
	maxLinks = 200
	// maxPeers is the most peers a swarm seeks; more may come by themselves.
	maxPeers = 40
	// dullAfter is how long a peer must have sent and asked for nothing to make
	// room for another.
	dullAfter = time.Minute
	// connectWithin bounds one attempt to reach a candidate.
	connectWithin = 8 * time.Second
	// maxDials is the most candidates that are tried at a time.
	maxDials = 128
	// maxBans bounds the memory of peers that are not dealt with any more.
	maxBans = 4096
)

// Config is what a Node needs.
type Config struct {
	Key       ed25519.PrivateKey // of the session
	Connector Connector
	Agent     string // name in HELLO
	// Pacer holds back what is sent; nil is nobody.
	Pacer Pacer
	// Uplink is the uplink in bytes per second where it is set; 0: it is measured.
	Uplink float64
	// Down holds back object data that is received; nil is nobody.
	Down Limiter
	// Uploaded, if set, is told of object data sent to peers, in bytes; of a track it
	// is counted for the stream.
	Uploaded func(object manifest.ObjectID, n int)
	Logger   *slog.Logger
}

// Limiter holds back what is received.
type Limiter interface {
	// Step is how much of n bytes to read at once, of a peer on a network of this
	// machine's own where local says so. Wait waits until they may come.
	Step(n int, local bool) int
	Wait(ctx context.Context, n int, local bool) error
}

// Node holds the links of this process.
type Node struct {
	cfg     Config
	self    wire.Key
	log     *slog.Logger
	uploads *uploads
	uplink  atomic.Uint32 // as peers are told
	used    usage
	made    atomic.Int64 // links, ever
	paused  atomic.Bool

	group *errgroup.Group
	ctx   context.Context

	mu      sync.Mutex
	links   map[wire.Key]*link
	swarms  map[manifest.ObjectID]*Swarm
	dialing map[wire.Key]bool
	banned  map[wire.Key]string
	// credit counts verified bytes by object or stream, and uploader, for the life of
	// the session key, since receipts state them in all.
	credit map[manifest.ObjectID]*credit
	closed bool
}

// NewNode returns a node without links. Run must be called for it to work.
func NewNode(ctx context.Context, cfg Config) *Node {
	n := &Node{
		cfg: cfg, self: wire.KeyOf(cfg.Key.Public().(ed25519.PublicKey)), log: cfg.Logger,
		uploads: newUploads(cfg.Pacer, cfg.Uplink),
		links:   map[wire.Key]*link{}, swarms: map[manifest.ObjectID]*Swarm{},
		dialing: map[wire.Key]bool{}, banned: map[wire.Key]string{},
		credit: map[manifest.ObjectID]*credit{},
	}
	n.group, n.ctx = errgroup.WithContext(ctx)
	n.Measure()
	return n
}

// Key is the session key of this node.
func (n *Node) Key() wire.Key { return n.self }

// Run accepts links until the context of NewNode ends, then waits for all of
// them to end.
func (n *Node) Run() error {
	for {
		conn, err := n.cfg.Connector.Accept(n.ctx)
		if err != nil {
			n.mu.Lock()
			n.closed = true
			n.mu.Unlock()
			_ = n.group.Wait() // links log their own ends
			if n.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept links: %w", err)
		}
		n.start(func() { n.serve(conn) })
	}
}

// start runs f in a goroutine that Run waits for, unless the node is closing.
func (n *Node) start(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && n.ctx.Err() == nil {
		n.group.Go(func() error { f(); return nil })
	}
}

// serve runs one link from its HELLO to its end.
func (n *Node) serve(conn Conn) {
	l := newLink(n, conn)
	defer conn.Close()
	err := l.hello()
	if err == nil {
		err = n.admit(l)
	}
	n.mu.Lock()
	delete(n.dialing, l.key) // held until here, so that nobody dials a second time
	n.mu.Unlock()
	if err != nil {
		n.log.Debug("link refused", "peer", l.key.Short(), "error", err)
		return
	}
	err = l.run(n.ctx)
	n.mu.Lock()
	if n.links[l.key] == l {
		delete(n.links, l.key)
	}
	n.mu.Unlock()
	l.detachAll(err)
	var told *misconduct // by Peer.Drop, with a better reason
	if errors.Is(err, errProtocol) && !errors.As(err, &told) {
		n.log.Warn("peer dropped", "peer", l.key.Short(), "reason", BrokeProtocol, "error", err)
		n.ban(l.key, BrokeProtocol)
		return
	}
	n.log.Debug("link ended", "peer", l.key.Short(), "error", err)
}

func (n *Node) admit(l *link) error {
	n.mu.Lock()
	old := n.links[l.key]
	reason, banned := n.banned[l.key]
	full := len(n.links) >= maxLinks && old == nil
	if !banned && !full {
		n.links[l.key] = l
	}
	var open []*Swarm
	for _, s := range n.swarms {
		if s.seeks(l.key) {
			open = append(open, s)
		}
	}
	n.mu.Unlock()
	if banned {
		return fmt.Errorf("peer is banned: %s", reason)
	}
	if full {
		return fmt.Errorf("%d links are the limit", maxLinks)
	}
	if old != nil {
		old.close(errReplaced)
	}
	for _, s := range open {
		l.open(s)
	}
	return nil
}

// ban ends the dealings with a peer for the life of the node. It reports whether the
// peer was not banned before.
func (n *Node) ban(key wire.Key, reason string) bool {
	n.mu.Lock()
	_, known := n.banned[key]
	if !known && len(n.banned) < maxBans {
		n.banned[key] = reason
	}
	l := n.links[key]
	n.mu.Unlock()
	if l != nil {
		l.close(&misconduct{reason})
	}
	return !known
}

func (n *Node) allLinks() []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.links))
}

// Links is the number of links.
func (n *Node) Links() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// Pause has requests of peers refused from now on, those that wait as well, or served
// again. It reports whether that is a change.
func (n *Node) Pause(paused bool) bool {
	changed := n.paused.Swap(paused) != paused
	if paused {
		for _, l := range n.allLinks() {
			l.refuseAll()
		}
	}
	return changed
}

// Paused reports whether requests are refused.
func (n *Node) Paused() bool { return n.paused.Load() }

// Path is a link over which something was sent.
type Path struct {
	Link       int64 // its number; none is used twice
	RTT        time.Duration
	Sent, Lost int64 // packets; see [Conn]
}

// Paths are the links over which pieces were sent since the last call, without those
// to peers on networks of this machine's own.
func (n *Node) Paths() []Path {
	var paths []Path
	for _, l := range n.allLinks() {
		if l.uploaded.Swap(false) && !l.local {
			sent, lost := l.conn.Packets()
			paths = append(paths, Path{Link: l.number, RTT: l.conn.RTT(), Sent: sent, Lost: lost})
		}
	}
	return paths
}

// connect makes a link to the candidate unless there is one.
func (n *Node) connect(s *Swarm, c wire.Candidate) {
	n.mu.Lock()
	l := n.links[c.Key]
	_, banned := n.banned[c.Key]
	linked := l != nil && !l.closing()
	busy := n.dialing[c.Key]
	dial := !linked && !banned && !busy && len(n.dialing) < maxDials
	if dial {
		n.dialing[c.Key] = true
	}
	n.mu.Unlock()
	switch {
	case linked:
		n.start(func() { l.open(s) })
	case dial:
		n.start(func() { n.dial(c) })
	case !busy:
		s.forget(c.Key)
	}
}

// dial reaches a candidate and runs the link with it. The swarms that want it
// are opened when the link is admitted.
func (n *Node) dial(c wire.Candidate) {
	ctx, cancel := context.WithTimeout(n.ctx, connectWithin)
	conn, err := n.cfg.Connector.Connect(ctx, c)
	cancel()
	if err == nil {
		n.serve(conn)
		return
	}
	n.log.Debug("peer not reached", "peer", c.Key.Short(), "error", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.dialing, c.Key)
	for _, s := range n.swarms {
		if n.links[c.Key] == nil { // the other side may have come meanwhile
			s.unreached(c.Key)
		}
	}
}
