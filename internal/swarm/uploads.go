package swarm

import (
	"sync"
	"time"
)

// uploads hands out turns to send. Few links send at a time, so that a piece
// goes out at the full rate of the uplink and can soon be passed on, and the
// links take turns by the request, so that all are served alike. A turn that a
// slow receiver holds up stops counting after slotTime: the uplink is never
// idle for want of a turn.
type uploads struct {
	mu    sync.Mutex
	slots int
	used  int
	queue []*turn
}

const (
	// uploadSlots is how many links send at a time.
	uploadSlots = 16
	// slotTime is how long a link counts as sending.
	slotTime = 150 * time.Millisecond
	// turnBytes is the most that is sent in one turn.
	turnBytes = 256 << 10
)

// turn is a link's place in the queue. ready is closed when it may send.
type turn struct {
	ready   chan struct{}
	timer   *time.Timer
	granted bool
	ended   bool
}

func newUploads(slots int) *uploads { return &uploads{slots: slots} }

// enter queues for a turn.
func (u *uploads) enter() *turn {
	u.mu.Lock()
	defer u.mu.Unlock()
	t := &turn{ready: make(chan struct{})}
	u.queue = append(u.queue, t)
	u.grant()
	return t
}

// leave ends a turn, or gives up the place in the queue.
func (u *uploads) leave(t *turn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end(t)
}

func (u *uploads) end(t *turn) {
	if t.ended {
		return
	}
	t.ended = true
	if t.granted {
		t.timer.Stop()
		u.used--
	} else {
		for i, q := range u.queue {
			if q == t {
				u.queue = append(u.queue[:i], u.queue[i+1:]...)
				break
			}
		}
	}
	u.grant()
}

func (u *uploads) grant() {
	for u.used < u.slots && len(u.queue) > 0 {
		t := u.queue[0]
		u.queue = u.queue[1:]
		u.used++
		t.granted = true
		t.timer = time.AfterFunc(slotTime, func() { u.leave(t) })
		close(t.ready)
	}
}
