package swarm

import (
	"fmt"
	"maps"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// maxLate is how many requests back a cancelled one is remembered by itself: data
// that comes still is then on its way already, so it is mostly of one of the last.
const maxLate = 4 * wire.MaxRequests

// request is one that this side has made.
type request struct {
	id    uint32
	peer  *Peer
	piece int
	begin int    // of what is asked for, within the piece
	size  int    // bytes asked for
	got   int    // written by the reader, under the mutex
	buf   []byte // the reader's; nil before the first byte
}

// asked is what this side has asked of the other, under the mutex of the link.
// Whoever takes data for what it does not wait for any more must know how much can
// honestly come: there is no answer to CANCEL, but only what was asked for once.
type asked struct {
	requests map[uint32]*request
	late     map[uint32]*request // cancelled ones of which bytes may be on their way
	stray    int64               // bytes that may come of others that were cancelled
	lastID   uint32
	refusals
}

func newAsked() asked {
	return asked{
		requests: map[uint32]*request{}, late: map[uint32]*request{},
		refusals: refusals{keeping: make(chan struct{}, 1)},
	}
}

func (l *link) request(p *Peer, piece int, u wire.Urgency) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers[p.theirs] != p {
		return // PeerClose is on its way
	}
	if l.full(time.Now(), len(l.requests)) {
		l.keep(p, piece)
		return
	}
	l.lastID++
	begin, n := p.swarm.part(piece)
	r := &request{id: l.lastID, peer: p, piece: piece, begin: int(begin), size: int(n)}
	l.requests[r.id] = r
	l.send(&wire.Request{Channel: p.mine, ID: r.id, Piece: uint32(piece), Begin: uint32(begin), Length: uint32(n), Urgency: u})
}

func (l *link) cancel(p *Peer, piece int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unkeep(p, piece)
	for id, r := range l.requests {
		if r.peer == p && r.piece == piece {
			delete(l.requests, id)
			l.expectLate(r)
			l.doubt(r)
			l.send(&wire.Cancel{ID: id})
			return
		}
	}
}

// expectLate remembers a request that is cancelled, without its buffer: the reader
// may be writing into it.
func (a *asked) expectLate(r *request) {
	if len(a.late) >= maxLate {
		maps.DeleteFunc(a.late, func(id uint32, o *request) bool {
			old := id+maxLate < a.lastID
			if old {
				a.forget(o)
			}
			return old
		})
	}
	a.late[r.id] = &request{id: r.id, peer: r.peer, piece: r.piece, begin: r.begin, size: r.size, got: r.got}
}

// forget has what may still come of r count for nobody.
func (a *asked) forget(r *request) { a.stray += int64(r.size - r.got) }

// forgetAll forgets what was asked of p.
func (a *asked) forgetAll(p *Peer) {
	of := func(_ uint32, r *request) bool {
		if r.peer == p {
			a.forget(r)
		}
		return r.peer == p
	}
	for _, r := range a.requests {
		if r.peer == p {
			a.doubt(r)
		}
	}
	maps.DeleteFunc(a.requests, of)
	maps.DeleteFunc(a.late, of)
	a.unkeep(p, -1)
}

// doubt counts a request that is withdrawn if it may have been refused already.
func (a *asked) doubt(r *request) {
	if r.got == 0 {
		a.count(unsure)
	}
}

// find returns the request of that id, and whether it is outstanding; nil for one
// that was answered or forgotten, and for one that was never made.
func (a *asked) find(id uint32) (r *request, live bool) {
	if r, live = a.requests[id]; live {
		return r, true
	}
	return a.late[id], false
}

// due returns the buffer of a request and where in it n bytes from begin on go, nil
// where they are of no use any more. That they are neither asked for nor ever were is an error.
func (l *link) due(id uint32, begin, n int) (buf []byte, at int, err error) {
	l.mu.Lock()
	r, live := l.find(id)
	known := r != nil || id <= l.lastID && int64(n) <= l.stray
	l.mu.Unlock()
	switch {
	case !known:
		return nil, 0, fmt.Errorf("%w: data nobody asked for", errProtocol)
	case r == nil:
		return nil, 0, nil
	case begin != r.begin+r.got || r.got+n > r.size:
		return nil, 0, fmt.Errorf("%w: bytes %d+%d of piece %d where %d were due", errProtocol, begin, n, r.piece, r.begin+r.got)
	case live && r.buf == nil:
		r.buf = getBuffer(r.size)
	}
	return r.buf, r.got, nil
}

// arrived counts n bytes that were due. It returns their request, whether it is
// outstanding and whether it is whole now; nil for one that is forgotten.
func (l *link) arrived(id uint32, n int) (r *request, live, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, live = l.find(id); r == nil {
		l.stray -= int64(n)
		return nil, false, false
	}
	r.got += n
	if whole = r.got == r.size; whole {
		delete(l.requests, id)
		delete(l.late, id)
	}
	return r, live, whole
}

// rejected takes a request that was rejected off; nil where it is not outstanding.
// No data of it follow. For as long as it must not be repeated it counts all the same.
func (a *asked) rejected(id uint32, busy time.Duration) *request {
	if r, _ := a.find(id); r != nil && busy > 0 {
		a.count(busy)
	}
	r := a.requests[id]
	delete(a.requests, id)
	delete(a.late, id)
	return r
}

// part is which bytes of a piece to ask for.
func (s *Swarm) part(piece int) (begin, n int64) {
	if s.m.Part == nil {
		return 0, s.m.Pieces.PieceLen(piece)
	}
	return s.m.Part(piece)
}
