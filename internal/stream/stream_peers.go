package stream

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// PeerOpen has a peer take part in a track. This method and those below are called as
// those of a swarm's handler.
func (d *Stream) PeerOpen(t TrackID, p Peer) {
	d.in.Post(func(time.Duration) {
		l := d.peers[p.Key()]
		if l == nil {
			d.lastID++
			l = &linked{id: d.lastID, on: map[TrackID]Peer{}}
			d.peers[p.Key()], d.byID[l.id] = l, l
			d.peerCount.Add(1)
			d.plan.AddPeer(l.id, PeerInfo{Seed: d.o.SeedOf(p.Key()), Uploads: p.Uploads(), Uplink: p.Uplink(), RTT: p.RTT()})
		}
		if l.on[t] != nil { // by a link that is gone
			d.plan.LeaveTrack(l.id, t)
		}
		l.on[t] = p
		d.plan.JoinTrack(l.id, t)
	})
}

// on has f run for a peer that takes part in a track.
func (d *Stream) on(t TrackID, p Peer, f func(now time.Duration, id PeerID)) {
	d.in.Post(func(now time.Duration) {
		if l := d.peers[p.Key()]; l != nil && l.on[t] == p {
			f(now, l.id)
		}
	})
}

// PeerHave has a peer have pieces.
func (d *Stream) PeerHave(t TrackID, p Peer, pieces []int) {
	d.on(t, p, func(_ time.Duration, id PeerID) {
		d.plan.PeerHas(id, t, pieces)
		d.due = true
	})
}

// PeerLost has a peer not have pieces any more.
func (d *Stream) PeerLost(t TrackID, p Peer, pieces []int) {
	d.on(t, p, func(_ time.Duration, id PeerID) { d.plan.PeerLost(id, t, pieces) })
}

// PeerBytes has bytes of a piece come.
func (d *Stream) PeerBytes(t TrackID, p Peer, piece, n int) {
	d.on(t, p, func(now time.Duration, id PeerID) { d.plan.PeerBytes(now, id, t, piece, int64(n)) })
}

// PeerLate has bytes come of a request that was withdrawn.
func (d *Stream) PeerLate(n int) {
	d.in.Post(func(time.Duration) { d.plan.PeerLate(int64(n)) })
}

// PeerPiece has a whole piece come, which is verified here, before anything else is done
// with it.
func (d *Stream) PeerPiece(t TrackID, p Peer, piece int, data []byte) {
	ok := d.track(t).Verify(piece, data)
	if ok {
		if !d.o.Store.Has(Key{t, piece}) {
			d.fromPeers.Add(int64(len(data)))
		}
		d.store(Key{t, piece}, data)
		d.o.Credit(t, p, len(data))
	}
	d.in.Post(func(time.Duration) {
		var id PeerID // of none, where it has gone
		if l := d.peers[p.Key()]; l != nil {
			id = l.id
		}
		d.plan.PeerPiece(id, t, piece, ok)
		d.due = true
	})
}

// PeerReject has a peer not serve a piece.
func (d *Stream) PeerReject(t TrackID, p Peer, piece int, missing bool, retry time.Duration) {
	d.on(t, p, func(now time.Duration, id PeerID) {
		d.plan.PeerReject(now, id, t, piece, missing, retry)
		d.due = true
	})
}

// PeerClose has a peer leave a track.
func (d *Stream) PeerClose(t TrackID, p Peer) {
	d.on(t, p, func(_ time.Duration, id PeerID) {
		l := d.byID[id]
		d.plan.LeaveTrack(id, t)
		delete(l.on, t)
		if len(l.on) == 0 {
			d.plan.RemovePeer(id)
			delete(d.byID, id)
			delete(d.peers, p.Key())
			d.peerCount.Add(-1)
		}
		d.due = true
	})
}

// Source is a track as its peers read it.
type Source struct {
	d  *Stream
	id TrackID
	t  *Track
}

// Source returns the pieces of a track that are here.
func (d *Stream) Source(id TrackID) Source { return Source{d, id, d.track(id)} }

// Have is the set of pieces that are here.
func (s Source) Have() manifest.Bitfield { return s.d.o.Store.Have(s.id) }

// Has reports whether a piece is here.
func (s Source) Has(piece int) bool { return s.d.o.Store.Has(Key{s.id, piece}) }

// ReadAt reads bytes within one piece.
func (s Source) ReadAt(p []byte, off int64) (int, error) {
	piece, begin := s.t.At(off)
	b, err := s.d.get(Key{s.id, piece})
	if err != nil || begin+int64(len(p)) > int64(len(b)) {
		return 0, errMissing
	}
	return copy(p, b[begin:]), nil
}

// get reads a piece that is here.
func (d *Stream) get(k Key) ([]byte, error) {
	t := d.track(k.Track)
	b, dropped, err := d.o.Store.Get(k, func(b []byte) bool { return t.Verify(k.Piece, b) })
	d.dropped(dropped)
	return b, err
}
