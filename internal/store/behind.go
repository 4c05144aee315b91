package store

import (
	"os"
	"sync"
	"sync/atomic"
)

const (
	// largeShare is the part of the memory above which an object is large: in the
	// page cache it would take the place of what other programs use, and reach the
	// limit at which the kernel makes writers wait.
	largeShare = 16
	// behindEvery is how many bytes are written between two times of dropping: so
	// much, and what the disk is still busy with, stays in the page cache, for peers
	// ask for what few have, which is what has just come.
	behindEvery = 16 << 20
)

// behind has the disk begin at once with what is written of a large object, and
// has what is on the disk leave the page cache. Without it writing costs up to
// four times as much, for new memory has to be found for every byte, and ends in
// a wait for the disk.
type behind struct {
	large   bool
	written atomic.Int64 // since the last time
	// running is held while the kernel is at it: where its queue is full it has
	// the caller wait, who must not be the one who reads from the network.
	running sync.Mutex
}

// expect says how long the object will be, as far as that is known.
func (b *behind) expect(size int64) {
	b.large = size > 0 && uint64(size) > memory()/largeShare
}

// wrote counts n bytes that were written to f.
func (b *behind) wrote(f *os.File, n int) {
	if !b.large || b.written.Add(int64(n)) < behindEvery || !b.running.TryLock() {
		return
	}
	b.written.Store(0)
	go func() { // what it finds closed needs it no more
		defer b.running.Unlock()
		dropWritten(f)
	}()
}
