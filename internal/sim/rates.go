package sim

import "math"

// Bandwidth is shared max-min fairly among the flows on access links. Every link
// has a level: the rate of those of its flows that nothing else holds back,
// infinite when the link is not full. A flow's rate is the least of the levels on
// its way and of its own cap. Levels are found by passing them to and fro between
// the two sides until they agree (Charny, Clark and Jain 1995): each link fits
// its level to what the other ends allow. In large worlds a few rounds, which
// begin with the levels of the last quantum, must do.
const (
	mostRounds  = 64
	largeRounds = 3
	largeWorld  = 5000 // hosts
	tolerance   = 1e-6
)

// flow is a link on which a host sends in this quantum.
type flow struct {
	r   *requester
	dst int32 // host
	cap float64
}

// sender is a host that sends, with its flows.
type sender struct {
	host     int32
	from, to int32 // in flows
}

// cdnFlow is a request to an edge that is being answered.
type cdnFlow struct {
	member, index int32
	edge, dst     int32
	cap           float64
}

// inflow is a flow as the receiving side sees it; src is a host, or −1−edge.
type inflow struct {
	dst, src int32
	cap      float64
}

// level returns the greatest λ for which the sum of min(λ, offer) is within
// capacity, +Inf when all of the offers fit.
func level(capacity float64, offers []float64) float64 {
	sum := 0.0
	for _, o := range offers {
		sum += o
	}
	if sum <= capacity {
		return math.Inf(1)
	}
	lambda, small := capacity/float64(len(offers)), 0
	for {
		rest, n := capacity, 0
		for _, o := range offers {
			if o <= lambda {
				rest -= o
				n++
			}
		}
		if n == small || n == len(offers) {
			return lambda
		}
		small = n
		lambda = max(lambda, rest/float64(len(offers)-n))
	}
}

// share finds the levels of this quantum.
func (w *world) share() {
	w.each(w.gather)
	rounds := mostRounds
	if len(w.hosts) > largeWorld {
		rounds = largeRounds
	}
	for range rounds {
		w.each(w.upPass)
		edges := w.edgePass(false)
		w.each(w.downPass)
		if !w.anyChanged() && !edges {
			break
		}
	}
	// Whatever the downlinks have been told last, no uplink gives more than it has.
	w.each(w.upClip)
	w.edgePass(true)
}

func (w *world) anyChanged() bool {
	for i := range w.shards {
		if w.shards[i].changed {
			return true
		}
	}
	return false
}

// gather sorts the flows into this shard by receiver.
func (w *world) gather(s *shard) {
	clear(s.inStart)
	n := 0
	for i := range w.shards {
		in := w.shards[i].in[s.index]
		for k := range in {
			s.inStart[int(in[k].dst)-s.first+1]++
		}
		n += len(in)
	}
	for i := 1; i < len(s.inStart); i++ {
		s.inStart[i] += s.inStart[i-1]
	}
	s.inflows = resize(s.inflows, n)
	for i := range w.shards {
		for _, f := range w.shards[i].in[s.index] {
			at := &s.inStart[int(f.dst)-s.first]
			s.inflows[*at] = f
			*at++
		}
	}
	// Each start has moved to its end, which is the next one's start.
	copy(s.inStart[1:], s.inStart)
	s.inStart[0] = 0
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

func (w *world) upPass(s *shard) {
	s.changed = false
	for _, sd := range s.senders {
		l := w.upOf(s, sd)
		s.changed = s.changed || differs(l, w.upLevel[sd.host])
		w.upLevel[sd.host] = l
	}
}

func (w *world) upClip(s *shard) {
	for _, sd := range s.senders {
		w.upLevel[sd.host] = min(w.upLevel[sd.host], w.upOf(s, sd))
	}
}

func (w *world) upOf(s *shard, sd sender) float64 {
	h := &w.hosts[sd.host]
	s.offers = s.offers[:0]
	for _, f := range s.flows[sd.from:sd.to] {
		s.offers = append(s.offers, min(f.cap, w.downLevel[f.dst]))
	}
	return level(h.up+h.out.spare/w.sec, s.offers)
}

func (w *world) downPass(s *shard) {
	for i := range s.end - s.first {
		in := s.inflows[s.inStart[i]:s.inStart[i+1]]
		if len(in) == 0 {
			continue
		}
		s.offers = s.offers[:0]
		for k := range in {
			s.offers = append(s.offers, min(in[k].cap, w.offer(in[k].src)))
		}
		l := level(w.down[s.first+i]+w.downSpare[s.first+i]/w.sec, s.offers)
		s.changed = s.changed || differs(l, w.downLevel[s.first+i])
		w.downLevel[s.first+i] = l
	}
}

// offer is the level at the source of a flow.
func (w *world) offer(src int32) float64 {
	if src < 0 {
		return w.edges[-1-src].level
	}
	return w.upLevel[src]
}

// edgePass fits the levels of the edges and reports whether one has changed.
func (w *world) edgePass(clip bool) bool {
	for i := range w.edges {
		w.edges[i].offers = w.edges[i].offers[:0]
	}
	for i := range w.shards {
		for _, f := range w.shards[i].fromCDN {
			e := &w.edges[f.edge]
			e.offers = append(e.offers, min(f.cap, w.downLevel[f.dst]))
		}
	}
	changed := false
	for i := range w.edges {
		e := &w.edges[i]
		l := math.Inf(1)
		if len(e.offers) > 0 && !math.IsInf(e.rate, 1) {
			l = level(e.rate+e.spare/w.sec, e.offers)
		}
		if clip {
			l = min(l, e.level)
		}
		changed = changed || differs(l, e.level)
		e.level = l
	}
	return changed
}

func differs(a, b float64) bool {
	return a != b && math.Abs(a-b) > tolerance*min(a, b)
}
