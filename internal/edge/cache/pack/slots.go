package pack

// slot is a record in memory. It holds no pointers, so that a million of them cost
// the garbage collector nothing.
type slot struct {
	hash          uint64
	seq           uint64 // 0: free
	used          uint64
	seg, at, size uint32
	chain         uint32 // next of the same hash, or next free
	prev, next    uint32 // in the order of use; prev is the more recent
}

const chunk = 4096

// slots hands out slots by number, from 1. They lie in chunks, so that growing
// copies nothing.
type slots struct {
	chunks [][]slot
	used   uint32 // highest number ever given
	free   uint32
}

func (s *slots) at(i uint32) *slot { return &s.chunks[i/chunk][i%chunk] }

func (s *slots) most() uint32 { return s.used }

func (s *slots) take() uint32 {
	if i := s.free; i != 0 {
		s.free = s.at(i).chain
		return i
	}
	s.used++
	if int(s.used/chunk) == len(s.chunks) {
		s.chunks = append(s.chunks, make([]slot, chunk))
	}
	return s.used
}

func (s *slots) give(i uint32) {
	*s.at(i) = slot{chain: s.free}
	s.free = i
}

// lru is the order of use.
type lru struct {
	slots       *slots
	front, back uint32
}

func (l *lru) pushFront(i uint32) {
	p := l.slots.at(i)
	p.prev, p.next = 0, l.front
	if l.front != 0 {
		l.slots.at(l.front).prev = i
	} else {
		l.back = i
	}
	l.front = i
}

func (l *lru) remove(i uint32) {
	p := l.slots.at(i)
	if p.prev != 0 {
		l.slots.at(p.prev).next = p.next
	} else {
		l.front = p.next
	}
	if p.next != 0 {
		l.slots.at(p.next).prev = p.prev
	} else {
		l.back = p.prev
	}
}
