package sim

import (
	"math"
	"time"
)

// ask is what one end of a link tells the other.
type ask struct {
	kind         askKind
	member, slot int32 // to whom
	from         int32
	piece        int32
	ready        int32 // quantum in which the answer can begin, or ends
}

type askKind uint8

const (
	askPiece askKind = iota
	askCancel
	askClose
)

// news is what was sent on a link in a quantum.
type news struct {
	member, slot int32 // of the receiver
	piece        int32
	n            int32 // bytes
	flags        uint8
	part         uint8 // of the quantum in which it ended, in 255ths
	lost         float32
}

const (
	newsDone    = 1 << iota // the piece is whole
	newsCorrupt             // it does not verify
	newsWaste               // it was cancelled
	newsMissing             // refused: the peer does not have it
)

// delayed is an answer that is under way until a quantum.
type delayed struct {
	at int32
	to int32 // shard
	news
}

// tell puts a message into the outbox for the shard of its receiver.
func (w *world) tell(s *shard, _ *member, a ask) {
	to := int(w.members[a.member].host) / w.per
	s.asks[to] = append(s.asks[to], a)
}

// take gives the hosts of a shard the messages for them, and collects what flows
// in this quantum.
func (w *world) take(s *shard) {
	for i := range w.shards {
		box := w.shards[i].asks[s.index]
		for k := range box {
			w.hearAsk(s, &box[k])
		}
	}
	s.flows, s.senders, s.fromCDN = s.flows[:0], s.senders[:0], s.fromCDN[:0]
	for i := range s.in {
		s.in[i] = s.in[i][:0]
	}
	keep := s.busy[:0]
	for _, id := range s.busy {
		h := &w.hosts[id]
		if len(h.queue.turns) == 0 {
			h.busy, h.upSpare = false, 0
			continue
		}
		keep = append(keep, id)
		if h.conduct == Staller {
			continue
		}
		from := len(s.flows)
		w.allot(s, h)
		if to := len(s.flows); to > from {
			s.senders = append(s.senders, sender{id, int32(from), int32(to)})
		} else {
			h.upSpare = 0
		}
	}
	s.busy = keep
	w.takeCDN(s)
}

func (w *world) hearAsk(s *shard, a *ask) {
	m := &w.members[a.member]
	if int(a.slot) >= len(m.links) || m.links[a.slot].peer != a.from {
		return // the link has ended meanwhile
	}
	l := &m.links[a.slot]
	switch a.kind {
	case askPiece:
		w.enqueue(s, m, l, a)
	case askCancel:
		w.withdraw(s, l, a)
	case askClose:
		m.part(a.slot)
		w.unlink(s, m, a.slot)
	}
}

// enqueue puts a request at the end of its link's queue, or refuses it.
func (w *world) enqueue(s *shard, m *member, l *link, a *ask) {
	if !m.have.Has(int(a.piece)) {
		w.later(s, l, a, newsMissing)
		return
	}
	r := s.newReq(request{piece: a.piece, ready: a.ready, toldAt: a.ready})
	if l.head == 0 {
		l.head, l.tail = r, r
		h := &w.hosts[m.host]
		if !h.busy {
			h.busy = true
			s.busy = append(s.busy, m.host)
		}
		h.queue.enter(a.member, a.slot)
		l.granted, l.inTurn = -1, 0
		return
	}
	s.reqs[l.tail].next = r
	l.tail = r
}

// later sends a refusal, which arrives when an answer would have begun.
func (w *world) later(s *shard, l *link, a *ask, flags uint8) {
	to := int(w.members[l.peer].host) / w.per
	s.later = append(s.later, delayed{at: a.ready, to: int32(to), news: news{
		member: l.peer, slot: l.back, piece: a.piece, flags: flags,
	}})
}

// withdraw ends a request that was cancelled: at once if its turn has not come,
// else when the cancellation arrives.
func (w *world) withdraw(s *shard, l *link, a *ask) {
	prev := int32(0)
	for r := l.head; r != 0; prev, r = r, s.reqs[r].next {
		q := &s.reqs[r]
		if q.piece != a.piece || q.cancel != 0 {
			continue
		}
		if q.sent > 0 || r == l.head && q.ready <= a.ready {
			q.cancel = max(1, a.ready)
			return
		}
		w.removeReq(s, l, prev, r)
		if l.head == 0 {
			w.hosts[w.members[a.member].host].queue.leave(a.member, a.slot)
		}
		return
	}
}

func (w *world) removeReq(s *shard, l *link, prev, r int32) {
	next := s.reqs[r].next
	if prev == 0 {
		l.head = next
	} else {
		s.reqs[prev].next = next
	}
	if l.tail == r {
		l.tail = prev
	}
	s.release(r)
}

// initialWindow is what a connection sends in its first round trip (RFC 6928),
// idleReset the pause after which it begins so again (RFC 5681, section 4.1).
const (
	initialWindow = 14600
	idleReset     = time.Second
)

// rampCap is the most that a connection sends per second in a quantum of sec
// seconds: its window doubles every round trip until something else is the limit.
func rampCap(win, rtt float32, limit, sec float64) float64 {
	if rtt == 0 || float64(win) >= 2*float64(rtt)*limit {
		return math.Inf(1)
	}
	return float64(win) * (math.Exp2(sec/float64(rtt)) - 1) / sec
}

// addFlow has a link send in this quantum.
func (w *world) addFlow(s *shard, t turn, l *link) {
	src := w.members[t.member].host
	dst := w.members[l.peer].host
	if w.q-l.last > w.quanta(idleReset) {
		l.win = initialWindow
	}
	limit := min(w.hosts[src].up, w.hosts[dst].down)
	f := flow{member: t.member, slot: t.slot, dst: dst, cap: rampCap(l.win, l.rtt, limit, w.sec)}
	s.flows = append(s.flows, f)
	to := int(dst) / w.per
	s.in[to] = append(s.in[to], inflow{dst: dst, src: src, cap: f.cap})
}

// send lets what flows from the hosts of a shard, and from edges to them, go on
// by one quantum.
func (w *world) send(s *shard) {
	for i := range s.data {
		s.data[i] = s.data[i][:0]
	}
	for i := s.first; i < s.end; i++ {
		w.hosts[i].downLost = 0 // used up by now
	}
	for _, sd := range s.senders {
		h := &w.hosts[sd.host]
		spare := 0.0
		for i := sd.from; i < sd.to; i++ {
			spare += w.sendOn(s, &s.flows[i], w.upLevel[sd.host])
		}
		w.rotate(&h.queue)
		// What ended early leaves room for what waits: in the next quantum, which
		// comes to the same on average.
		h.upSpare = 0
		if len(h.queue.turns) > 0 {
			h.upSpare = min(spare, h.up*w.sec)
		}
	}
	w.sendLater(s)
	w.sendCDN(s)
}

// sendOn sends on one link and returns what it has left over.
func (w *world) sendOn(s *shard, f *flow, up float64) float64 {
	m := &w.members[f.member]
	l := &m.links[f.slot]
	rate := min(f.cap, up, w.downLevel[f.dst])
	all := rate * w.sec
	left := all
	done := false
	for l.head != 0 && left > 0 {
		r := &s.reqs[l.head]
		if r.ready > w.q {
			break
		}
		if r.cancel != 0 && r.cancel <= w.q {
			w.removeReq(s, l, 0, l.head)
			continue
		}
		size := float64(w.objects[m.object].pieceLen(r.piece))
		n := min(left, size-r.sent)
		r.sent += n
		left -= n
		if size-r.sent < 0.5 {
			w.report(s, m, l, r, size, 1-left/all, left)
			w.removeReq(s, l, 0, l.head)
			done = true
			continue
		}
		w.report(s, m, l, r, size, 1, 0)
	}
	l.win += float32(all - left)
	l.last = w.q
	w.served(l, all-left, done)
	return left
}

// tellEvery bounds how long a receiver is not told of what it has got so far, and
// tellBytes how much that may be.
const (
	tellEvery = 250 * time.Millisecond
	tellBytes = 64 << 10
)

// report tells the receiver of a request how far it is.
func (w *world) report(s *shard, m *member, l *link, r *request, size, part, lost float64) {
	whole := size-r.sent < 0.5
	sent := int32(r.sent)
	if whole {
		sent = int32(size)
	}
	n := sent - r.told
	if !whole && n < tellBytes && w.q-r.toldAt < w.quanta(tellEvery) {
		return
	}
	r.told, r.toldAt = sent, w.q
	flags := uint8(0)
	switch {
	case r.cancel != 0:
		flags = newsWaste
	case whole && (w.hosts[m.host].conduct == Poisoner || m.bad.Has(int(r.piece))):
		flags = newsDone | newsCorrupt
	case whole:
		flags = newsDone
	}
	to := w.members[l.peer].host
	s.tally.sent(w, m.host, to, int64(n))
	box := &s.data[int(to)/w.per]
	*box = append(*box, news{
		member: l.peer, slot: l.back, piece: r.piece, n: n, flags: flags, part: uint8(255 * part), lost: float32(lost),
	})
}

// sendLater sends the refusals whose time has come.
func (w *world) sendLater(s *shard) {
	keep := s.later[:0]
	for _, d := range s.later {
		if d.at > w.q {
			keep = append(keep, d)
			continue
		}
		s.data[d.to] = append(s.data[d.to], d.news)
	}
	s.later = keep
}
