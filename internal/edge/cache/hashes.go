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

// hashAside starts to hash what is added, and gives each buffer back then. The caller
// must end it.
func hashAside(giveBack func(*[]byte)) *hashes {
	a := &hashes{feed: make(chan part, inFlight)}
	a.done.Go(func() {
		for p := range a.feed {
			if p.buf == nil {
				close(p.of.done)
				continue
			}
			p.of.write((*p.buf)[:p.n])
			giveBack(p.buf)
		}
	})
	return a
}

// add hashes the first n bytes of a buffer. It waits while too many are on their way.
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

// borrow is a buffer for a fill of slices of size bytes, to be given back: a large one
// where that is of use, as long as there are any.
func (c *Cache) borrow(size int64) *[]byte {
	if size > copyBuffer {
		select {
		case c.lent <- struct{}{}:
			return c.large.Get().(*[]byte)
		default:
		}
	}
	return c.buffers.Get().(*[]byte)
}

func (c *Cache) giveBack(buf *[]byte) {
	if len(*buf) != fillBuffer {
		c.buffers.Put(buf)
		return
	}
	c.large.Put(buf)
	<-c.lent
}
