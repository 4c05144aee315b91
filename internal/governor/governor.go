package governor

import (
	"math"
	"time"
)

// phase is what a Governor is doing.
type phase uint8

const (
	starting phase = iota // slow start
	steady
	slowing // the queue is to run empty
)

// Governor says how fast all uploads together may go. It is not safe for concurrent
// use. Time is counted from any moment.
type Governor struct {
	ref    reference
	paths  map[int64]*path
	target time.Duration

	rate  float64 // bytes per second that may be sent
	phase phase
	// carried is the most that the uplink has delivered of ours in the last ten
	// minutes while there was a queue, negated; bytes per second.
	carried   minima
	receives  bool    // what is counted has come out of the queue
	delivered float64 // smoothed, bytes per second
	resumeAt  float64 // rate after a slowdown

	crowded time.Duration // the queue by the round trips of links
	doubted time.Duration // from when on they contradict the reference; 0: they do not

	sent    history
	total   int64   // bytes
	held    history // how long somebody had to wait for the rate, in all
	waited  time.Duration
	limited time.Duration
	last    observation // of the last step
	seen    bool        // last is one
	slowAt  time.Duration
	slowed  time.Duration // when the slowdown began
	emptyBy time.Duration // from when packets of a slowdown meet no queue
	emptyAt time.Duration // when the queue was last seen empty
	lossAt  time.Duration
}

// New returns a Governor that knows nothing of the uplink.
func New() *Governor {
	return &Governor{target: Target, paths: map[int64]*path{}, rate: firstRate, slowAt: math.MaxInt64, lossAt: -lossEvery}
}

// NewReceiver returns a Governor of what is received: Sent is told of bytes when they
// have come, and Echo of the way in.
func NewReceiver() *Governor {
	g := New()
	g.receives = true
	return g
}

// Aim changes the queueing delay that is aimed at.
func (g *Governor) Aim(target time.Duration) { g.target = target }

// Rate is what may be sent, in bytes per second.
func (g *Governor) Rate() float64 { return g.rate }

// Queue is the queueing delay that was seen last.
func (g *Governor) Queue() time.Duration { return g.last.queue }

// Yielding reports whether uploads have given way to others: they have much less than
// the uplink can carry.
func (g *Governor) Yielding() bool { return g.phase != slowing && g.rate < restartBelow*g.capacity() }

// Uplink is the most that goes out at the moment, bytes per second: what the uplink has
// carried, or the rate where uploads have given way or found that there is more. 0 is not
// known yet.
func (g *Governor) Uplink() float64 {
	c := g.capacity()
	if c == 0 || g.Yielding() {
		return min(c, g.rate)
	}
	return max(c, g.rate)
}

// Restless reports whether the delay should be watched closely, by more echoes.
func (g *Governor) Restless() bool {
	return g.phase != steady || max(g.last.queue, g.crowded).Seconds() > emptyBelow*g.target.Seconds()
}

// Sent counts n bytes that were handed to links.
func (g *Governor) Sent(n int) { g.total += int64(n) }

// Limited notes that somebody had to wait for the rate: at least once for every packet.
func (g *Governor) Limited(now time.Duration) {
	if now-g.limited <= breath+seconds(packet/g.rate) {
		g.waited += now - g.limited
	}
	g.limited = now
}

// Update takes in the links that were sent on since the last time and sets the rate.
// It is to be called several times in each round trip while something is sent.
func (g *Governor) Update(now time.Duration, links []Link) {
	g.sent.add(now, g.total)
	g.held.add(now, int64(g.waited))
	g.links(now, links)
	o, ok := g.observe(now)
	switch {
	case !ok:
		// Nothing tells of the delay. A slowdown must not last for that.
		if g.phase == slowing && now-g.slowed > slowMost {
			g.resume(now)
		}
		return
	case !g.seen || o.at-g.last.at > pause:
		// What was delivered meanwhile is what was asked for: the rate is kept.
		if g.phase == slowing {
			g.resume(now)
		}
		g.last, g.seen, g.delivered = o, true, g.rate
		return
	case o.at-g.last.at < min(max(o.rtt/2, minStep), maxStep):
		return
	}
	if o.queue <= drained {
		g.emptyAt = now
	}
	g.step(now, o, g.measure(o))
	g.last = o
}

// measure reckons what the uplink has delivered of what was sent between the packets
// of the last observation and this one: it took as long to come out as it took to go
// in, and what the queue has grown. It returns for how long of that somebody had to wait
// for the rate. Where that is little, no more was asked for, and the uplink may carry more
// than it has delivered, but not less.
func (g *Governor) measure(o observation) (held time.Duration) {
	in := o.at - g.last.at
	held = min(time.Duration(g.held.at(o.at)-g.held.at(g.last.at)), in)
	out := max(in+o.queue-g.last.queue, in/4)
	if g.receives { // what was counted has come out already
		out = in
	}
	got := (g.sent.at(o.at) - g.sent.at(g.last.at)) / out.Seconds()
	if held < in*3/4 && (held == 0 || o.queue <= g.target) {
		// Where a queue falls it can look as if more came out than may go in.
		g.delivered = min(max(got, g.delivered), g.rate)
		return held
	}
	g.delivered += (got - g.delivered) / 2
	if min(o.queue, g.last.queue) > time.Duration(emptyBelow*float64(g.target))/2 {
		g.carried.add(o.at, -g.delivered)
	}
	return held
}

// capacity is the most that was delivered of ours; 0 while there was never a queue.
func (g *Governor) capacity() float64 {
	if c := -g.carried.min(); !math.IsInf(c, -1) {
		return c
	}
	return 0
}

// least is the rate that uploads have in any case.
func (g *Governor) least() float64 {
	if c := g.capacity(); c > 0 {
		return min(leastRate, leastShare*c)
	}
	return leastRate
}

func (g *Governor) step(now time.Duration, o observation, held time.Duration) {
	feedback := now - o.at + max(o.at-g.last.at, minStep)
	q := o.queue.Seconds() / g.target.Seconds()
	limited := now-g.limited <= o.rtt+maxStep
	gain := min(mostGain, g.target.Seconds()/(damping*feedback.Seconds()))
	switch {
	case g.phase == slowing:
		if o.at >= g.emptyBy || now-g.slowed > slowMost {
			g.resume(now)
		}
		return
	case g.cutForLoss(now, q):
	case g.phase == starting && q < startUntil:
		if limited {
			grown := g.rate * math.Exp2(held.Seconds()/feedback.Seconds())
			g.rate = max(g.rate, min(grown, 2*max(g.delivered, firstRate)))
		}
		if c := g.capacity(); c > 0 && g.rate >= c {
			g.rate = c
			g.settle(now)
		}
	case q > 1:
		cut := min(0.5, min(steepest, fall*gain)*(q-1))
		g.rate = min(g.rate, g.delivered*(1-cut))
		g.settle(now)
	default:
		if limited || g.rate < g.delivered {
			rate := g.delivered*(1+gain*(1-q)) + addShare*g.least()
			if q < emptyBelow {
				// What is lost on the way makes links slow and fast by turns: a
				// queue that is empty is no reason to send less.
				rate = max(rate, g.rate)
			}
			g.rate = rate
		}
		g.settle(now)
		if limited && q < emptyBelow && g.rate < restartBelow*g.capacity() {
			g.phase = starting
		}
	}
	g.rate = max(g.rate, g.least())
	g.slow(now, o)
}

// settle ends slow start. The queue that it has made hides the base from those who
// begin now, so a slowdown follows soon.
func (g *Governor) settle(now time.Duration) {
	if g.phase == starting {
		g.phase = steady
		g.slowAt = min(g.slowAt, now+firstPause)
	}
}

// slow begins a slowdown when it is due. Where the queue has run empty by itself, or
// others fill it, there is nothing to be seen.
func (g *Governor) slow(now time.Duration, o observation) {
	if g.phase != steady || now < g.slowAt {
		return
	}
	if now-g.emptyAt < leastPause/2 || g.rate < 2*g.least() || g.Yielding() {
		g.slowAt = now + leastPause
		return
	}
	g.phase, g.slowed = slowing, now
	g.resumeAt = min(g.rate, g.delivered)
	g.rate = max(slowTo*g.resumeAt, g.least())
	g.emptyBy = now + seconds(o.queue.Seconds()/(1-slowTo)) + drainSlack
}

// resume ends a slowdown. What the uplink carried a moment ago is not felt for anew.
func (g *Governor) resume(now time.Duration) {
	g.phase = steady
	g.rate = max(g.resumeAt, g.rate)
	g.delivered = g.rate
	g.emptyAt = now
	g.slowAt = now + max(slowEvery*(now-g.slowed), leastPause)
}

// cutForLoss lowers the rate where an uplink drops before its queue is as long as is
// aimed at.
func (g *Governor) cutForLoss(now time.Duration, q float64) bool {
	if q < emptyBelow || now < g.lossAt+lossEvery || !g.losing(now) {
		return false
	}
	g.lossAt = now
	g.rate = min(g.rate, lossCut*g.delivered)
	g.settle(now)
	return true
}
