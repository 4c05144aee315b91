package sim

import "time"

// kind is what an event does.
type kind uint8

const (
	evArrive  kind = iota // a: download
	evHold                // a: member of a holding
	evPlan                // a: member
	evJoin                // a: member
	evFind                // a: member
	evRenew               // a: member
	evLink                // a, b: members
	evLeave               // a: member
	evSated               // a: member
	evOnline              // a: host
	evOffline             // a: host
	evWipe
	evDivide
)

// event is something that happens at the beginning of a quantum. runA and runB
// are the lives of members a and b that it is about; those that have ended since
// make it void.
type event struct {
	at         time.Duration
	seq        uint64
	a, b       int32
	runA, runB int32
	kind       kind
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// calendar holds what is to come: a heap of four branches, in order of time and
// then of planning.
type calendar struct {
	heap []event
	seq  uint64
}

const branches = 4

func (c *calendar) add(e event) {
	c.seq++
	e.seq = c.seq
	c.heap = append(c.heap, e)
	i := len(c.heap) - 1
	for i > 0 {
		up := (i - 1) / branches
		if !e.before(&c.heap[up]) {
			break
		}
		c.heap[i] = c.heap[up]
		i = up
	}
	c.heap[i] = e
}

// due takes the next event that is not after now.
func (c *calendar) due(now time.Duration) (event, bool) {
	if len(c.heap) == 0 || c.heap[0].at > now {
		return event{}, false
	}
	top := c.heap[0]
	last := len(c.heap) - 1
	e := c.heap[last]
	c.heap = c.heap[:last]
	if last > 0 {
		c.sink(e)
	}
	return top, true
}

// sink puts e into the place that the top has left.
func (c *calendar) sink(e event) {
	i := 0
	for {
		least := i*branches + 1
		if least >= len(c.heap) {
			break
		}
		for k, end := least+1, min(least+branches, len(c.heap)); k < end; k++ {
			if c.heap[k].before(&c.heap[least]) {
				least = k
			}
		}
		if !c.heap[least].before(&e) {
			break
		}
		c.heap[i] = c.heap[least]
		i = least
	}
	c.heap[i] = e
}

// next is the time of the next event.
func (c *calendar) next() (time.Duration, bool) {
	if len(c.heap) == 0 {
		return 0, false
	}
	return c.heap[0].at, true
}
