package governor

import "time"

// history remembers how many bytes had been sent at which time, for as long as the
// delay of what was sent may take to be known.
type history struct {
	points [256]point
	n      int // ever added
}

type point struct {
	at    time.Duration
	total int64
}

func (h *history) add(at time.Duration, total int64) {
	h.points[h.n%len(h.points)] = point{at, total}
	h.n++
}

func (h *history) point(i int) point { return h.points[i%len(h.points)] }

// at is how many bytes had been sent by then, between two points in proportion.
func (h *history) at(t time.Duration) float64 {
	first := max(0, h.n-len(h.points))
	for i := h.n - 1; i >= first; i-- {
		p := h.point(i)
		if p.at > t {
			continue
		}
		if i == h.n-1 || p.at == t {
			return float64(p.total)
		}
		q := h.point(i + 1)
		return float64(p.total) + float64(q.total-p.total)*float64(t-p.at)/float64(q.at-p.at)
	}
	return float64(h.point(first).total)
}
