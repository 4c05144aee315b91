package stream

import (
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Names within one Plan.
type (
	TrackID  int
	PeerID   int
	ReaderID int
)

// Config is what a Plan must know of this client.
type Config struct {
	// Seed is this client's place in the election of owners: equal on every client that
	// looks at this one. Uploads says that it serves peers.
	Seed    uint64
	Uploads bool
	// Live says that the newest segments are worth most.
	Live bool
	// MaxAhead bounds the bytes that are fetched ahead of readers; the default is 128 MiB.
	MaxAhead int64
	// Ablate switches parts of the policy off, to measure what they are good for.
	Ablate Ablation
}

// Ablation names parts of the policy that are switched off.
type Ablation struct {
	Duty    bool // nobody is responsible for a piece: everybody asks the edge for any
	Patient bool // requests stay where they are, however long they wait
}

// Plan is the scheduler of one stream: a pure state machine. Time is an argument and never
// runs backwards, what is to be done comes back as values, and there is no I/O, lock or
// goroutine in it.
type Plan struct {
	cfg     Config
	tracks  []*ptrack // by TrackID
	peers   map[PeerID]*peer
	order   []*peer // by PeerID, for the same decisions every time
	readers map[ReaderID]*reader
	edge    edge
	all     pace  // of everything
	asked   int64 // bytes asked of peers
	useful  int64 // bytes that came and were needed
	wasted  int64
	out     []Action
}

// ptrack is a track as a Plan sees it.
type ptrack struct {
	id    TrackID
	seed  uint64 // of its election: equal on every client
	segs  []*segment
	cells []cell // by piece
	head  head
	// longest is the duration of the longest segment that is no part.
	longest time.Duration
}

// segment is one of a track. edge is when the edge may be asked for it again.
type segment struct {
	track.Segment
	no      int // among the segments of its track
	first   int // piece
	pieces  int
	readers int
	left    int64         // bytes missing
	since   time.Duration // when it was published; −1: it was there when the track was
	entered time.Duration // the zone; −1: it is not in it
	edge    time.Duration
	fails   int
	gone    bool          // the edge has it no more
	wanted  time.Duration // since when a reader waits for it
	open    int64         // bytes missing that the edge is not asked for, at the last look at the zone
	parts   []*segment    // that it is made of, as far as they are known, by their starts
	whole   *segment      // that it is a part of
	joined  bool          // it was to be made of its parts
}

// cell is a piece.
type cell struct {
	have    bool
	holders uint16  // neighbours that have it, and give it
	ask     *asking // of a peer
}

// reader reads a segment.
type reader struct {
	track *ptrack
	seg   int
}

// Action is something the driver must do: one of [AskPeer], [CancelPeer], [DropPeer],
// [AskEdge], [CancelEdge] and [Join].
type Action interface{ action() }

// AskPeer requests a piece of a peer.
type AskPeer struct {
	Peer    PeerID
	Track   TrackID
	Piece   int
	Urgency wire.Urgency
}

// CancelPeer withdraws a request.
type CancelPeer struct {
	Peer  PeerID
	Track TrackID
	Piece int
}

// DropPeer ends the dealings with a peer, for one of the reasons of [wire.Blame].
type DropPeer struct {
	Peer   PeerID
	Reason string
}

// AskEdge requests Count pieces of a segment from piece First of the track on.
type AskEdge struct {
	Req          int
	Track        TrackID
	Segment      int
	First, Count int
}

// CancelEdge ends a request of which nothing is needed any more.
type CancelEdge struct{ Req int }

func (AskPeer) action()    {}
func (CancelPeer) action() {}
func (DropPeer) action()   {}
func (AskEdge) action()    {}
func (CancelEdge) action() {}

// NewPlan returns the plan of a stream of which nothing is known.
func NewPlan(cfg Config) *Plan {
	if cfg.MaxAhead == 0 {
		cfg.MaxAhead = 128 << 20
	}
	return &Plan{cfg: cfg, peers: map[PeerID]*peer{}, readers: map[ReaderID]*reader{}, edge: newEdge()}
}

// AddTrack makes a track known and returns its name. All clients must give it the same
// seed.
func (p *Plan) AddTrack(seed uint64) TrackID {
	t := &ptrack{id: TrackID(len(p.tracks)), seed: seed}
	p.tracks = append(p.tracks, t)
	return t.id
}

// AddSegments appends to the segments that are known of a track.
func (p *Plan) AddSegments(now time.Duration, id TrackID, segs []track.Segment) {
	t := p.tracks[id]
	since := now
	if len(t.segs) == 0 {
		since = -1
	}
	pieces := len(t.cells)
	for _, s := range segs {
		pieces += s.Manifest.NumPieces()
	}
	if pieces > cap(t.cells) { // by little: most of what a stream takes is this
		t.cells = append(make([]cell, 0, pieces+pieces/16), t.cells...)
	}
	for _, s := range segs {
		n := s.Manifest.NumPieces()
		t.segs = append(t.segs, &segment{Segment: s, no: len(t.segs), first: len(t.cells), pieces: n, left: s.Manifest.Size, since: since, entered: -1})
		t.cells = append(t.cells, make([]cell, n)...)
		if !s.Part {
			t.longest = max(t.longest, s.Duration)
		}
		p.relate(t)
	}
}

// segOf returns the segment that a piece is of.
func (t *ptrack) segOf(piece int) *segment {
	i, found := slices.BinarySearchFunc(t.segs, piece, func(s *segment, piece int) int { return s.first - piece })
	if !found {
		i--
	}
	return t.segs[i]
}

func (s *segment) pieceLen(piece int) int64 { return s.Manifest.PieceLen(piece - s.first) }

// knows reports whether there is such a piece.
func (t *ptrack) knows(piece int) bool { return piece >= 0 && piece < len(t.cells) }

// Stored records a verified piece, wherever it came from.
func (p *Plan) Stored(id TrackID, piece int) { p.got(p.tracks[id], piece) }

// got records a verified piece and withdraws it from its sources. It reports whether the
// piece is new.
func (p *Plan) got(t *ptrack, piece int) bool {
	c, s := &t.cells[piece], t.segOf(piece)
	if c.have {
		p.wasted += s.pieceLen(piece)
		return false
	}
	c.have = true
	s.left -= s.pieceLen(piece)
	p.useful += s.pieceLen(piece)
	if c.ask != nil {
		p.cancelPeer(t, piece)
	}
	p.join(t, s.whole)
	return true
}

// Evicted records that pieces were dropped from the store.
func (p *Plan) Evicted(id TrackID, pieces []int) {
	t := p.tracks[id]
	for _, i := range pieces {
		if t.cells[i].have {
			t.cells[i].have = false
			s := t.segOf(i)
			s.left += s.pieceLen(i)
		}
	}
}

// Wasted is the bytes received that were not needed or not right.
func (p *Plan) Wasted() int64 { return p.wasted }

// spare reports whether n bytes may come twice: waste is bounded by a share of what came.
func (p *Plan) spare(n int64) bool {
	return float64(p.wasted+n) <= wasteShare*float64(p.useful)+wasteFree
}

// Missing is what is missing of a segment, in bytes.
func (p *Plan) Missing(of TrackID, seg int) int64 { return p.tracks[of].segs[seg].left }

// Shown is the rate at which a player may be shown what is here already, in bytes per
// second; 0: any. Players choose renditions by how fast segments come, and what was fetched
// ahead would have them believe in any rate: so it is a few times what the network gives while
// something is asked of it. Of a thin edge it is no more than that, since peers are only fast
// with what the edge has sent.
func (p *Plan) Shown() float64 {
	for _, t := range p.tracks {
		if t.head.active && p.thin(t.segs[t.head.asked]) {
			return p.all.rate()
		}
	}
	return shownTimes * p.all.rate()
}

// busy notes that something is about to be asked for.
func (p *Plan) busy(now time.Duration) {
	if len(p.edge.order) == 0 && p.asked == 0 {
		p.all.begin(now)
	}
}

// Quiet reports whether nothing will be due soon: nobody reads or plays, and nothing is on
// its way.
func (p *Plan) Quiet(now time.Duration) bool {
	for _, t := range p.tracks {
		if !t.idle(now) {
			return false
		}
	}
	return len(p.readers) == 0 && p.asked == 0 && len(p.edge.order) == 0
}

// Tick brings the plan to now and returns what to do. It must be called after events and
// at least every 100 ms.
func (p *Plan) Tick(now time.Duration) []Action {
	p.dropSilent(now)
	if now-p.edge.seen > thinFor { // it may be another by now
		p.edge.alone = pace{last: now}
	}
	zone := p.zone(now)
	p.endIdle(now)
	p.hedge(now, zone)
	p.askUrgent(now, zone)
	p.askThin(now, zone)
	p.askPeers(now, zone)
	if !p.cfg.Ablate.Patient {
		p.relieve(now)
		p.steal(now)
	}
	p.askDuty(now, zone)
	out := p.out
	p.out = nil
	return out
}

func (p *Plan) do(a Action) { p.out = append(p.out, a) }

// bits is a set of pieces that grows.
type bits struct{ manifest.Bitfield }

func (b *bits) put(i int) bool {
	if i >= b.Len() {
		b.Bitfield = b.Grow(i + 1)
	}
	return b.Set(i)
}
