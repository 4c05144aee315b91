package swarm

import (
	"sync"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// copies counts the peers that have a piece.
type copies struct {
	mu sync.Mutex
	of []int32
}

// count adds n to the copies known of pieces.
func (s *Swarm) count(pieces []int, n int32) {
	c := s.copies
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range pieces {
		if i >= len(c.of) { // of a track that grows
			c.of = append(c.of, make([]int32, i+1-len(c.of))...)
		}
		c.of[i] += n
	}
}

// rare reports whether a piece has but one copy known beside this node's.
func (s *Swarm) rare(piece int) bool {
	s.copies.mu.Lock()
	defer s.copies.mu.Unlock()
	return piece >= len(s.copies.of) || s.copies.of[piece] <= 1
}

// credit counts verified bytes had from peers. The swarms of a stream's tracks have
// one together.
type credit struct {
	mu    sync.Mutex
	bytes map[wire.Key]uint64
}

// add counts n bytes and returns what there was before and is now.
func (c *credit) add(key wire.Key, n int) (before, after uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.bytes[key]
	c.bytes[key] = before + uint64(n)
	return before, c.bytes[key]
}
