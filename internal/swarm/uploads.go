package swarm

import (
	"slices"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/upload"
)

// Pacer holds uploads back. It is asked before anything is handed to a link, so that
// what waits is still the scheduler's to order. Its methods must not block.
type Pacer interface {
	// Take takes leave to send at most n bytes now, to a peer on a network of this
	// machine's own where local says so, and returns how many; 0: ask again after wait.
	Take(n int, local bool) (m int, wait time.Duration)
	// Rate is the most that goes out at the moment, in bytes per second; 0 is not
	// known, or nothing that plans should go by.
	Rate() float64
}

const (
	// leastWait is how long those who were held back wait at least.
	leastWait = time.Millisecond
	// fullEvery is how often the allocator is told whether the uplink is full.
	fullEvery = 100 * time.Millisecond
	// localFor is how long a peer on a network of this machine's own counts that asked for
	// something.
	localFor = 10 * time.Second
)

// uploads shares the uplink among the links of a node: it runs an
// [upload.Allocator] on the clock, and wakes the links that get a turn. Its mutex
// may be taken while that of a link is held.
type uploads struct {
	start time.Time

	mu    sync.Mutex
	alloc *upload.Allocator
	timer *time.Timer // of the next turn that stops counting

	pacer Pacer         // nil: nothing is held back
	held  []*link       // have a turn and wait for the pacer, in order
	free  *time.Timer   // when the first of them may ask again
	wait  time.Duration // that the pacer told last
	bound bool          // somebody had to wait ever: else nothing shows whether there is room
	full  bool          // somebody had to wait since the allocator was told
	told  time.Duration
	local time.Duration // until then there may be peers that are not held back
}

func newUploads(p Pacer, rate float64) *uploads {
	return &uploads{start: time.Now(), alloc: upload.New(upload.Config{Rate: rate}), pacer: p}
}

// do has f change the state at a moment, and gives out the turns that this frees.
func (u *uploads) do(f func(a *upload.Allocator, now time.Duration)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Since(u.start)
	if u.pacer != nil {
		bound := u.pacer.Rate()
		if now < u.local { // of which the uplink tells nothing
			bound = 0
		}
		u.alloc.Bound(bound)
		if u.bound && now-u.told >= fullEvery {
			u.alloc.Full(now, u.full)
			u.full, u.told = false, now
		}
	}
	f(u.alloc, now)
	for r := u.alloc.Next(now); r != nil; r = u.alloc.Next(now) {
		r.Owner.(*link).signal()
	}
	at, due := u.alloc.Wake(now)
	switch {
	case due && u.timer == nil:
		u.timer = time.AfterFunc(at-now, func() { u.do(func(*upload.Allocator, time.Duration) {}) })
	case due:
		u.timer.Reset(at - now)
	case u.timer != nil:
		u.timer.Stop()
	}
}

// ask queues a request of l, or says when to come back. queued is how many of l's
// requests wait then.
func (u *uploads) ask(l *link, q upload.Request) (busy upload.Busy, ok bool, queued int) {
	u.do(func(a *upload.Allocator, now time.Duration) {
		if l.local {
			u.local = now + localFor
		}
		busy, ok = a.Ask(now, &l.asks, q)
		queued = l.asks.Len()
	})
	return busy, ok, queued
}

// turn is the request that l is to answer now, and how many bytes of it may be sent
// at once; 0: none, until the link is woken.
func (u *uploads) turn(l *link) (q upload.Request, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	q, ok := l.asks.Turn()
	if !ok {
		return q, 0
	}
	n = int(min(q.Length, uint32(l.data)))
	if u.pacer == nil {
		return q, n
	}
	n, wait := u.pacer.Take(n, l.local)
	if n == 0 {
		u.bound, u.full = true, true
		u.hold(l, max(wait, leastWait))
	}
	return q, n
}

// hold has l wait behind those who do already. What the pacer has told last counts for
// all: its rate may have changed since the first of them asked.
func (u *uploads) hold(l *link, wait time.Duration) {
	if !slices.Contains(u.held, l) {
		u.held = append(u.held, l)
	}
	u.wait = wait
	if u.free == nil {
		u.free = time.AfterFunc(wait, u.release)
		return
	}
	u.free.Reset(wait)
}

// release wakes the one who has waited longest. The next follows also when that one
// has nothing to send any more.
func (u *uploads) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.held) == 0 { // the timer was set anew while it went off
		return
	}
	u.held[0].signal()
	u.held = slices.Delete(u.held, 0, 1)
	if len(u.held) > 0 {
		u.free.Reset(u.wait)
	}
}

// sent records n bytes sent for a request of l.
func (u *uploads) sent(l *link, id uint32, n int) {
	u.do(func(a *upload.Allocator, now time.Duration) { a.Sent(now, &l.asks, id, n) })
}

// drop forgets the requests of l that match, all where match is nil.
func (u *uploads) drop(l *link, match func(*upload.Request) bool) {
	u.do(func(a *upload.Allocator, now time.Duration) { a.Drop(now, &l.asks, match) })
}

// had records n verified bytes had over l.
func (u *uploads) had(l *link, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l.asks.Had(n)
}

// near records how near the other side of l is.
func (u *uploads) near(l *link, near uint8) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l.asks.Near = near
}
