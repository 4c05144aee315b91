package swarm

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Peer is another member of a swarm, on a link.
type Peer struct {
	link    *link
	swarm   *Swarm
	mine    uint16 // our channel
	theirs  uint16 // their channel
	uploads bool
	uplink  atomic.Uint32
	expires time.Time         // of its grant
	active  atomic.Int64      // Unix nanoseconds of the last piece data, either way
	have    manifest.Bitfield // under link.mu
	held    int               // pieces of have, under link.mu
	known   int               // pieces that there were when its handler was last told, under link.mu
	haves   []uint32          // announcements not yet written, under link.mu
}

// Key is the peer's session key.
func (p *Peer) Key() wire.Key { return p.link.key }

// Uploads reports whether the peer says that it serves requests.
func (p *Peer) Uploads() bool { return p.uploads }

// Uplink is the uplink the peer claims, in kbit/s; 0 is not known. All who hear
// of a peer, from itself or from control, get the same number.
func (p *Peer) Uplink() uint32 { return wire.RoundUplink(p.uplink.Load()) }

// RTT is the round-trip time of the link, 0 while it is not known.
func (p *Peer) RTT() time.Duration { return p.link.conn.RTT() }

// left is the part of the object that the peer lacks, by its own account. The caller
// holds the mutex of the link.
func (p *Peer) left() float32 { return 1 - float32(p.held)/float32(max(p.have.Len(), 1)) }

// Near is how near the peer is as control says: 0 (or not known) to
// [wire.Nearest].
func (p *Peer) Near() int { return int(p.link.near.Load()) }

// Request asks for a piece, or the part of it that is missing, which is needed as soon as u says. The answer comes
// to the handler. It returns at once, also where the link has too many requests
// outstanding: the handler hears then that p is busy.
func (p *Peer) Request(piece int, u wire.Urgency) { p.link.request(p, piece, u) }

func piecesOf(b manifest.Bitfield) []int {
	var pieces []int
	for i := range b.Len() {
		if b.Has(i) {
			pieces = append(pieces, i)
		}
	}
	return pieces
}

// Cancel withdraws the request for a piece: nothing more is heard of it but what
// comes late.
func (p *Peer) Cancel(piece int) { p.link.cancel(p, piece) }

// Drop ends the dealings with the peer, in all swarms.
func (p *Peer) Drop(reason string) {
	if p.link.node.ban(p.Key(), reason) {
		p.link.node.log.Warn("peer dropped", "peer", p.Key().Short(), "object", p.swarm.m.Object.String()[:16], "reason", reason)
	}
}

// misconduct ends the link with a peer that was dropped.
type misconduct struct{ reason string }

func (m *misconduct) Error() string { return errProtocol.Error() + ": " + m.reason }
func (m *misconduct) Unwrap() error { return errProtocol }

// BrokeProtocol is the misconduct of a peer that nobody has dropped.
const BrokeProtocol = "protocol"

// Misconduct is what a peer did to be banned, by the error that
// [Handler].PeerClose is given: the reason of [Peer.Drop], or BrokeProtocol; "" where
// it was not.
func Misconduct(err error) string {
	var m *misconduct
	switch {
	case errors.As(err, &m):
		return m.reason
	case errors.Is(err, errProtocol):
		return BrokeProtocol
	}
	return ""
}
