package cache

import (
	"hash"
	"sync"
	"sync/atomic"
)

// inFlight is how many buffers a slice that is filled may be ahead of its hashes.
const inFlight = 8

// hashes works out several hashes of the same bytes beside whoever reads and writes
// them: SHA-256 is slower than a network and a page cache, and the hashes of the
// slice and of the whole are two.
type hashes struct {
	pool  *sync.Pool // of *[]byte
	feeds []chan *part
	free  chan struct{}
	done  sync.WaitGroup
}

// part is a buffer on its way through all hashes.
type part struct {
	buf  *[]byte
	n    int
	left atomic.Int32
}

// hashAside starts hashing into those of hs that are not nil. The caller must wait.
func hashAside(pool *sync.Pool, hs ...hash.Hash) *hashes {
	a := &hashes{pool: pool, free: make(chan struct{}, inFlight)}
	for _, h := range hs {
		if h == nil {
			continue
		}
		feed := make(chan *part, inFlight)
		a.feeds = append(a.feeds, feed)
		a.done.Go(func() {
			for p := range feed {
				h.Write((*p.buf)[:p.n])
				if p.left.Add(-1) == 0 {
					a.pool.Put(p.buf)
					<-a.free
				}
			}
		})
	}
	return a
}

// add hashes the first n bytes of a buffer from the pool, and gives it back then. It
// waits while too many are on their way.
func (a *hashes) add(buf *[]byte, n int) {
	a.free <- struct{}{}
	p := &part{buf: buf, n: n}
	p.left.Store(int32(len(a.feeds)))
	for _, feed := range a.feeds {
		feed <- p
	}
}

// wait ends when everything is hashed.
func (a *hashes) wait() {
	for _, feed := range a.feeds {
		close(feed)
	}
	a.done.Wait()
}
