package store

import "sync"

// arrivals are the pieces of an unfinished object that are verified and on their
// way to the disk, and the pieces that readers wait for. A reader has a piece
// from memory, as soon as it is known to be right.
type arrivals struct {
	mu     sync.Mutex
	pieces map[int][]byte
	waits  map[int]chan struct{}
}

// show makes b readable as piece i, until hide, and reports whether somebody has
// waited for it.
func (a *arrivals) show(i int, b []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pieces == nil {
		a.pieces = map[int][]byte{}
	}
	a.pieces[i] = b
	c, waited := a.waits[i]
	if waited {
		close(c)
		delete(a.waits, i)
	}
	return waited
}

// hide ends the use of the memory that was shown as piece i.
func (a *arrivals) hide(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pieces, i)
}

// read copies from piece i what is at byte from of it. Where the piece is not in
// memory and written does not report that it is on the disk, wait is closed when
// it can be read.
func (a *arrivals) read(i int, p []byte, from int64, written func(i int) bool) (n int, wait <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.pieces[i]; ok {
		return copy(p, b[from:]), nil
	}
	if written(i) {
		return 0, nil
	}
	if a.waits == nil {
		a.waits = map[int]chan struct{}{}
	}
	if a.waits[i] == nil {
		a.waits[i] = make(chan struct{})
	}
	return 0, a.waits[i]
}
