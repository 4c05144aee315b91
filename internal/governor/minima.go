package governor

import (
	"math"
	"time"
)

const (
	buckets    = 10
	bucketTime = time.Minute
)

// minima is the least of what was seen in the last ten minutes (RFC 6817, section
// 4.2): routes change, and clocks drift. The zero value has seen nothing.
type minima struct {
	least [buckets]float64
	index int64 // of the newest bucket; 0: there is none
}

func (m *minima) add(now time.Duration, v float64) {
	i := int64(now/bucketTime) + buckets + 1
	if m.index == 0 {
		m.index = i - buckets
	}
	for ; m.index < i; m.index++ {
		m.least[(m.index+1)%buckets] = math.Inf(1)
		if i-m.index > buckets {
			m.index = i - buckets - 1
		}
	}
	b := &m.least[i%buckets]
	*b = min(*b, v)
}

// least of all; infinite where nothing was seen.
func (m *minima) min() float64 {
	if m.index == 0 {
		return math.Inf(1)
	}
	least := math.Inf(1)
	for _, v := range m.least {
		least = min(least, v)
	}
	return least
}
