package swarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/upload"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// writeWithin bounds one write to a peer, byeWithin one to a link that ends.
	writeWithin = 30 * time.Second
	byeWithin   = time.Second
	// readAhead is what is read beyond a frame: of a piece the rest is read to where it
	// belongs, without a copy between.
	readAhead = 4 << 10
	// idleAfter is when a link without a peer in any swarm ends, at the latest
	// twice that: links are few, and whoever comes first must not keep them all.
	idleAfter = 30 * time.Second
)

// link is one connection to a peer with the swarms that are open on it.
type link struct {
	node     *Node
	conn     Conn
	key      wire.Key
	r        *bufio.Reader
	wake     chan struct{} // the writer has something to do
	data     int           // how much of a piece the next frame takes, the writer's
	expected time.Time     // when the reader last set its deadline

	// calls is held while peers come, go and are heard of, so that a handler
	// hears PeerOpen first, PeerClose last and one thing at a time. It is taken
	// before mu, and never by what a handler may call.
	calls lock
	// handing is held while a whole piece is with its handler. It is taken under
	// calls, but what holds it does not need calls.
	handing lock

	mu       sync.Mutex
	err      error // why the link ends
	control  []byte
	peers    map[uint16]*Peer            // by their channel
	opened   map[manifest.ObjectID]*mine // swarms opened by this side
	offered  map[uint16]*wire.Open       // swarms opened by the other side
	channels uint16                      // last channel used
	ended    bool
	asked
	// refused is how many requests of the other side were refused as busy until
	// busyUntil, when it may repeat the first of them.
	refused   int
	busyUntil time.Time
	asks      upload.Requester // the other side's requests, under node.uploads.mu
	near      atomic.Uint32    // how near the other side is, as control says
	number    int64            // among the links of the node, from 1
	local     bool             // the other side is on a network of this machine's own
	uploaded  atomic.Bool      // something was sent since [Node.Paths] was asked
}

// lock is a mutex that is held for long: while handlers work.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// mine is a swarm that this side has opened.
type mine struct {
	swarm   *Swarm
	channel uint16
	peer    *Peer // nil until the other side has opened it too
}

func newLink(n *Node, conn Conn) *link {
	l := &link{
		node: n, conn: conn, key: conn.Peer(), r: bufio.NewReaderSize(conn, readAhead),
		wake: make(chan struct{}, 1), calls: make(lock, 1), handing: make(lock, 1),
		peers: map[uint16]*Peer{}, opened: map[manifest.ObjectID]*mine{},
		offered: map[uint16]*wire.Open{},
		asked:   newAsked(),
		number:  n.made.Add(1), local: conn.Local(),
	}
	l.asks.Owner = l
	l.data = leastData
	return l
}

// hello exchanges HELLO.
func (l *link) hello() error {
	deadline := time.Now().Add(wire.HelloWithin)
	_ = l.conn.SetReadDeadline(deadline) // a dead connection shows in Read and Write
	_ = l.conn.SetWriteDeadline(deadline)
	h := wire.Hello{Version: wire.Version, Agent: l.node.cfg.Agent}
	if _, err := l.conn.Write(h.Append(nil)); err != nil {
		return fmt.Errorf("hello to %s: %w", l.key.Short(), err)
	}
	t, body, err := l.frame()
	if err != nil {
		return fmt.Errorf("hello from %s: %w", l.key.Short(), err)
	}
	f, err := wire.Parse(t, body)
	if err != nil {
		return fmt.Errorf("hello from %s: %w", l.key.Short(), err)
	}
	if f, ok := f.(*wire.Hello); !ok || f.Version < 1 {
		return fmt.Errorf("hello from %s: %w: begins with %v", l.key.Short(), errProtocol, t)
	}
	return nil
}

// frame reads one frame that is not a PIECE, whole.
func (l *link) frame() (wire.Type, []byte, error) {
	t, n, err := l.header()
	if err != nil {
		return 0, nil, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(l.r, body); err != nil {
		return 0, nil, fmt.Errorf("%v: %w", t, err)
	}
	return t, body, nil
}

func (l *link) header() (wire.Type, int, error) {
	var h [wire.HeaderSize]byte
	if _, err := io.ReadFull(l.r, h[:]); err != nil {
		return 0, 0, err
	}
	t, n, err := wire.ParseHeader(h[:])
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return t, n, nil
}

// run reads and writes until the link ends and returns why.
func (l *link) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.readLoop(ctx) })
	g.Go(func() error { return l.writeLoop(ctx) })
	g.Go(func() error { l.refuseLoop(ctx); return nil })
	g.Go(func() error {
		l.watch(ctx)
		_ = l.conn.SetReadDeadline(time.Now()) // wakes the reader
		_ = l.conn.SetWriteDeadline(time.Now().Add(byeWithin))
		return nil
	})
	err := g.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	return err
}

// watch ends the link when it has been idle for long, and returns when ctx ends.
func (l *link) watch(ctx context.Context) {
	tick := time.NewTicker(idleAfter)
	defer tick.Stop()
	for idle := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		none := len(l.peers) == 0
		l.mu.Unlock()
		if none && idle {
			l.close(errIdle)
		}
		idle = none
	}
}

// close makes run return err.
func (l *link) close(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	l.mu.Unlock()
	l.signal()
	_ = l.conn.SetReadDeadline(time.Now())
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// send queues a frame, unless so much waits that the peer cannot be reading, which a
// bad line may be the reason for. The caller holds the mutex.
func (l *link) send(f wire.Frame) {
	if len(l.control) > maxControl {
		if l.err == nil {
			l.err = errDeaf
		}
		return
	}
	l.control = f.Append(l.control)
	l.signal()
}

// offers reports whether the other side has opened the swarm.
func (l *link) offers(object manifest.ObjectID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.offered {
		if o.Object == object {
			return true
		}
	}
	return false
}

// open opens s on the link, unless it is, and admits the other side when it has
// opened s too.
func (l *link) open(s *Swarm) {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.openHeld(s)
}

// openHeld is open for a caller that holds calls.
func (l *link) openHeld(s *Swarm) {
	l.mu.Lock()
	m := l.opened[s.m.Object]
	if l.ended || len(l.opened) >= wire.MaxChannels || m != nil && m.swarm == s || s.hasLeft() {
		l.mu.Unlock()
		return
	}
	l.channels++
	m = &mine{swarm: s, channel: l.channels}
	l.opened[s.m.Object] = m
	l.send(s.openFrame(m.channel))
	l.send(&wire.Bitfield{Channel: m.channel, Bits: s.m.Source.Have().Bytes()})
	var offer *wire.Open
	for _, o := range l.offered {
		if o.Object == s.m.Object {
			offer = o
		}
	}
	l.mu.Unlock()
	if offer != nil {
		l.admit(m, offer)
	}
}

// admit makes a peer of the other side in a swarm that both have opened, or
// renews its grant. The caller holds calls.
func (l *link) admit(m *mine, o *wire.Open) {
	s := m.swarm
	c, err := grant.Parse(string(o.Grant), time.Now())
	if err == nil {
		err = c.Check(s.m.scope(), l.key, s.m.Trusted)
	}
	if err != nil {
		l.node.log.Info("peer refused", "peer", l.key.Short(), "object", s.m.Object.String()[:16], "error", err)
		l.leaveHeld(s, wire.CloseRefused, err)
		return
	}
	l.mu.Lock()
	if l.ended || m.peer != nil {
		if m.peer != nil {
			m.peer.expires = c.Expires
			m.peer.uplink.Store(o.Uplink)
		}
		l.mu.Unlock()
		return
	}
	p := &Peer{
		link: l, swarm: s, mine: m.channel, theirs: o.Channel, uploads: o.Uploads,
		expires: c.Expires, known: s.m.Pieces.NumPieces(),
	}
	p.have = manifest.NewBitfield(p.known)
	p.active.Store(time.Now().UnixNano())
	p.uplink.Store(o.Uplink)
	m.peer = p
	l.peers[o.Channel] = p
	l.mu.Unlock()
	s.attach(p)
	s.m.Handler.PeerOpen(p)
	// Attached before the set is read: what is verified meanwhile is announced
	// twice rather than never.
	l.mu.Lock()
	l.send(&wire.Bitfield{Channel: m.channel, Bits: s.m.Source.Have().Bytes()})
	l.mu.Unlock()
}

// leave ends this side's part in a swarm, and with the last one the link.
func (l *link) leave(s *Swarm) {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.leaveHeld(s, wire.CloseDone, errLeft)
	l.mu.Lock()
	last := len(l.opened) == 0
	l.mu.Unlock()
	if last {
		l.close(errIdle)
	}
}

// leaveHeld closes a swarm that this side has opened. The caller holds calls.
func (l *link) leaveHeld(s *Swarm, reason wire.CloseReason, err error) {
	l.mu.Lock()
	m := l.opened[s.m.Object]
	if m == nil || m.swarm != s {
		l.mu.Unlock()
		return
	}
	delete(l.opened, s.m.Object)
	l.send(&wire.Close{Channel: m.channel, Reason: reason})
	p := m.peer
	gone := p != nil && l.drop(p)
	l.mu.Unlock()
	if gone {
		l.told(p, err)
	}
}

// told tells the swarm that a peer is gone, once its last piece has been handed over.
// The caller holds calls.
func (l *link) told(p *Peer, err error) {
	l.handing.Lock()
	defer l.handing.Unlock()
	p.swarm.detach(p)
	p.swarm.m.Handler.PeerClose(p, err)
}

// drop forgets a peer with its requests; the caller holds the mutex.
func (l *link) drop(p *Peer) bool {
	if l.peers[p.theirs] != p {
		return false
	}
	delete(l.peers, p.theirs)
	if m := l.opened[p.swarm.m.Object]; m != nil && m.peer == p {
		m.peer = nil
	}
	l.forgetAll(p)
	match := func(q *upload.Request) bool { return q.Channel == p.theirs }
	if len(l.peers) == 0 {
		match = nil // nor is the link expected to ask again
	}
	l.node.uploads.drop(l, match)
	p.swarm.count(piecesOf(p.have), -1)
	return true
}

// detachAll tells every swarm on the link that its peer is gone.
func (l *link) detachAll(err error) {
	if err == nil {
		err = errBye
	}
	l.calls.Lock()
	defer l.calls.Unlock()
	l.mu.Lock()
	l.ended = true
	var gone []*Peer
	for _, p := range l.peers {
		if l.drop(p) {
			gone = append(gone, p)
		}
	}
	l.mu.Unlock()
	l.node.uploads.drop(l, nil)
	for _, p := range gone {
		l.told(p, err)
	}
}

// nearby records how near the other side is.
func (l *link) nearby(near uint8) {
	l.near.Store(uint32(near))
	l.node.uploads.near(l, near)
}

func (l *link) announce(p *Peer, piece int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.have.Has(piece) {
		p.haves = append(p.haves, uint32(piece))
		l.signal()
	}
}

// renew shows the grant in force, where the swarm is open.
func (l *link) renew(s *Swarm) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.opened[s.m.Object]; m != nil && m.swarm == s {
		l.send(s.openFrame(m.channel))
	}
}

func (l *link) receipt(p *Peer, n uint64, sig []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send(&wire.Receipt{Channel: p.mine, Bytes: n, Signature: sig})
}

var errClosing = errors.New("link is closing")
