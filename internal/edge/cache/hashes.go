package cache

import (
	"hash"
	"sync"

	"github.com/tandem-cdn/tandem/internal/twinhash"
)

// inFlight is how many buffers a fill may be ahead of its hashes.
const inFlight = 4

// hashes works out the hashes of what a fill writes, beside it and slice after slice:
// SHA-256 is slower than a network and a page cache.
type hashes struct {
	pool *sync.Pool // of *[]byte
	feed chan part
	done sync.WaitGroup
}

// written is a slice that a fill writes. The hashes are final when done is closed.
type written struct {
	i     int
	sum   hash.Hash
	whole hash.Hash // of the object up to the end of the slice; nil where the begin is not known
	// before is the slice whose whole this one's goes on from, until it does.
	before *written
	done   chan struct{}
}

// part is a buffer with bytes of a slice; without a buffer it is the slice's end.
type part struct {
	of  *written
	buf *[]byte
	n   int
}

// hashAside starts to hash what is added. The caller must end it.
func hashAside(pool *sync.Pool) *hashes {
	a := &hashes{pool: pool, feed: make(chan part, inFlight)}
	a.done.Go(func() {
		for p := range a.feed {
			if p.buf == nil {
				close(p.of.done)
				continue
			}
			p.of.write((*p.buf)[:p.n])
			pool.Put(p.buf)
		}
	})
	return a
}

// add hashes the first n bytes of a buffer from the pool, and gives it back then. It
// waits while too many are on their way.
func (a *hashes) add(w *written, buf *[]byte, n int) { a.feed <- part{w, buf, n} }

// close ends slice w.
func (a *hashes) close(w *written) { a.feed <- part{of: w} }

// end returns when everything is hashed.
func (a *hashes) end() {
	close(a.feed)
	a.done.Wait()
}

func (w *written) write(p []byte) {
	if w.before != nil {
		w.whole, w.before = clone(w.before.whole), nil
	}
	if w.whole == nil {
		w.sum.Write(p)
		return
	}
	twinhash.Write(w.sum, w.whole, p)
}

// clone is nil for what is nil, or cannot be cloned.
func clone(h hash.Hash) hash.Hash {
	c, ok := h.(hash.Cloner)
	if !ok {
		return nil
	}
	d, err := c.Clone()
	if err != nil {
		return nil
	}
	return d
}

// buffersFor are buffers that fit slices of size bytes.
func (c *Cache) buffersFor(size int64) *sync.Pool {
	if size <= copyBuffer {
		return &c.buffers
	}
	return &c.large
}
