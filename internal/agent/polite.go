package agent

import (
	"context"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/governor"
	"github.com/tandem-cdn/tandem/internal/nat"
)

const (
	// hearWithin is how long a first background download waits for the delay of the
	// downlink to be known, at the rate that the governor begins with: a queue that was
	// there at the first echo would be taken for the way itself.
	hearWithin = 2 * time.Second
	// silentAfter is how old the last echo may be for the rate to be kept.
	silentAfter = 10 * time.Second
	// politeRead is how much is read at once at most, in bytes: what is read in one go
	// comes in one go, and is felt.
	politeRead = 8 << 10
)

// polite holds back what background downloads receive, so that the person in front of
// the machine does not feel it: the idea of RFC 9840, rLEDBAT, above the transport. What
// is not read fills the receive buffer, and then the sender waits, whatever its own
// congestion control would have done; so the rate of reading is that of the sender, and
// the governor sets it by the delay of the way in, which echoes tell.
type polite struct {
	start time.Time
	wake  chan struct{} // something is received in the background
	turn  chan struct{} // held by the source that is next

	mu       sync.Mutex
	governor *governor.Governor
	bucket   *governor.Bucket
	began    time.Time // first use
	used     time.Time // last use
	heardAt  time.Time // last echo
}

func newPolite() *polite {
	g := governor.NewReceiver()
	return &polite{start: time.Now(), wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), governor: g, bucket: governor.NewBucket(g.Rate())}
}

// WaitN waits until n bytes may have been received, or need not give way any more.
// Who comes first is let through first.
func (p *polite) WaitN(ctx context.Context, n int, yields func() bool) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for yields() {
		wait := p.take(n)
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(min(wait, paceEvery)) // the rate changes meanwhile
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// step is how much of n bytes to read at once: less at a low rate, for a source that
// brings nothing for a second or two seems dead.
func (p *polite) step(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n = min(n, politeRead); p.deaf(time.Now()) {
		return n
	}
	return p.bucket.Portion(n)
}

// deaf reports whether nothing tells of the delay, although there was time.
func (p *polite) deaf(at time.Time) bool {
	return !p.began.IsZero() && at.Sub(p.began) > hearWithin && at.Sub(p.heardAt) > silentAfter
}

// take takes n bytes, or says how long to wait.
func (p *polite) take(n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Now()
	if p.used = at; p.began.IsZero() {
		p.began = at
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	if p.deaf(at) {
		return 0
	}
	now := at.Sub(p.start)
	if wait := p.bucket.Wait(now); wait > 0 {
		p.governor.Limited(now)
		return wait
	}
	line := int(float64(n) * (1 + overhead))
	p.bucket.Take(now, line)
	p.governor.Sent(line)
	return 0
}

// heard takes in an echo: the way in took what the round trip took beside the way out.
func (p *polite) heard(e nat.Echo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := e.RTT
	if e.Out != 0 {
		in -= e.Out
	}
	p.heardAt = time.Now()
	p.governor.Echo(p.heardAt.Sub(p.start), e.Sent.Sub(p.start), in, e.RTT)
}

func (p *polite) aim(target time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.governor.Aim(target)
}

// update sets the rate. busy is that something was received lately, every how often
// echoes are to be asked for.
func (p *polite) update(now time.Time) (busy bool, every time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if busy = now.Sub(p.used) < quietAfter; !busy {
		return false, echoIdle
	}
	at := now.Sub(p.start)
	p.governor.Update(at, nil)
	p.bucket.SetRate(at, p.governor.Rate())
	return true, echoOften
}
