// Package swarm speaks the peer protocol (docs/PROTOCOL.md) on links: it opens
// swarms on them, keeps what each peer has, requests pieces and serves them.
//
// A [Node] holds one link per peer; a [Swarm] is one object's membership, shown
// to each of its peers as a channel of their link. What to ask of whom is not
// decided here: package fetch does, through [Handler] and [Peer].
//
// Every link has two goroutines. The reader parses frames and delivers them; the
// writer sends control frames first and then, in turns that [uploads] hands out,
// the pieces that were asked for. A piece that is whole gets a goroutine for the time
// of its check and its way to the disk, so that the reader reads on. Two more do little:
// one ends a link that is idle, one tells handlers of requests that were too many for
// the link. State of a link is under its mutex; no handler is called while one is held.
// Mutexes are taken in the order node, swarm or link.
package swarm

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Conn is an authenticated, encrypted connection to one peer.
type Conn interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	// Peer is the authenticated session key of the other side.
	Peer() wire.Key
	// RTT is the round-trip time, 0 while it is not known.
	RTT() time.Duration
	// Packets are those sent and, of them, lost; 0 while not known.
	Packets() (sent, lost int64)
	// Local says that the peer is on a network that this machine is attached to.
	Local() bool
}

// Connector makes connections to peers and accepts theirs.
type Connector interface {
	Connect(ctx context.Context, c wire.Candidate) (Conn, error)
	Accept(ctx context.Context) (Conn, error)
}

// Pieces are what the members of a swarm speak of: those of an object, which a
// [manifest.Manifest] describes, or those known of a track, whose number grows.
// It must be safe for concurrent use.
type Pieces interface {
	NumPieces() int
	PieceLen(i int) int64
	Offset(i int) int64
}

// Source is where verified pieces are read from. It must be safe for concurrent
// use.
type Source interface {
	Have() manifest.Bitfield
	Has(piece int) bool
	ReadAt(p []byte, off int64) (int, error)
}

// Handler is told what the peers of a swarm do. Its methods are called from the
// goroutines of links and may block: that is the back-pressure. Of one peer it hears
// one thing at a time, except that PeerPiece may go on while other methods are called.
type Handler interface {
	// PeerOpen: p has joined the swarm with a good grant. It is the first call
	// for p.
	PeerOpen(p *Peer)
	// PeerHave: p has these pieces too.
	PeerHave(p *Peer, pieces []int)
	// PeerLost: p has these pieces no more. It happens in swarms of tracks alone.
	PeerLost(p *Peer, pieces []int)
	// PeerBytes: n bytes of a requested piece have arrived.
	PeerBytes(p *Peer, piece, n int)
	// PeerLate: n bytes of a request have arrived that was cancelled.
	PeerLate(p *Peer, n int)
	// PeerPiece: what was asked for of a piece is here, from its byte begin on, not
	// verified. data is the handler's only until it returns.
	PeerPiece(p *Peer, piece int, begin int64, data []byte)
	// PeerReject: p does not serve the piece; missing says that it does not have it.
	// It is busy, too, when all swarms together ask too much of it.
	PeerReject(p *Peer, piece int, missing bool, retry time.Duration)
	// PeerClose: p has left. It is the last call for p.
	PeerClose(p *Peer, err error)
}

// Reasons why links end.
var (
	errProtocol = errors.New("peer broke the protocol")
	errDeaf     = errors.New("peer does not read")
	errReplaced = errors.New("replaced by a newer link")
	errLeft     = errors.New("left the swarm")
	errBye      = errors.New("peer said goodbye")
	errIdle     = errors.New("no swarm in common any more")
)
