package stream

import (
	"math"
	"time"
)

// pace measures the rate of a source while something is asked of it: a source of a stream
// is idle most of the time, which says nothing of what it can do.
type pace struct {
	last  time.Duration // when something came, or was asked for after a pause
	bytes float64       // that came lately
	busy  float64       // seconds that it took
}

// memory is how long busy time is remembered, in seconds.
const memory = 3.0

// begin has a source that was idle be asked.
func (y *pace) begin(now time.Duration) { y.last = now }

// add records n bytes.
func (y *pace) add(now time.Duration, n int64) {
	y.count(now-y.last, n)
	y.last = now
}

// count records n bytes that took so long.
func (y *pace) count(took time.Duration, n int64) {
	keep := math.Exp(-took.Seconds() / memory)
	y.bytes = y.bytes*keep + float64(n)
	y.busy = y.busy*keep + took.Seconds()
}

// rate is in bytes per second; 0: not known.
func (y *pace) rate() float64 {
	return y.bytes / max(y.busy, leastBusy)
}

// leastBusy is how long something that came in a moment is taken to have come in, in
// seconds.
const leastBusy = 0.02
