package sim

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/stream"
)

// This file holds every dealing with package stream.

// viewer is the plan of a member that plays a stream, and its player: it asks for one
// segment after the other while it has less ahead than its buffer, and plays from the
// moment at which it has the first.
type viewer struct {
	*stream.Plan
	o    *object
	from time.Duration // the playlist was asked for then
	born time.Duration // the plan was made then
	segs int           // that are known
	// first is the segment that it began with, next the one that it asks for next.
	first, next int
	reading     bool
	began       bool          // it has, or had, something to play
	had, played time.Duration // of the media, from the beginning of first on
	waits       bool          // it stands still
}

// only is the track that all streams here have.
const only stream.TrackID = 0

// tune has a member learn of the stream that it is to play: of a film it goes on where it
// was.
func (w *world) tune(m *member, id int32) {
	o, h := &w.objects[m.object], &w.hosts[m.host]
	p := stream.NewPlan(stream.Config{
		Seed: w.seedOf(m.host), Uploads: h.uploads, Live: o.stream.Live,
		Ablate: stream.Ablation{Duty: w.cfg.Ablate.SeedDuty, Patient: w.cfg.Ablate.Stealing},
	})
	p.AddTrack(o.seed)
	v := &viewer{Plan: p, o: o, from: w.now - firstByteTrips*w.edgeRTT(m.host, 0), born: w.now}
	m.plan, m.began, m.due, m.nextTick, m.known = v, 0, true, 0, 0
	if o.stream.Live {
		v.first, v.played = o.stream.start(w.now)
	} else {
		v.first = min(int(w.views[id].Watched/o.stream.Duration), o.stream.Segments-1)
	}
	v.next = v.first
	v.learn(w, m)
	for i := range m.have.Len() {
		if m.have.Has(i) {
			p.Stored(only, i)
		}
	}
}

// learn takes in the segments that there are: their page is on its way for as long as the
// edge is away.
func (v *viewer) learn(w *world, m *member) {
	n := v.o.stream.published(w.now - w.edgeRTT(m.host, 0)/2)
	if v.segs == 0 { // what the playlist has told already
		n = max(n, v.first+1)
	}
	if n > v.segs {
		v.AddSegments(m.time(w.now), only, v.o.segs[v.segs:n])
		v.segs, m.known, m.due = n, n*v.o.perSeg, true
	}
}

// play lets the player go on by a quantum. It reports whether the stream is over.
func (v *viewer) play(w *world, m *member, id int32) (over bool) {
	if v.segs < v.o.stream.Segments {
		v.learn(w, m)
	}
	view := &w.views[id]
	if v.began {
		step := min(w.dt, v.had-v.played)
		v.played += step
		view.Watched += step
		if stands := w.dt - step; stands > 0 && v.first+int(v.had/v.o.stream.Duration) < v.o.stream.Segments {
			view.Stalled += stands
			if !v.waits {
				view.Stalls++
			}
		}
		v.waits = step < w.dt
	}
	for v.read(w, m, view) {
	}
	if v.o.stream.Live {
		view.Behind = w.now - v.o.stream.at(v.first) - v.played
	}
	return v.began && v.first+int(v.played/v.o.stream.Duration) >= v.o.stream.Segments
}

// read has the player ask for its next segment, or take it. It reports whether something
// has come of that.
func (v *viewer) read(w *world, m *member, view *View) bool {
	d, reader := v.o.stream.Duration, stream.ReaderID(v.next)
	if !v.reading {
		if v.next >= v.segs || v.had-v.played >= v.o.stream.Buffer {
			return false
		}
		v.reading, m.due = true, true
		v.OpenReader(m.time(w.now), reader, only, v.next)
	}
	if v.Missing(only, v.next) > 0 {
		return false
	}
	v.Delivered(m.time(w.now), reader)
	v.CloseReader(reader)
	v.reading, m.due = false, true
	v.had += d
	v.next++
	if !v.began {
		v.began = true
		if !view.Began {
			view.Began, view.First, view.Startup = true, v.first, w.now-v.from
		}
	}
	return true
}

func (v *viewer) addPeer(_ time.Duration, slot int32, p peerFacts) {
	v.AddPeer(stream.PeerID(slot), stream.PeerInfo{Seed: p.seed, Uploads: p.uploads, RTT: p.rtt})
	v.JoinTrack(stream.PeerID(slot), only)
}

func (v *viewer) removePeer(slot int32) { v.RemovePeer(stream.PeerID(slot)) }

func (v *viewer) peerHas(slot int32, pieces []int) { v.PeerHas(stream.PeerID(slot), only, pieces) }

func (v *viewer) peerBytes(now time.Duration, slot, piece int32, n int64) {
	v.PeerBytes(now, stream.PeerID(slot), only, int(piece), n)
}

func (v *viewer) peerPiece(slot, piece int32, ok bool) bool {
	return v.PeerPiece(stream.PeerID(slot), only, int(piece), ok)
}

func (v *viewer) peerLate(n int64) { v.PeerLate(n) }

func (v *viewer) peerRejects(now time.Duration, slot, piece int32, missing bool, retry time.Duration) {
	v.PeerReject(now, stream.PeerID(slot), only, int(piece), missing, retry)
}

func (v *viewer) edgeBytes(now time.Duration, req int32, n int64) { v.EdgeBytes(now, int(req), n) }

func (v *viewer) edgePiece(req, piece int32) bool { return v.EdgePiece(int(req), only, int(piece)) }

func (v *viewer) edgeEnds(now time.Duration, req int32, ok bool, retry time.Duration) {
	v.EdgeEnds(now, int(req), stream.Outcome{OK: ok, Retry: retry})
}

func (v *viewer) act(w *world, s *shard, m *member, id int32) {
	for _, a := range v.Tick(m.time(w.now)) {
		switch a := a.(type) {
		case stream.AskPeer:
			w.askPeer(s, m, id, int32(a.Peer), int32(a.Piece), a.Urgency)
		case stream.CancelPeer:
			w.cancelPeer(s, m, id, int32(a.Peer), int32(a.Piece))
		case stream.DropPeer:
			w.dropPeer(s, m, id, int32(a.Peer), a.Reason)
		case stream.AskEdge:
			first := int32(a.First)
			w.askEdge(s, m, id, edgeAsk{req: int32(a.Req), first: first, end: first + int32(a.Count)})
		case stream.CancelEdge:
			w.trimEdge(s, m, int32(a.Req), 0)
		}
	}
}
