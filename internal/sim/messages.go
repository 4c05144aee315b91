package sim

import "github.com/tandem-cdn/tandem/internal/wire"

// ask is what one end of a link tells the other about what it wants.
type ask struct {
	kind         askKind
	urgency      wire.Urgency
	member, slot int32 // to whom
	from         int32 // member
	piece        int32
	at           int32 // quantum in which it counts
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
	n            int32 // bytes; of a refusal the milliseconds to wait
	flags        uint8
	part         uint8 // of the quantum that had gone by, in 255ths
	hop          uint8 // over how many hops the sender had the piece; 0 of files
}

const (
	newsDone    = 1 << iota // the piece is whole
	newsCorrupt             // it does not verify
	newsMissing             // refused: the peer does not have it
	newsBusy                // refused: too much waits already
	newsSpare               // not sent: nothing more was asked for
)

// cancelled is a request that a member has withdrawn: what comes of it until
// then is not wanted.
type cancelled struct {
	slot, piece int32
	until       int32
}

// horizon is the most quanta that a request is on its way.
const horizon = 128

// tell puts a message into the outbox for the shard of its receiver.
func (w *world) tell(s *shard, a ask) {
	to := int(w.members[a.member].host) / w.per
	s.asks[to] = append(s.asks[to], a)
}

// take gives the hosts of a shard the messages that have arrived, and collects
// what flows in this quantum.
func (w *world) take(s *shard) {
	for i := range w.shards {
		box := w.shards[i].asks[s.index]
		for k := range box {
			if a := &box[k]; a.at > w.q {
				soon := &s.soon[min(a.at, w.q+horizon-1)%horizon]
				*soon = append(*soon, *a)
			} else {
				w.hearAsk(s, a)
			}
		}
	}
	now := &s.soon[w.q%horizon]
	for k := range *now {
		w.hearAsk(s, &(*now)[k])
	}
	*now = (*now)[:0]
	s.flows, s.senders, s.fromCDN = s.flows[:0], s.senders[:0], s.fromCDN[:0]
	for i := range s.in {
		s.in[i] = s.in[i][:0]
	}
	keep := s.busy[:0]
	for _, id := range s.busy {
		w.allot(s, id)
		if u := &w.hosts[id].out; u.alloc.Queued() == 0 {
			u.busy, u.spare = false, 0
			continue
		}
		keep = append(keep, id)
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
		w.serve(s, m, l, a)
	case askCancel:
		w.stop(s, m, l, a.piece)
	case askClose:
		m.part(a.slot)
		w.unlink(m, a.slot)
	}
}

// receive gives the members of a shard what was sent to them.
func (w *world) receive(s *shard) {
	for i := range w.shards {
		box := w.shards[i].data[s.index]
		for k := range box {
			w.hearNews(s, &box[k])
		}
	}
	for i := range s.end - s.first {
		spare := &w.downSpare[s.first+i]
		if *spare > 0 && s.inStart[i+1]-s.inStart[i] > 1 {
			*spare = min(*spare, w.down[s.first+i]*w.sec)
		} else {
			*spare = 0
		}
	}
}

func (w *world) hearNews(s *shard, n *news) {
	m := &w.members[n.member]
	if n.flags&newsSpare != 0 {
		w.downSpare[m.host] += float64(n.n)
		return
	}
	unwanted := m.plan == nil || m.withdrew(n, w.q)
	if n.flags&(newsMissing|newsBusy) != 0 {
		if !unwanted {
			w.rejected(m, n)
		}
		return
	}
	m.received += int64(n.n)
	if unwanted {
		if m.plan != nil {
			m.plan.peerLate(int64(n.n))
		}
		return
	}
	w.gotBytes(m, n)
	if n.flags&newsDone != 0 {
		s.tally.transfers++
		w.gotPiece(s, m, n)
	}
}

// withdrew reports whether m has cancelled what the news is about.
func (m *member) withdrew(n *news, q int32) bool {
	if len(m.cancelled) == 0 {
		return false
	}
	keep := m.cancelled[:0]
	found := false
	for _, c := range m.cancelled {
		found = found || c.slot == n.slot && c.piece == n.piece
		if c.until >= q {
			keep = append(keep, c)
		}
	}
	m.cancelled = keep
	return found
}

// gotPiece takes in a whole piece from a peer.
func (w *world) gotPiece(s *shard, m *member, n *news) {
	corrupt := n.flags&newsCorrupt != 0
	l := &m.links[n.slot]
	peer := l.peer
	size := w.objects[m.object].pieceLen(n.piece)
	isNew := w.got(m, n, !corrupt)
	if corrupt && !isNew {
		w.outcomes[n.member].Corrupt += size
	}
	if !isNew {
		return
	}
	if l.up != nil {
		l.up.Had(int(size))
	} else {
		l.had += int32(size)
	}
	o := &w.outcomes[n.member]
	o.FromPeers += size
	if as := w.hosts[w.members[peer].host].as; as != 0 && as == w.hosts[m.host].as {
		o.SameAS += size
	}
	w.store(s, m, n.member, n.piece, arrival{corrupt: corrupt, part: float64(n.part) / 255, hop: n.hop + 1})
}
