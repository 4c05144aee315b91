package transport

import (
	"net"
	"sync"
	"sync/atomic"
)

// gatherSize is how many bytes go out in one system call at most: what a write of a
// frame of the largest size makes, records and all.
const gatherSize = 136 << 10

// gathering recycles the memory for it: few of many links write at a time.
var gathering = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// gatherer is a connection below TLS, which writes every record of 16 KiB by itself.
// Records of one write are gathered and go out together, which spares system calls and
// segments.
type gatherer struct {
	net.Conn
	writing atomic.Int32 // writes under way above TLS

	mu   sync.Mutex // held while bytes go out, so that they stay in order
	on   bool
	mem  *[gatherSize]byte // nil while nothing is gathered
	n    int               // bytes in it
	fail error             // of a write that may have been cut short: nothing can follow it
}

// gather has writes wait for flush.
func (g *gatherer) gather() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.on = true
}

// flush sends what was gathered.
func (g *gatherer) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.on = false
	return g.send()
}

// Write sends b, or keeps it for flush.
func (g *gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n+len(b) > gatherSize {
		if err := g.send(); err != nil {
			return 0, err
		}
	}
	if len(b) > gatherSize || !g.on && g.n == 0 {
		if g.fail == nil {
			_, g.fail = g.Conn.Write(b)
		}
		return len(b), g.fail
	}
	if g.mem == nil {
		g.mem = gathering.Get().(*[gatherSize]byte)
	}
	g.n += copy(g.mem[g.n:], b)
	if g.on {
		return len(b), nil
	}
	return len(b), g.send()
}

// send sends what was gathered. The caller holds the mutex.
func (g *gatherer) send() error {
	if g.mem == nil {
		return g.fail
	}
	if g.fail == nil {
		_, g.fail = g.Conn.Write(g.mem[:g.n])
	}
	gathering.Put(g.mem)
	g.mem, g.n = nil, 0
	return g.fail
}
