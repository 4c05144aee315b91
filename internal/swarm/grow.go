package swarm

import (
	"fmt"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// maxAhead is how many pieces beyond those that this side knows of a track are kept of
// what a peer announces. What lies further ahead is forgotten: it is no fault, for this
// side may have been cut off from its edge for long.
const maxAhead = 4096

// horizon is the number of pieces that peers may name.
func (s *Swarm) horizon() int {
	n := s.m.Pieces.NumPieces()
	if s.m.Grows {
		n += maxAhead
	}
	return n
}

// Grown has the handler hear of the pieces that peers have announced before this side
// knew them. It must not be called by a handler.
func (s *Swarm) Grown() {
	s.mu.Lock()
	peers := s.all()
	s.mu.Unlock()
	for _, p := range peers {
		p.link.calls.Lock()
		p.link.mu.Lock()
		here := p.link.peers[p.theirs] == p
		p.link.mu.Unlock()
		if here {
			p.link.has(p, nil)
		}
		p.link.calls.Unlock()
	}
}

// Withdraw tells every peer what this side has still, where it has dropped pieces.
func (s *Swarm) Withdraw() {
	s.mu.Lock()
	peers := s.all()
	s.mu.Unlock()
	for _, p := range peers {
		p.link.mu.Lock()
		p.link.send(&wire.Bitfield{Channel: p.mine, Bits: s.m.Source.Have().Bytes()})
		p.link.mu.Unlock()
	}
}

// announced reads the pieces of a BITFIELD. That of a track may be over more pieces
// than this side knows, or over fewer.
func (s *Swarm) announced(b []byte) (manifest.Bitfield, error) {
	n := s.m.Pieces.NumPieces()
	if s.m.Grows {
		n = 8 * len(b)
	}
	f, err := manifest.ParseBitfield(b, n)
	if err != nil {
		return f, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return f, nil
}

// takenBack removes from what p has, and returns, the pieces that f lacks. The caller
// holds calls.
func (l *link) takenBack(p *Peer, f manifest.Bitfield) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []int
	for _, i := range piecesOf(p.have) {
		if !f.Has(i) {
			p.have.Clear(i)
			lost = append(lost, i)
		}
	}
	p.held -= len(lost)
	p.swarm.count(lost, -1)
	return lost
}

// has records what a peer has announced and tells the handler of what is new, and known.
// The caller holds calls.
func (l *link) has(p *Peer, pieces []int) {
	known, horizon := p.swarm.m.Pieces.NumPieces(), p.swarm.horizon()
	l.mu.Lock()
	fresh := pieces[:0]
	for _, i := range pieces {
		if i >= p.have.Len() && i < horizon {
			p.have = p.have.Grow(i + 1)
		}
		if p.have.Set(i) {
			fresh = append(fresh, i)
		}
	}
	p.held += len(fresh)
	p.swarm.count(fresh, 1)
	told := make([]int, 0, len(fresh))
	for _, i := range fresh {
		if i < p.known {
			told = append(told, i)
		}
	}
	for i := p.known; i < min(known, p.have.Len()); i++ {
		if p.have.Has(i) {
			told = append(told, i)
		}
	}
	p.known = known
	l.mu.Unlock()
	if len(told) > 0 {
		p.swarm.m.Handler.PeerHave(p, told)
	}
}
