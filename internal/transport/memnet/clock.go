package memnet

import (
	"container/heap"
	"sync"
	"time"
)

// clock runs events one by one, in the order of their times, under one lock that
// guards everything else in the package. Events of the same time run in the
// order in which they were made.
type clock struct {
	mu    sync.Mutex
	now   time.Time // of the running event, or of the call that holds mu
	seq   uint64
	queue eventQueue
	timer *time.Timer // fires at the first event of the queue
}

type event struct {
	at  time.Time
	seq uint64
	run func()
}

// lock begins a call from outside; unlock ends it and runs what is due.
func (c *clock) lock() {
	c.mu.Lock()
	c.now = time.Now()
}

func (c *clock) unlock() {
	c.drain()
	c.mu.Unlock()
}

// after makes f run d from now. The caller holds the lock.
func (c *clock) after(d time.Duration, f func()) {
	c.seq++
	heap.Push(&c.queue, event{at: c.now.Add(d), seq: c.seq, run: f})
}

// drain runs the events that are due and sets the timer for the next. An event
// sees its own time as now, so that late timers do not add up.
func (c *clock) drain() {
	limit := c.now
	for len(c.queue) > 0 && !c.queue[0].at.After(limit) {
		e := heap.Pop(&c.queue).(event)
		c.now = e.at
		e.run()
	}
	c.now = limit
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if len(c.queue) > 0 {
		c.timer = time.AfterFunc(time.Until(c.queue[0].at), func() {
			c.lock()
			c.unlock()
		})
	}
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }

func (q eventQueue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].seq < q[j].seq
	}
	return q[i].at.Before(q[j].at)
}

func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *eventQueue) Push(x any) { *q = append(*q, x.(event)) }

func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
