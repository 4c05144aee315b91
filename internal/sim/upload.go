package sim

import (
	"math"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/upload"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// uplink is what a host sends: whom it serves is for package upload to say.
type uplink struct {
	alloc   *upload.Allocator // nil until somebody asks
	sending []*requester      // have a turn, or had one until lately
	busy    bool              // in the list of its shard
	spare   float64           // bytes that turns which ended early have left over
}

// requester is the far end of a link, which asks for pieces. It has all that it
// takes to send to it: where there are many hosts, nothing is in any cache.
type requester struct {
	upload.Requester
	member int32   // that is asked
	to     int32   // the member that asks
	slot   int32   // of the link there
	dst    int32   // its host
	last   int32   // quantum in which something was sent
	win    float32 // congestion window, bytes
	rtt    float32
	frac   float32
	untold int32 // bytes of a frame that is not whole yet
	listed bool  // in the uplink's list
}

// serve gives a request to the uplink, or refuses it.
func (w *world) serve(s *shard, m *member, l *link, a *ask) {
	h := &w.hosts[m.host]
	switch {
	case h.conduct == Staller:
		return
	case !m.have.Has(int(a.piece)):
		w.answer(s, l, a.piece, newsMissing, 0)
		return
	case h.out.alloc == nil:
		var c upload.Config
		if w.cfg.Ablate.Rotation {
			c.Rotate = -1
		}
		h.out.alloc = upload.New(c)
	}
	if l.up == nil {
		l.up = w.newRequester(a.member, l)
	}
	q := upload.Request{
		Request: wire.Request{
			ID: uint32(a.piece), Piece: uint32(a.piece), Urgency: a.urgency,
			Length: uint32(w.objects[m.object].pieceLen(a.piece)),
		},
		Rare: w.rare(m, a.piece),
		Left: w.members[l.peer].lacks(),
	}
	if busy, ok := h.out.alloc.Ask(w.now, &l.up.Requester, q); !ok {
		w.answer(s, l, a.piece, newsBusy, int32(busy.Retry/time.Millisecond))
		return
	}
	if !h.out.busy {
		h.out.busy = true
		s.busy = append(s.busy, m.host)
	}
}

// lacks is which part m lacks of what it knows of.
func (m *member) lacks() float32 { return 1 - float32(m.count)/float32(max(m.known, m.count, 1)) }

func (w *world) newRequester(member int32, l *link) *requester {
	a, b := w.members[member].host, w.members[l.peer].host
	r := &requester{member: member, to: l.peer, slot: l.back, dst: b, last: w.q, win: initialWindow, rtt: l.rtt}
	r.Owner = r
	switch directory.TierOf(w.cfg.Hosts[a].Place, w.cfg.Hosts[b].Place) {
	case directory.SameSite:
		r.Near = wire.Nearest
	case directory.SameNet:
		r.Near = wire.NearNet
	case directory.SameAS:
		r.Near = wire.NearAS
	case directory.SameCountry:
		r.Near = wire.NearCountry
	default:
	}
	if w.cfg.Ablate.Locality {
		r.Near = 0
	}
	r.Had(int(l.had))
	return r
}

// satedAfter is how long after its last piece nothing that a member has asked for is
// on its way any more.
const satedAfter = 5 * time.Second

// sated has those whom a seed has asked forget what they know of it as one that asks:
// in a large world most links are to seeds.
func (w *world) sated(m *member) {
	for i := range m.links {
		if l := &m.links[i]; l.peer >= 0 {
			if far := &w.members[l.peer].links[l.back]; far.up != nil && far.up.Idle() {
				far.up = nil
			}
		}
	}
}

// stop ends a request that was cancelled; what was begun of a frame still arrives.
func (w *world) stop(s *shard, m *member, l *link, piece int32) {
	r := l.up
	if r == nil {
		return
	}
	if q, ok := r.Turn(); ok && int32(q.Piece) == piece && r.untold > 0 {
		w.answer(s, l, piece, 0, r.untold)
		s.tally.sent(w, m.host, r.dst, int64(r.untold))
		r.untold = 0
	}
	w.hosts[m.host].out.alloc.Cancel(w.now, &r.Requester, uint32(piece))
}

// rare reports whether at most one neighbour of m has a piece, as package swarm
// reckons.
func (w *world) rare(m *member, piece int32) bool {
	n := 0
	for i := range m.links {
		if p := m.links[i].peer; p >= 0 && w.members[p].have.Has(int(piece)) {
			if n++; n > 1 {
				return false
			}
		}
	}
	return true
}

// answer tells the far end of a request what has become of it.
func (w *world) answer(s *shard, l *link, piece int32, flags uint8, n int32) {
	to := int(w.members[l.peer].host) / w.per
	s.answers = append(s.answers, answer{to, news{member: l.peer, slot: l.back, piece: piece, flags: flags, n: n}})
}

// answer is news before anything is sent in a quantum, with the shard that it is
// for.
type answer struct {
	to int
	news
}

// allot gives turns to those who wait and collects the links that send now.
func (w *world) allot(s *shard, id int32) {
	h := &w.hosts[id]
	u := &h.out
	w.giveTurns(u)
	from := len(s.flows)
	keep := u.sending[:0]
	for _, r := range u.sending {
		if _, ok := r.Turn(); !ok {
			r.listed = false
			continue
		}
		keep = append(keep, r)
		w.addFlow(s, id, r)
	}
	clear(u.sending[len(keep):])
	u.sending = keep
	if to := len(s.flows); to > from {
		s.senders = append(s.senders, sender{id, int32(from), int32(to)})
	} else {
		u.spare = 0
	}
}

// giveTurns gives out the turns that are free and reports whether r has got one.
func (w *world) giveTurns(u *uplink) {
	for n := u.alloc.Next(w.now); n != nil; n = u.alloc.Next(w.now) {
		if r := n.Owner.(*requester); !r.listed {
			r.listed = true
			u.sending = append(u.sending, r)
		}
	}
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
func (w *world) addFlow(s *shard, src int32, r *requester) {
	if w.q-r.last > w.reset {
		r.win = initialWindow
	}
	f := flow{r: r, dst: r.dst, cap: rampCap(r.win, r.rtt, min(w.hosts[src].up, w.down[r.dst]), w.sec)}
	s.flows = append(s.flows, f)
	to := int(r.dst) / w.per
	s.in[to] = append(s.in[to], inflow{dst: r.dst, src: src, cap: f.cap})
}

// frame is how much of a piece arrives at once, in bytes: as links of ordinary speed
// have it.
const frame = 32 << 10

// send lets what flows from the hosts of a shard, and from edges to them, go on
// by one quantum.
func (w *world) send(s *shard) {
	for i := range s.data {
		s.data[i], s.asks[i] = s.data[i][:0], s.asks[i][:0]
	}
	for _, r := range s.answers {
		s.data[r.to] = append(s.data[r.to], r.news)
	}
	s.answers = s.answers[:0]
	clear(w.downSpare[s.first:s.end]) // used up by now
	for _, sd := range s.senders {
		h := &w.hosts[sd.host]
		h.out.alloc.Full(w.now, !math.IsInf(w.upLevel[sd.host], 1))
		spare := 0.0
		for i := sd.from; i < sd.to; i++ {
			spare += w.sendOn(s, &s.flows[i], h, w.upLevel[sd.host])
		}
		// What ended early leaves room for what waits: in the next quantum, which
		// comes to the same on average.
		h.out.spare = 0
		if h.out.alloc.Queued() > 0 {
			h.out.spare = min(spare, h.up*w.sec)
		}
	}
	w.sendCDN(s)
}

// sendOn sends on one link and returns what it has left over.
func (w *world) sendOn(s *shard, f *flow, h *host, up float64) float64 {
	r := f.r
	all := min(f.cap, up, w.downLevel[f.dst])*w.sec + float64(r.frac)
	left := int64(all)
	r.frac = float32(all - float64(left))
	for left > 0 {
		q, ok := r.Turn()
		if !ok {
			w.giveTurns(&h.out)
			if q, ok = r.Turn(); !ok {
				break
			}
		}
		n := min(left, int64(q.Length))
		left -= n
		r.win += float32(n)
		r.untold += int32(n)
		if goesOn := h.out.alloc.Sent(w.now, &r.Requester, q.ID, int(n)); !goesOn || r.untold >= frame {
			w.report(s, r, q, n == int64(q.Length), float64(left)/all)
		}
	}
	r.last = w.q
	if left > 0 && !math.IsInf(w.downLevel[f.dst], 1) { // what others of the receiver would have had
		box := &s.data[int(r.dst)/w.per]
		*box = append(*box, news{member: r.to, slot: r.slot, n: int32(left), flags: newsSpare})
	}
	return float64(left)
}

// report tells the receiver of what was sent of a request: by the frame, as it is
// in the real protocol. left is which part of the quantum is left.
func (w *world) report(s *shard, r *requester, q upload.Request, whole bool, left float64) {
	x := news{member: r.to, slot: r.slot, piece: int32(q.Piece), n: r.untold, part: uint8(255 * (1 - left))}
	r.untold = 0
	m := &w.members[r.member]
	if whole {
		x.flags = newsDone
		if w.objects[m.object].stream != nil {
			x.hop = w.hops[r.member][q.Piece]
		}
		if w.hosts[m.host].conduct == Poisoner || m.bad.Has(int(q.Piece)) {
			x.flags |= newsCorrupt
		}
	}
	s.tally.sent(w, m.host, r.dst, int64(x.n))
	box := &s.data[int(r.dst)/w.per]
	*box = append(*box, x)
}
