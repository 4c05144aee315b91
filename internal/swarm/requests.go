package swarm

import (
	"maps"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// maxLate is how many requests back a cancelled one is remembered: data that comes
// still is then on its way already, so it is of one of the last.
const maxLate = 4 * wire.MaxRequests

// request is one that this side has made.
type request struct {
	id    uint32
	peer  *Peer
	piece int
	buf   []byte // nil before the first byte
	got   int
}

func (l *link) request(p *Peer, piece int, u wire.Urgency) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[p.theirs] != p {
		return // PeerClose is on its way
	}
	l.lastID++
	l.requests[l.lastID] = &request{id: l.lastID, peer: p, piece: piece}
	l.send(&wire.Request{
		Channel: p.mine, ID: l.lastID, Piece: uint32(piece),
		Length: uint32(p.swarm.m.Manifest.PieceLen(piece)), Urgency: u,
	})
}

func (l *link) cancel(p *Peer, piece int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, r := range l.requests {
		if r.peer == p && r.piece == piece {
			delete(l.requests, id)
			l.tardy(id, p)
			l.send(&wire.Cancel{ID: id})
			return
		}
	}
}

// tardy remembers whom a cancelled request was made of, so that what comes of it
// still is counted. The caller holds the mutex.
func (l *link) tardy(id uint32, p *Peer) {
	if len(l.late) >= maxLate {
		maps.DeleteFunc(l.late, func(o uint32, _ *Peer) bool { return o+maxLate < l.lastID })
	}
	if l.late == nil {
		l.late = map[uint32]*Peer{}
	}
	l.late[id] = p
}

// discard reads n bytes of a cancelled request past.
func (l *link) discard(id uint32, n int) error {
	if _, err := l.r.Discard(n); err != nil {
		return err
	}
	l.calls.Lock()
	defer l.calls.Unlock()
	l.mu.Lock()
	p := l.late[id]
	l.mu.Unlock()
	if p != nil {
		p.swarm.m.Handler.PeerLate(p, n)
	}
	return nil
}
