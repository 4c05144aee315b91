package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestCalendar takes events out of calendars while others are added: none is before
// the one that was taken last. A heap that is wrong shows it once in a million.
func TestCalendar(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var c calendar
		var last event
		span := 1 + rng.IntN(100_000)
		for range 1 + rng.IntN(3000) {
			c.add(event{at: time.Duration(rng.IntN(span))})
		}
		for range 20_000 {
			e, ok := c.due(time.Hour)
			if !ok {
				break
			}
			if e.before(&last) {
				t.Fatalf("seed %d: the event at %v, %d comes after that at %v, %d", seed, e.at, e.seq, last.at, last.seq)
			}
			last = e
			for range rng.IntN(3) {
				c.add(event{at: e.at + time.Duration(rng.IntN(span))})
			}
		}
	}
}
