package fetch

import "time"

// meter measures a byte rate over a sliding window of fixed slots.
type meter struct {
	next  time.Duration // end of the current slot
	slot  time.Duration
	slots []int64
	sum   int64 // of the slots
	total int64
	cur   int32 // number of the current slot since the epoch of the plan
	first int32 // slot of the first byte ever
	any   bool
}

// mostSlots is the most that a meter has of its own.
const mostSlots = 20

func newMeter(window time.Duration, slots int) *meter {
	var m struct {
		meter
		room [mostSlots]int64
	}
	m.meter = makeMeter(window, m.room[:slots])
	return &m.meter
}

// makeMeter is a meter in the memory of its owner.
func makeMeter(window time.Duration, slots []int64) meter {
	return meter{slot: window / time.Duration(len(slots)), slots: slots}
}

func (m *meter) window() time.Duration { return m.slot * time.Duration(len(m.slots)) }

func (m *meter) advance(now time.Duration) {
	if m.any && now < m.next {
		return
	}
	n := int32(now / m.slot)
	m.next = time.Duration(n+1) * m.slot
	if !m.any {
		m.any, m.first, m.cur = true, n, n
		return
	}
	if n-m.cur >= int32(len(m.slots)) {
		clear(m.slots)
		m.cur, m.sum = n, 0
		return
	}
	for m.cur < n {
		m.cur++
		s := &m.slots[m.cur%int32(len(m.slots))]
		m.sum -= *s
		*s = 0
	}
}

func (m *meter) add(now time.Duration, n int64) {
	m.advance(now)
	m.slots[m.cur%int32(len(m.slots))] += n
	m.sum += n
	m.total += n
}

// rate is the mean over the window, or over the time since the first byte when
// that is shorter (but at least one slot), in bytes per second.
func (m *meter) rate(now time.Duration) float64 {
	if !m.any {
		return 0
	}
	m.advance(now)
	slots := min(m.cur-m.first+1, int32(len(m.slots)))
	span := time.Duration(slots)*m.slot + now - m.next
	return float64(m.sum) / (float64(max(span, m.slot)) / float64(time.Second))
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
