package fetch

import "time"

// yield paces what the edge sends beside the peers. What the downlink can carry
// is not known, and an edge flow would win it from the peers; but if the total
// stays at the best that was seen while the edge gives way, the peers fill the
// link and the edge is not needed. So the pace falls while the total holds, and
// rises to the deficit as soon as it does not.
type yield struct {
	begun  bool
	filled time.Duration // tokens are counted up to here
	judged time.Duration // the pace was set here
	pace   float64       // bytes per second
	tokens float64       // bytes that may be asked of the edge now
}

const (
	yieldEvery = 250 * time.Millisecond
	yieldHolds = 0.95 // of the best total: the peers keep up
	yieldFalls = 0.93
	yieldRises = 1.25
)

// rates are what a yield judges by, in bytes per second.
type rates struct{ best, total, p2p, edge float64 }

func (y *yield) step(now time.Duration, r rates, piece float64) {
	if r.p2p == 0 { // nobody to give way to
		*y = yield{pace: 2 * r.best, tokens: max(2*piece, r.best)}
		return
	}
	if !y.begun {
		*y = yield{begun: true, filled: now, judged: now, pace: r.edge}
	}
	y.tokens = min(y.tokens+y.pace*(now-y.filled).Seconds(), max(2*piece, y.pace/2))
	y.filled = now
	if now-y.judged < yieldEvery {
		return
	}
	y.judged = now
	if r.total >= yieldHolds*r.best {
		y.pace *= yieldFalls
		return
	}
	y.pace = min(max(y.pace*yieldRises, 0.98*r.best-r.p2p), 2*r.best)
}
