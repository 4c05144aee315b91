package swarm

import (
	"crypto/ed25519"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Membership is what a node needs to take part in the swarm of one object.
type Membership struct {
	Object manifest.ObjectID
	Pieces Pieces
	// Grows says that further pieces come to be known: peers may name them before this
	// side knows them, and take back what they have announced. See [Swarm.Grown].
	Grows  bool
	Source Source
	// Grants is what grants must be for, and receipts are about: the stream that a
	// track is of. Zero is Object.
	Grants manifest.ObjectID
	// Grant returns the grant in force; it is shown to every peer.
	Grant func() string
	// Trusted are the keys whose grants are accepted from peers.
	Trusted []ed25519.PublicKey
	// Uploads says that requests are served.
	Uploads bool
	// Part returns which bytes of a piece to ask for, begin counted from its own
	// beginning; nil asks for whole pieces.
	Part func(piece int) (begin, n int64)
	// Handler is told of peers; nil for a seed.
	Handler Handler
}

// scope is what grants and receipts are for.
func (m *Membership) scope() manifest.ObjectID {
	if m.Grants == (manifest.ObjectID{}) {
		return m.Object
	}
	return m.Grants
}

// Swarm is this node's part in the swarm of one object.
type Swarm struct {
	node     *Node
	m        Membership
	uploaded atomic.Int64
	copies   *copies // nil where nothing is served
	credit   *credit

	mu     sync.Mutex
	peers  map[wire.Key]*Peer
	wanted map[wire.Key]uint8 // candidates to open this swarm on when their link comes, and how near they are
	left   bool
	made   []wire.Key // candidates linked to since Outcomes was asked
	failed []wire.Key // and such that could not be
}

// Join takes part in a swarm. It fails when the node already does.
func (n *Node) Join(m Membership) (*Swarm, error) {
	if m.Handler == nil {
		m.Handler = seed{}
	}
	s := &Swarm{node: n, m: m, peers: map[wire.Key]*Peer{}, wanted: map[wire.Key]uint8{}}
	if m.Uploads {
		s.copies = &copies{of: make([]int32, m.Pieces.NumPieces())}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.swarms[m.Object] != nil {
		return nil, fmt.Errorf("join swarm %s: already a member", m.Object)
	}
	n.swarms[m.Object] = s
	s.credit = n.credit[m.scope()]
	if s.credit == nil {
		s.credit = &credit{bytes: map[wire.Key]uint64{}}
		n.credit[m.scope()] = s.credit
	}
	for _, l := range n.links {
		if l.offers(m.Object) {
			n.group.Go(func() error { l.open(s); return nil })
		}
	}
	return s, nil
}

// Leave ends the membership: peers are told, the handler hears PeerClose of each.
func (s *Swarm) Leave() {
	s.node.mu.Lock()
	if s.node.swarms[s.m.Object] == s {
		delete(s.node.swarms, s.m.Object)
	}
	s.node.mu.Unlock()
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
	for _, l := range s.node.allLinks() {
		l.leave(s)
	}
}

// Connect seeks the candidates that control has named.
func (s *Swarm) Connect(candidates []wire.Candidate) {
	for _, c := range candidates {
		if c.Key == s.node.self {
			continue
		}
		var idle *Peer
		s.mu.Lock()
		p := s.peers[c.Key]
		skip := s.left || p != nil
		if !skip && len(s.peers) >= maxPeers {
			idle = s.makeRoom()
			skip = idle == nil
		}
		if !skip && len(s.wanted) < 4*maxPeers {
			s.wanted[c.Key] = c.Near
		}
		s.mu.Unlock()
		if idle != nil { // without the mutex: that of the node comes first
			s.node.start(func() { idle.link.leave(s) })
		}
		if p != nil {
			p.link.nearby(c.Near)
		}
		if !skip {
			s.node.connect(s, c)
		}
	}
}

// Renew shows every peer the grant in force.
func (s *Swarm) Renew() {
	for _, l := range s.node.allLinks() {
		l.renew(s)
	}
}

func (s *Swarm) hasLeft() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

// makeRoom forgets the peer that has neither sent nor been sent anything for
// longest, if that is long, so that newcomers find somebody, and returns it to be
// parted with; nil where there is none. The caller holds the mutex.
func (s *Swarm) makeRoom() *Peer {
	var idle *Peer
	for _, p := range s.peers {
		if idle == nil || p.active.Load() < idle.active.Load() {
			idle = p
		}
	}
	if time.Since(time.Unix(0, idle.active.Load())) < dullAfter {
		return nil
	}
	delete(s.peers, idle.Key()) // at once: several newcomers may come together
	return idle
}

// forget gives up a candidate that could not be reached.
func (s *Swarm) forget(key wire.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wanted, key)
}

// unreached is forget for one that was tried.
func (s *Swarm) unreached(key wire.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, wanted := s.wanted[key]; wanted {
		delete(s.wanted, key)
		note(&s.failed, key)
	}
}

func note(list *[]wire.Key, key wire.Key) {
	if len(*list) < wire.MaxOutcomes/2 {
		*list = append(*list, key)
	}
}

// Outcomes are the candidates that were linked to since it was last called, and
// those that could not be, for control to learn from: of each some, at most as
// many as fit one message.
func (s *Swarm) Outcomes() (made, failed []wire.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made, failed = s.made, s.failed
	s.made, s.failed = nil, nil
	return made, failed
}

// seeks reports whether a link with key should open this swarm at once.
func (s *Swarm) seeks(key wire.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, wanted := s.wanted[key]
	return wanted && !s.left
}

func (s *Swarm) openFrame(channel uint16) *wire.Open {
	return &wire.Open{Channel: channel, Object: s.m.Object, Uploads: s.m.Uploads, Uplink: s.node.Uplink(), Grant: []byte(s.m.Grant())}
}

// Announce tells every peer of a piece that has been verified.
func (s *Swarm) Announce(piece int) {
	s.mu.Lock()
	peers := s.all()
	s.mu.Unlock()
	for _, p := range peers {
		p.link.announce(p, piece)
	}
}

func (s *Swarm) all() []*Peer {
	peers := make([]*Peer, 0, len(s.peers))
	for _, p := range s.peers {
		peers = append(peers, p)
	}
	return peers
}

// Keys lists the peers of the swarm.
func (s *Swarm) Keys() []wire.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]wire.Key, 0, len(s.peers))
	for k := range s.peers {
		keys = append(keys, k)
	}
	return keys
}

// Uploaded is the object data sent to peers, in bytes.
func (s *Swarm) Uploaded() int64 { return s.uploaded.Load() }

// Receipts returns a signed receipt for every peer that has sent verified bytes.
func (s *Swarm) Receipts() []wire.PeerReceipt {
	s.credit.mu.Lock()
	defer s.credit.mu.Unlock()
	out := make([]wire.PeerReceipt, 0, len(s.credit.bytes))
	for key, n := range s.credit.bytes {
		out = append(out, wire.PeerReceipt{Uploader: key, Bytes: n, Signature: s.sign(key, n)})
	}
	return out
}

func (s *Swarm) sign(uploader wire.Key, n uint64) []byte {
	return ed25519.Sign(s.node.cfg.Key, wire.ReceiptBytes(s.m.scope(), uploader[:], s.node.self[:], n))
}

// receiptEvery is how many verified bytes from one peer make a receipt due.
const receiptEvery = 8 << 20

// Credit counts n verified bytes had from p and sends p a receipt when due.
func (s *Swarm) Credit(p *Peer, n int) {
	before, after := s.credit.add(p.Key(), n)
	s.node.uploads.had(p.link, n)
	if before/receiptEvery != after/receiptEvery {
		p.link.receipt(p, after, s.sign(p.Key(), after))
	}
}

func (s *Swarm) attach(p *Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[p.Key()] = p
	if near, wanted := s.wanted[p.Key()]; wanted {
		p.link.nearby(near)
		delete(s.wanted, p.Key())
		note(&s.made, p.Key())
	}
}

func (s *Swarm) detach(p *Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers[p.Key()] == p {
		delete(s.peers, p.Key())
	}
}

// seed is the handler of a member that wants nothing.
type seed struct{}

func (seed) PeerOpen(*Peer)                             {}
func (seed) PeerHave(*Peer, []int)                      {}
func (seed) PeerLost(*Peer, []int)                      {}
func (seed) PeerBytes(*Peer, int, int)                  {}
func (seed) PeerLate(*Peer, int)                        {}
func (seed) PeerPiece(*Peer, int, int64, []byte)        {}
func (seed) PeerReject(*Peer, int, bool, time.Duration) {}
func (seed) PeerClose(*Peer, error)                     {}
