package cache

import (
	"hash"
	"sync"

	"github.com/tandem-cdn/tandem/internal/twinhash"
)

// inFlight is how many buffers a slice that is filled may be ahead of its hashes.
const inFlight = 8

// hashes works out the hashes of a slice and of the whole beside whoever reads and
// writes the bytes: SHA-256 is slower than a network and a page cache.
type hashes struct {
	pool *sync.Pool // of *[]byte
	feed chan part
	done sync.WaitGroup
}

// part is a buffer with bytes.
type part struct {
	buf *[]byte
	n   int
}

// hashAside starts hashing into slice, and into whole if that is not nil. The caller
// must wait.
func hashAside(pool *sync.Pool, slice, whole hash.Hash) *hashes {
	a := &hashes{pool: pool, feed: make(chan part, inFlight)}
	a.done.Go(func() {
		for p := range a.feed {
			if data := (*p.buf)[:p.n]; whole != nil {
				twinhash.Write(slice, whole, data)
			} else {
				slice.Write(data)
			}
			pool.Put(p.buf)
		}
	})
	return a
}

// add hashes the first n bytes of a buffer from the pool, and gives it back then. It
// waits while too many are on their way.
func (a *hashes) add(buf *[]byte, n int) { a.feed <- part{buf, n} }

// wait ends when everything is hashed.
func (a *hashes) wait() {
	close(a.feed)
	a.done.Wait()
}
