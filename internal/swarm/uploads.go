package swarm

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/upload"
)

// uploads shares the uplink among the links of a node: it runs an
// [upload.Allocator] on the clock, and wakes the links that get a turn. Its mutex
// may be taken while that of a link is held.
type uploads struct {
	start time.Time

	mu    sync.Mutex
	alloc *upload.Allocator
	timer *time.Timer // of the next turn that stops counting
}

func newUploads(limit *rate.Limiter) *uploads {
	u := &uploads{start: time.Now()}
	var cfg upload.Config
	if limit != nil {
		cfg.Rate = float64(limit.Limit())
	}
	u.alloc = upload.New(cfg)
	return u
}

// do has f change the state at a moment, and gives out the turns that this frees.
func (u *uploads) do(f func(a *upload.Allocator, now time.Duration)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Since(u.start)
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
		busy, ok = a.Ask(now, &l.asks, q)
		queued = l.asks.Len()
	})
	return busy, ok, queued
}

// turn is the request that l is to answer now.
func (u *uploads) turn(l *link) (upload.Request, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return l.asks.Turn()
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
