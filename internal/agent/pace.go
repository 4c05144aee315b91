package agent

import (
	"context"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/governor"
	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/swarm"
)

const (
	// paceEvery is how often the governor looks at links while something is sent,
	// and quietAfter how long after the last byte it stops.
	paceEvery  = 50 * time.Millisecond
	quietAfter = 2 * time.Second
	// Echoes are asked for often when the delay has to be known well, less often
	// while something is sent, and now and then to know the base delay beforehand.
	echoOften, echoSeldom, echoIdle = 100 * time.Millisecond, 500 * time.Millisecond, 15 * time.Second
	// lookupWithin is how long the name of a STUN server may take: the rate is not set
	// meanwhile.
	lookupWithin = 2 * time.Second
	// overhead is what TLS, TCP and IP add to object data: a limit is on what the
	// line carries.
	overhead = 0.05
)

// pacer holds back what the engine uploads: by the governor, which peers on networks
// of this machine's own are spared, and by the limit that the user has set.
type pacer struct {
	start time.Time
	wake  chan struct{} // something is sent
	down  *polite       // hears the same echoes; nil where nothing is governed

	mu       sync.Mutex
	governor *governor.Governor // nil: not asked
	governed *governor.Bucket
	limit    *governor.Bucket // nil: none
	left     int64            // bytes that may be sent yet
	used     time.Time        // last time that something was sent
}

// newPacer has uploads governed where background downloads are. Nothing may be sent until
// [pacer.allow] has said so.
func newPacer(down *polite) *pacer {
	p := &pacer{start: time.Now(), wake: make(chan struct{}, 1), down: down}
	if down != nil {
		p.governor = governor.New()
		p.governed = governor.NewBucket(p.governor.Rate())
	}
	return p
}

// allow sets what the user's settings allow from now on.
func (p *pacer) allow(a allowance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = a.left
	if a.why != "" {
		p.left = 0
	}
	if p.governor != nil {
		target := governor.Target
		if a.wary {
			target = governor.Wary
		}
		p.governor.Aim(target)
		p.down.aim(target)
	}
	switch {
	case a.rate == 0:
		p.limit = nil
	case p.limit == nil:
		p.limit = governor.NewBucket(float64(a.rate))
	default:
		p.limit.SetRate(p.now(), float64(a.rate))
	}
}

func (p *pacer) now() time.Duration { return time.Since(p.start) }

// Take implements [swarm.Pacer].
func (p *pacer) Take(n int, local bool) (int, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	var buckets []*governor.Bucket
	if p.limit != nil {
		buckets = append(buckets, p.limit)
	}
	if p.governor != nil && !local {
		buckets = append(buckets, p.governed)
	}
	if p.left <= 0 {
		return 0, allowEvery
	}
	var wait time.Duration
	for _, b := range buckets {
		wait = max(wait, b.Wait(now))
		n = b.Portion(n)
	}
	if p.governor != nil && !local {
		p.stir()
		if p.governed.Wait(now) > 0 {
			p.governor.Limited(now)
		}
	}
	if wait > 0 {
		return 0, wait
	}
	p.left -= int64(n)
	line := int(float64(n) * (1 + overhead))
	for _, b := range buckets {
		b.Take(now, line)
	}
	if p.governor != nil && !local {
		p.governor.Sent(line)
	}
	return n, 0
}

// stir notes that the uplink is used.
func (p *pacer) stir() {
	p.used = time.Now()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Rate implements [swarm.Pacer].
func (p *pacer) Rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.governor == nil {
		return 0
	}
	return p.governor.Uplink()
}

// run has the governor look at the links of node until ctx ends. The first STUN
// server that comes becomes its reference.
func (p *pacer) run(ctx context.Context, node *swarm.Node, servers <-chan string) {
	if p.governor == nil {
		return
	}
	var reference *nat.Echoer
	var hearing sync.WaitGroup
	defer hearing.Wait()
	tick := time.NewTimer(echoIdle)
	defer tick.Stop()
	wake, downWake := p.wake, p.down.wake
	for echoed := (time.Time{}); ; {
		select {
		case <-ctx.Done():
			return
		case s := <-servers:
			if reference == nil {
				lookup, found := context.WithTimeout(ctx, lookupWithin)
				e, err := nat.NewEchoer(lookup, s, p.heard)
				found()
				if err == nil {
					reference = e
					hearing.Go(func() { e.Run(ctx) })
					e.Send()
				}
			}
			continue
		case <-wake:
		case <-downWake:
		case <-tick.C:
		}
		now := time.Now()
		busy, every := p.update(now, node)
		if receiving, often := p.down.update(now); receiving {
			busy, every = true, min(every, often)
		}
		if reference != nil && now.Sub(echoed) >= every {
			echoed = now
			reference.Send()
		}
		if busy {
			wake, downWake = nil, nil // they would not be quiet
			tick.Reset(paceEvery)
		} else {
			wake, downWake = p.wake, p.down.wake
			tick.Reset(echoIdle)
		}
	}
}

// heard takes in an echo.
func (p *pacer) heard(e nat.Echo) {
	p.down.heard(e)
	p.mu.Lock()
	defer p.mu.Unlock()
	out := e.Out
	if out == 0 {
		out = e.RTT
	}
	p.governor.Echo(p.now(), e.Sent.Sub(p.start), out, e.RTT)
}

// update sets the rate. busy is that something was sent lately, every how often echoes
// are to be asked for.
func (p *pacer) update(now time.Time, node *swarm.Node) (busy bool, every time.Duration) {
	var links []governor.Link
	for _, l := range node.Paths() {
		links = append(links, governor.Link{ID: l.Link, RTT: l.RTT, Sent: l.Sent, Lost: l.Lost})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if busy = now.Sub(p.used) < quietAfter; !busy {
		return false, echoIdle
	}
	at := p.now()
	p.governor.Update(at, links)
	p.governed.SetRate(at, p.governor.Rate())
	if p.governor.Restless() {
		return true, echoOften
	}
	return true, echoSeldom
}
