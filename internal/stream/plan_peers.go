package stream

import (
	"cmp"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// PeerInfo describes a peer that is linked.
type PeerInfo struct {
	Seed    uint64        // its place in the election
	Uploads bool          // it serves requests
	Uplink  uint32        // kbit/s; 0 is not known
	RTT     time.Duration // 0 is not known
}

// peer is another client as a Plan sees it.
type peer struct {
	id    PeerID
	info  PeerInfo
	has   holdings
	queue []*asking // in the order of asking
	pace  pace
	heard time.Duration // when something came of it, or was asked after a pause
	until time.Duration // it is not to be asked before
	good  bool          // something of it has verified
	byte  float64       // how long one takes of a piece that has begun to come, in seconds; 0: not known
	// window is how much may be asked of it ahead, in bytes: more with every piece that
	// comes, and no more than it takes when it is busy.
	window int64
	snubs  int
	lies   int
}

// holding is what a peer has of a track.
type holding struct {
	bits
	newest time.Duration // the start of the last segment that it has something of; −1: none
}

// holdings are what a peer has, by track; nil of tracks that it takes no part in.
type holdings []*holding

func (h holdings) of(t TrackID) *holding {
	if int(t) >= len(h) {
		return nil
	}
	return h[t]
}

func (h *holdings) put(t TrackID, to *holding) {
	for int(t) >= len(*h) {
		*h = append(*h, nil)
	}
	(*h)[t] = to
}

// asking is a piece that is asked of a peer.
type asking struct {
	peer    *peer
	t       *ptrack
	piece   int
	n       int64
	urgency wire.Urgency
	since   time.Duration // when it was asked, or when something of it came last
	begun   int64         // bytes that have come
	came    time.Duration // the first of them
}

// AddPeer has a peer come.
func (p *Plan) AddPeer(id PeerID, info PeerInfo) {
	q := &peer{id: id, info: info, window: leastWindow}
	p.peers[id] = q
	i, _ := slices.BinarySearchFunc(p.order, id, func(q *peer, id PeerID) int { return int(q.id - id) })
	p.order = slices.Insert(p.order, i, q)
}

// RemovePeer has a peer go, with all that it was asked for.
func (p *Plan) RemovePeer(id PeerID) {
	q := p.peers[id]
	if q == nil {
		return
	}
	for t := range q.has {
		p.LeaveTrack(id, TrackID(t))
	}
	delete(p.peers, id)
	p.order = slices.DeleteFunc(p.order, func(o *peer) bool { return o == q })
}

// JoinTrack has a peer take part in a track.
func (p *Plan) JoinTrack(id PeerID, of TrackID) {
	if q := p.peers[id]; q != nil && q.has.of(of) == nil {
		q.has.put(of, &holding{newest: -1})
	}
}

// LeaveTrack has a peer leave a track.
func (p *Plan) LeaveTrack(id PeerID, of TrackID) {
	q := p.peers[id]
	if q == nil || q.has.of(of) == nil {
		return
	}
	t, h := p.tracks[of], q.has.of(of)
	for _, a := range slices.Clone(q.queue) {
		if a.t == t {
			p.take(q, t, a.piece)
		}
	}
	for i := range min(h.Len(), len(t.cells)) {
		if h.Has(i) {
			t.cells[i].holders--
		}
	}
	q.has.put(of, nil)
}

// PeerHas records pieces that a peer has, if it gives them: what others have is to be had
// of nobody, and would keep the edge from being asked for it.
func (p *Plan) PeerHas(id PeerID, of TrackID, pieces []int) {
	q, t := p.peers[id], p.tracks[of]
	if q == nil || !q.info.Uploads || q.has.of(of) == nil {
		return
	}
	h := q.has.of(of)
	for _, i := range pieces {
		if t.knows(i) && h.put(i) {
			t.cells[i].holders++
			if s := t.segOf(i); !s.Init {
				h.newest = max(h.newest, s.Start)
			}
		}
	}
}

// PeerLost records pieces that a peer has no more.
func (p *Plan) PeerLost(id PeerID, of TrackID, pieces []int) {
	q, t := p.peers[id], p.tracks[of]
	if q == nil || q.has.of(of) == nil {
		return
	}
	for _, i := range pieces {
		if q.has.of(of).Has(i) {
			q.has.of(of).Clear(i)
			t.cells[i].holders--
		}
	}
}

// PeerBytes records n bytes of a piece that a peer was asked for.
func (p *Plan) PeerBytes(now time.Duration, id PeerID, of TrackID, piece int, n int64) {
	q, t := p.peers[id], p.tracks[of]
	if q == nil {
		return
	}
	q.pace.add(now, n)
	p.all.add(now, n)
	q.heard = now
	if !t.knows(piece) {
		return
	}
	a := t.cells[piece].ask
	if a == nil || a.peer != q {
		return
	}
	if a.begun == 0 {
		a.came = now
	}
	a.begun += n
	a.since = now
}

// PeerLate records n bytes in answer to a request that was withdrawn.
func (p *Plan) PeerLate(n int64) { p.wasted += n }

// PeerPiece records a piece that a peer has sent, and whether it verified. It reports
// whether it is new.
func (p *Plan) PeerPiece(id PeerID, of TrackID, piece int, ok bool) bool {
	q, t := p.peers[id], p.tracks[of]
	if q != nil {
		if a := t.cells[piece].ask; a != nil && a.peer == q {
			a.begun = a.n
			q.timed(max((a.since-a.came).Seconds(), leastBusy) / float64(a.n))
		}
		p.take(q, t, piece)
	}
	if !ok {
		p.wasted += t.segOf(piece).pieceLen(piece)
		p.do(DropPeer{Peer: id, Reason: "corrupt"})
		return false
	}
	if q != nil {
		q.good, q.snubs = true, 0
		q.window = min(q.window+t.segOf(piece).pieceLen(piece), maxQueue)
	}
	return p.got(t, piece)
}

// timed records what a byte of a piece has taken.
func (q *peer) timed(took float64) {
	if q.byte == 0 {
		q.byte = took
	}
	q.byte += (took - q.byte) / 4
}

// PeerReject records that a peer does not serve a piece.
func (p *Plan) PeerReject(now time.Duration, id PeerID, of TrackID, piece int, missing bool, retry time.Duration) {
	q := p.peers[id]
	if q == nil {
		return
	}
	p.take(q, p.tracks[of], piece)
	if !missing {
		q.window = max(q.queued(), leastWindow)
		if len(q.queue) > 0 { // it serves, but not that much at once
			retry = leastPause
		}
		q.until = max(q.until, now+max(retry, leastPause))
		return
	}
	p.PeerLost(id, of, []int{piece})
	if q.lies++; q.lies > maxLies {
		p.do(DropPeer{Peer: id, Reason: "liar"})
	}
}

// take takes a piece from a peer's queue. What has come of it counts for nothing then,
// unless it is whole.
func (p *Plan) take(q *peer, t *ptrack, piece int) {
	a := t.cells[piece].ask
	if a == nil || a.peer != q {
		return
	}
	t.cells[piece].ask = nil
	q.queue = slices.DeleteFunc(q.queue, func(o *asking) bool { return o == a })
	p.asked -= a.n
	if a.begun < a.n {
		p.wasted += a.begun
	}
}

// cancelPeer withdraws the request for a piece.
func (p *Plan) cancelPeer(t *ptrack, piece int) {
	q := t.cells[piece].ask.peer
	p.do(CancelPeer{Peer: q.id, Track: t.id, Piece: piece})
	p.take(q, t, piece)
}

// queued is what is asked of a peer and has not come, in bytes.
func (q *peer) queued() (n int64) {
	for _, a := range q.queue {
		n += a.n - a.begun
	}
	return n
}

// takes is how long a peer needs for n bytes more.
func (q *peer) takes(n int64) time.Duration {
	return q.info.RTT + seconds(float64(n)/q.rate())
}

// rate is what is counted on of a peer: as long as it has sent nothing, a part of what it
// says.
func (q *peer) rate() float64 {
	const kbit, part = 125, 4 // bytes; of its uplink others have a share
	if r := q.pace.rate(); r > 0 {
		return peerShare * r
	}
	return max(guess, float64(q.info.Uplink)*kbit/part)
}

// soonest is how long a peer needs for n bytes if it turns to them at once. What waits
// there, of others too, is not known, and to wait costs nothing: what has not begun can be
// taken back.
func (q *peer) soonest(n int64) time.Duration {
	if q.byte == 0 {
		return q.takes(n)
	}
	return q.info.RTT + seconds(float64(n)*q.byte)
}

// room reports whether a peer is to be asked for n bytes more.
func (q *peer) room(now time.Duration, n int64) bool {
	if now < q.until || !q.info.Uploads {
		return false
	}
	if len(q.queue) < 2 {
		return len(q.queue) == 0 || q.good
	}
	if !q.good {
		return false
	}
	deep := q.pace.rate() * (depth + 3*q.info.RTT/2).Seconds()
	return float64(q.queued()+n) <= min(deep, float64(q.window))
}

// best is the peer that would have a piece here first of those that have room; nil where
// there is none.
func (p *Plan) best(now time.Duration, z zoned, piece int) (best *peer) {
	eta := time.Duration(1<<63 - 1)
	n := z.s.pieceLen(piece)
	for _, q := range p.order {
		if h := q.has.of(z.t.id); h == nil || !h.Has(piece) || !q.room(now, n) {
			continue
		}
		if t := q.takes(q.queued() + n); t < eta {
			best, eta = q, t
		}
	}
	return best
}

// wish is a piece that peers have and nobody is asked for.
type wish struct {
	z     *zoned
	piece int
	order uint32 // among pieces that are equally rare
}

// askPeers fills the pipelines of peers: with what is due soon in the order of deadlines,
// then with what is rarest, of a live stream the newest first. Equally rare pieces are
// asked for in another order by every client, so that they have something for each other.
func (p *Plan) askPeers(now time.Duration, zone []zoned) {
	near, far := p.wishes(now, zone)
	until, urgent := p.edge.urgent()
	if urgent { // which what has time would delay
		far = nil
	}
	for _, w := range append(near, far...) {
		if urgent && w.z.due > until && !p.thin(w.z.s) {
			break
		}
		n := w.z.s.pieceLen(w.piece)
		if p.asked+n > maxAsked {
			return
		}
		q := p.best(now, *w.z, w.piece)
		if q == nil || now+q.soonest(n) > w.z.due-p.guard() && p.edgeReady(now, w.z.s) && !p.thin(w.z.s) { // which will
			continue
		}
		if w.z.s.readers > 0 && p.thin(w.z.s) && p.slower(q.soonest(n), n) {
			continue
		}
		u := wire.UrgencyBackground
		switch {
		case w.z.s.readers > 0:
			u = wire.UrgencyReader
		case w.z.due-now < soon:
			u = wire.UrgencyNormal
		}
		p.ask(now, q, w.z.t, w.piece, u)
	}
}

// ask asks a peer for a piece.
func (p *Plan) ask(now time.Duration, q *peer, t *ptrack, piece int, u wire.Urgency) {
	p.busy(now)
	if len(q.queue) == 0 {
		q.pace.begin(now)
		q.heard = now
	}
	n := t.segOf(piece).pieceLen(piece)
	a := &asking{peer: q, t: t, piece: piece, n: n, urgency: u, since: now, came: now}
	q.queue = append(q.queue, a)
	t.cells[piece].ask = a
	p.asked += n
	p.do(AskPeer{Peer: q.id, Track: t.id, Piece: piece, Urgency: u})
}

// wishes are what could be asked for, in order: what is due soon, and the rest. They are
// nothing while no peer has room.
func (p *Plan) wishes(now time.Duration, zone []zoned) (near, far []wish) {
	if !slices.ContainsFunc(p.order, func(q *peer) bool { return q.room(now, 0) }) {
		return nil, nil
	}
	for k := range zone {
		z := &zone[k]
		for i := z.s.first; i < z.s.first+z.s.pieces; i++ {
			c := &z.t.cells[i]
			if c.have || c.ask != nil || c.holders == 0 {
				continue
			}
			if r := p.edge.asked(z.t, i); r != nil && !r.silent(now, p.edge.rtt) {
				continue
			}
			w := wish{z: z, piece: i, order: uint32(p.cfg.Seed>>32) ^ uint32(i)*0x9e3779b1}
			if z.s.readers > 0 || z.due-now < soon {
				near = append(near, w)
			} else {
				far = append(far, w)
			}
		}
	}
	slices.SortStableFunc(near, func(a, b wish) int {
		return cmp.Or(cmp.Compare(a.z.due, b.z.due), cmp.Compare(a.z.t.cells[a.piece].holders, b.z.t.cells[b.piece].holders), cmp.Compare(a.order, b.order))
	})
	slices.SortStableFunc(far, func(a, b wish) int {
		rare := cmp.Compare(a.z.t.cells[a.piece].holders, b.z.t.cells[b.piece].holders)
		if p.cfg.Live {
			return cmp.Or(rare, cmp.Compare(b.z.s.Start, a.z.s.Start), cmp.Compare(a.order, b.order))
		}
		return cmp.Or(rare, cmp.Compare(a.order, b.order))
	})
	return near, far
}
