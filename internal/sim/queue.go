package sim

import (
	"slices"
	"time"
)

// queue holds the links on which a host is to send, and decides which of them do:
// as in package swarm, at most uploadSlots at a time, each for a request or
// turnBytes; a turn that lasts longer than slotTime stops counting.
type queue struct {
	turns []turn // those that send first, then the others in order of coming
}

// turn is a link in the queue.
type turn struct{ member, slot int32 }

const (
	uploadSlots = 16
	slotTime    = 150 * time.Millisecond
	turnBytes   = 256 << 10
)

func (q *queue) enter(member, slot int32) { q.turns = append(q.turns, turn{member, slot}) }

func (q *queue) leave(member, slot int32) {
	if i := slices.Index(q.turns, turn{member, slot}); i >= 0 {
		q.turns = slices.Delete(q.turns, i, i+1)
	}
}

// leaveSlot is leave for a member that is known by its links only.
func (q *queue) leaveSlot(w *world, m *member, slot int32) {
	q.turns = slices.DeleteFunc(q.turns, func(t turn) bool { return t.slot == slot && &w.members[t.member] == m })
}

// allot grants turns and appends the links that send now to flows.
func (w *world) allot(s *shard, h *host) {
	q := &h.queue
	used := 0
	long := w.quanta(slotTime)
	for _, t := range q.turns {
		if l := &w.members[t.member].links[t.slot]; l.granted >= 0 && w.q-l.granted < long {
			used++
		}
	}
	for _, t := range q.turns {
		m := &w.members[t.member]
		l := &m.links[t.slot]
		if s.reqs[l.head].ready > w.q {
			continue
		}
		if l.granted < 0 {
			if used >= uploadSlots {
				continue
			}
			used++
			l.granted, l.inTurn = w.q, 0
		}
		w.addFlow(s, t, l)
	}
}

// served ends the turn of a link that has sent enough.
func (w *world) served(l *link, n float64, done bool) {
	l.inTurn += float32(n)
	if (done || l.inTurn >= turnBytes) && !w.cfg.Ablate.Rotation {
		l.granted = -1
	}
}

// rotate puts the links whose turns have ended behind the others and forgets
// those that have no requests.
func (w *world) rotate(q *queue) {
	keep := q.turns[:0]
	var ended []turn
	for _, t := range q.turns {
		l := &w.members[t.member].links[t.slot]
		switch {
		case l.head == 0:
			l.granted = -1
		case l.granted < 0 && l.inTurn > 0:
			l.inTurn = 0
			ended = append(ended, t)
		default:
			keep = append(keep, t)
		}
	}
	q.turns = append(keep, ended...)
}
