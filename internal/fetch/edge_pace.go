package fetch

import (
	"context"
	"math"
	"sync"
	"time"
)

const (
	// paceStep is how much is read at once of a response that is held back, in time
	// at its rate, between the bounds leastRead and mostRead in bytes; freeRead of one
	// that is not.
	paceStep            = 100 * time.Millisecond
	leastRead, mostRead = 4 << 10, 64 << 10
	freeRead            = 256 << 10
)

// readPace holds a reader back to a rate that may change while it waits. What is
// not read fills the receive buffer of the connection, and then the server waits.
type readPace struct {
	mu      sync.Mutex
	rate    float64       // bytes per second; +Inf: as it comes
	changed chan struct{} // closed by set
	free    time.Time     // when what was read is paid for
}

func newReadPace() *readPace { return &readPace{rate: math.Inf(1), changed: make(chan struct{})} }

// set changes the rate, for one who waits too.
func (p *readPace) set(rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
	close(p.changed)
	p.changed = make(chan struct{})
}

// next waits until something may be read and returns how much, in bytes, of up to
// most; 0 when ctx ends.
func (p *readPace) next(ctx context.Context, most int) int {
	for {
		p.mu.Lock()
		rate, changed, wait := p.rate, p.changed, time.Until(p.free)
		p.mu.Unlock()
		switch {
		case math.IsInf(rate, 1):
			return min(most, freeRead)
		case wait <= 0:
			return min(most, mostRead, max(leastRead, int(rate*paceStep.Seconds())))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
			p.mu.Lock()
			p.free = time.Time{} // what was owed was owed at another rate
			p.mu.Unlock()
		case <-ctx.Done():
			timer.Stop()
			return 0
		}
		timer.Stop()
	}
}

// paid records n bytes that were read.
func (p *readPace) paid(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if math.IsInf(p.rate, 1) {
		return
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(seconds(float64(n) / max(p.rate, 1)))
}
