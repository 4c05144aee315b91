package sim

import (
	"math"
	"slices"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Limits of real clients; see package swarm.
const (
	maxPeers = 40  // the most peers a swarm seeks
	maxLinks = 200 // the most links a host keeps
	// linkTrips is how many round trips a link takes: TCP or QUIC, TLS, HELLO, OPEN.
	linkTrips = 3
	// linkStep is by how many links the room for them grows.
	linkStep = 12
)

// introduced is a peer that control has named, and the quantum in which it did.
type introduced struct{ peer, at int32 }

// introduce has two members seek each other, if their networks let them.
func (w *world) introduce(a, b int32) {
	ma, mb := &w.members[a], &w.members[b]
	w.expect(ma, b)
	w.expect(mb, a)
	w.remember(ma, b)
	w.remember(mb, a)
	if ma.nlinks >= maxPeers && mb.nlinks >= maxPeers || !w.control.canLink(w, ma.host, mb.host) {
		return
	}
	delay := max(w.hosts[ma.host].delay, w.hosts[mb.host].delay) + w.edges[0].RTT/2
	w.cal.add(event{
		at: w.now + delay + linkTrips*w.rtt(ma.host, mb.host), kind: evLink, a: a, b: b, runA: ma.runs, runB: mb.runs,
	})
}

// remember notes that control has named b to a, and forgets what is long ago: seeds
// are named to many.
func (w *world) remember(m *member, b int32) {
	since := w.q - w.quanta(pairAgain)
	old := 0
	for old < len(m.told) && m.told[old].at < since {
		old++
	}
	m.told = append(slices.Delete(m.told, 0, old), introduced{b, w.q})
}

// wasTold reports whether control has named b to a a moment ago.
func (w *world) wasTold(m *member, b int32) bool {
	since := w.q - w.quanta(pairAgain)
	for i := len(m.told) - 1; i >= 0; i-- {
		if m.told[i].at < since {
			return false
		}
		if m.told[i].peer == b {
			return true
		}
	}
	return false
}

// connect links two members, unless that is pointless or refused by now.
func (w *world) connect(a, b int32) {
	ma, mb := &w.members[a], &w.members[b]
	ha, hb := &w.hosts[ma.host], &w.hosts[mb.host]
	switch {
	case ma.state == seeding && mb.state == seeding,
		ha.links >= maxLinks || hb.links >= maxLinks,
		w.banned[[2]int32{ma.host, mb.host}] || w.banned[[2]int32{mb.host, ma.host}],
		ma.linked(b):
		return
	}
	trip := w.rtt(ma.host, mb.host)
	l := link{
		peer: b, rtt: float32(trip.Seconds()),
		delay: int16(min(w.quanta(trip/2), 1<<(entryBits-1))), trip: int16(min(w.quanta(trip), math.MaxInt16)),
	}
	sa := ma.slot()
	sb := mb.slot()
	l.back = sb
	ma.links[sa] = l
	l.peer, l.back = a, sa
	mb.links[sb] = l
	ma.nlinks++
	mb.nlinks++
	ha.links++
	hb.links++
	pieces := &w.shards[0].pieces
	w.meet(ma, sa, pieces)
	w.meet(mb, sb, pieces)
}

func (m *member) linked(b int32) bool {
	for i := range m.links {
		if m.links[i].peer == b {
			return true
		}
	}
	return false
}

// slot makes room for a link.
func (m *member) slot() int32 {
	if n := len(m.unused); n > 0 {
		i := m.unused[n-1]
		m.unused = m.unused[:n-1]
		return i
	}
	if len(m.links) == cap(m.links) { // by little: there are many members
		m.links = append(make([]link, 0, len(m.links)+linkStep), m.links...)
	}
	m.links = append(m.links, link{peer: -1})
	return int32(len(m.links) - 1)
}

// unlink frees a slot with the requests that wait there. The other end is the
// caller's business.
func (w *world) unlink(m *member, slot int32) {
	l := &m.links[slot]
	h := &w.hosts[m.host]
	if l.up != nil {
		h.out.alloc.Drop(w.now, &l.up.Requester, nil)
		h.out.sending = slices.DeleteFunc(h.out.sending, func(r *requester) bool { return r == l.up })
	}
	*l = link{peer: -1}
	m.unused = append(m.unused, slot)
	m.nlinks--
	h.links--
}

// settle is the end of a quantum: what the shards have found out together.
func (w *world) settle() {
	for i := range w.edges {
		e := &w.edges[i]
		e.spare = 0
		for k := range w.shards {
			e.spare += w.shards[k].cdnSpare[i]
			w.shards[k].cdnSpare[i] = 0
		}
		if len(e.offers) < 2 {
			e.spare = 0
		}
		e.spare = min(e.spare, e.rate*w.sec)
	}
	for i := range w.shards {
		s := &w.shards[i]
		for _, d := range s.drops {
			w.control.blame(w, d)
		}
		s.drops = s.drops[:0]
		for _, id := range s.finished {
			w.finish(id)
		}
		s.finished = s.finished[:0]
	}
}

// canLink decides whether the networks of two hosts let a link come about: by
// their NATs alone where links are certain, else by a draw that always falls
// alike, at the chance that the directory reckons with.
func (c *controlPlane) canLink(w *world, a, b int32) bool {
	if a > b {
		a, b = b, a
	}
	tier := directory.TierOf(w.cfg.Hosts[a].Place, w.cfg.Hosts[b].Place)
	if w.cfg.CertainLinks {
		return tier == directory.SameSite || reach(&w.cfg.Hosts[a], &w.cfg.Hosts[b])
	}
	chance := directory.Connect(tier, c.facts(w, a), c.facts(w, b))
	return unit(mix(w.cfg.Seed^mix(uint64(a)<<32|uint64(b)))) < chance
}

// reach reports whether two hosts on different sites can link where every router
// does what its kind of NAT promises and filters by address and port: the pairs
// that link in bench/results/nat.md. TCP gets in at one end, or both ends punch
// holes, which takes a port that each can know of the other: for TCP where UDP is blocked.
func reach(a, b *Host) bool {
	keeps := func(h *Host) bool { return h.NAT == wire.NATCone || h.NAT == wire.NATBlocked }
	if a.TCP || b.TCP || keeps(a) && keeps(b) {
		return true
	}
	udp := a.NAT != wire.NATBlocked && b.NAT != wire.NATBlocked
	return udp && (a.NAT == wire.NATOpen || b.NAT == wire.NATOpen)
}
