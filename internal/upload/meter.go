package upload

import (
	"math"
	"time"
)

const (
	// firstWindow and window are the spans over which delivery is measured.
	firstWindow = time.Second
	window      = 2 * time.Second
	// learn is how fast the measure falls when less was delivered although
	// somebody always waited.
	learn = 0.125
	// steady is how little two windows differ when the uplink is what limits both.
	steady = 0.1
)

// meter learns the rate of an uplink from what is delivered. A window that
// delivered more raises the measure; one that delivered less lowers it only if
// somebody waited all the time, since otherwise less was asked for.
type meter struct {
	total int64 // bytes, ever
	rate  float64
	floor float64 // delivered in windows cut short
	sure  bool    // the uplink was the limit at least once
	from  time.Duration
	bytes int64 // since from
	slack bool  // nobody waited at some moment since from
}

// resume begins anew after a time without requests.
func (m *meter) resume(now time.Duration) {
	m.floor = m.least()
	if span := now - m.from; span >= firstWindow {
		m.rate = max(m.rate, float64(m.bytes)/span.Seconds())
	}
	m.restart(now)
}

// window is the span of the window that is open.
func (m *meter) window() time.Duration {
	if m.rate > 0 {
		return window
	}
	return firstWindow
}

// least is what the uplink has been seen to carry at least, in bytes per second: a
// fast one need not be busy for a whole window to be known as one.
func (m *meter) least() float64 {
	return max(m.rate, m.floor, float64(m.bytes)/m.window().Seconds())
}

func (m *meter) restart(now time.Duration) { m.from, m.bytes, m.slack = now, 0, false }

// add records n bytes delivered; more says whether others wait.
func (m *meter) add(now time.Duration, n int64, more bool) {
	m.total += n
	m.bytes += n
	m.slack = m.slack || !more
	span := now - m.from
	if span < m.window() {
		return
	}
	got := float64(m.bytes) / span.Seconds()
	if !m.slack {
		m.floor = 0
	}
	m.sure = m.sure || !m.slack || math.Abs(got-m.rate) < steady*m.rate
	switch {
	case got > m.rate:
		m.rate = got
	case !m.slack:
		m.rate += learn * (got - m.rate)
	}
	m.restart(now)
}
