package governor

import "time"

// burst is how much a Bucket holds at most, in time at its rate: less than what a
// queue is felt for.
const burst = 10 * time.Millisecond

// Bucket lets bytes through at a rate. What is let through at once may be more than
// it holds; the next then waits until that is made good. Its zero value is not
// usable; see [NewBucket]. Time is counted from any moment.
type Bucket struct {
	rate float64 // bytes per second
	have float64 // bytes; less than 0 is owed
	at   time.Duration
}

// NewBucket returns a bucket for a rate in bytes per second.
func NewBucket(rate float64) *Bucket { return &Bucket{rate: rate} }

// SetRate changes the rate. What is owed stays owed.
func (b *Bucket) SetRate(now time.Duration, rate float64) {
	b.fill(now)
	b.rate = rate
}

// Wait is how long it is until something may be sent; 0 is now.
func (b *Bucket) Wait(now time.Duration) time.Duration {
	b.fill(now)
	if b.have >= 0 {
		return 0
	}
	return min(seconds(-b.have/b.rate), time.Hour) + time.Microsecond
}

// Take takes n bytes.
func (b *Bucket) Take(now time.Duration, n int) {
	b.fill(now)
	b.have -= float64(n)
}

// Portion is how much should be sent at once, at most n bytes.
func (b *Bucket) Portion(n int) int {
	const least = 1200 // a packet
	return min(n, max(least, int(b.rate*burst.Seconds())))
}

func (b *Bucket) fill(now time.Duration) {
	b.have = min(b.rate*burst.Seconds(), b.have+b.rate*(now-b.at).Seconds())
	b.at = now
}
