package fetch

import "time"

// meter measures a byte rate over a sliding window of fixed slots.
type meter struct {
	slot  time.Duration
	sum   []int64
	cur   int64 // number of the current slot since the epoch of the plan
	first int64 // slot of the first byte ever
	any   bool
	total int64
}

func newMeter(window time.Duration, slots int) *meter {
	return &meter{slot: window / time.Duration(slots), sum: make([]int64, slots)}
}

func (m *meter) window() time.Duration { return m.slot * time.Duration(len(m.sum)) }

func (m *meter) advance(now time.Duration) {
	n := int64(now / m.slot)
	if !m.any {
		m.any, m.first, m.cur = true, n, n
		return
	}
	if n-m.cur >= int64(len(m.sum)) {
		clear(m.sum)
		m.cur = n
		return
	}
	for m.cur < n {
		m.cur++
		m.sum[m.cur%int64(len(m.sum))] = 0
	}
}

func (m *meter) add(now time.Duration, n int64) {
	m.advance(now)
	m.sum[m.cur%int64(len(m.sum))] += n
	m.total += n
}

// rate is the mean over the window, or over the time since the first byte when
// that is shorter (but at least one slot), in bytes per second.
func (m *meter) rate(now time.Duration) float64 {
	if !m.any {
		return 0
	}
	m.advance(now)
	var s int64
	for _, x := range m.sum {
		s += x
	}
	slots := min(m.cur-m.first+1, int64(len(m.sum)))
	span := time.Duration(slots-1)*m.slot + now%m.slot
	if span < m.slot {
		span = m.slot
	}
	return float64(s) / span.Seconds()
}

// best remembers the highest rate of the last two periods.
type best struct {
	period    time.Duration
	start     time.Duration
	cur, prev float64
}

func (b *best) see(now time.Duration, r float64) {
	if now-b.start >= b.period {
		b.prev, b.cur, b.start = b.cur, 0, now
	}
	b.cur = max(b.cur, r)
}

func (b *best) value() float64 { return max(b.cur, b.prev) }
