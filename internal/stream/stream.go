package stream

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/inbox"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Edge fetches bytes of segments.
type Edge interface {
	// Fetch returns the n bytes of a segment of a track from off on. An error that trying again
	// does not mend implements Permanent() bool; one that names a time to wait
	// implements RetryAfter() time.Duration.
	// A body that may come from more than one place implements [Alternatives].
	Fetch(ctx context.Context, t TrackID, s *track.Segment, off, n int64) (io.ReadCloser, error)
}

// Peer is a member of the swarm of a track that can be asked for its pieces. Its methods
// return at once.
type Peer interface {
	Key() wire.Key
	Request(piece int, u wire.Urgency)
	Cancel(piece int)
	Drop(reason string)
	Uploads() bool
	Uplink() uint32
	RTT() time.Duration
}

// Options are the parts of a Stream.
type Options struct {
	Config
	Edge  Edge
	Store *Store
	// Announce is told of every piece as soon as it is verified, Withdraw that pieces of
	// a track were dropped, Credit of verified bytes had from a peer.
	Announce func(t TrackID, piece int)
	Withdraw func(t TrackID)
	Credit   func(t TrackID, p Peer, n int)
	// SeedOf is a peer's place in the election of owners.
	SeedOf func(k wire.Key) uint64
	Logger *slog.Logger
}

// Stats are counters of a stream, in bytes.
type Stats struct {
	FromEdge, FromPeers, Wasted int64
	Peers                       int // linked now
	// Rate is what a player may be shown, see [Plan.Shown], per second; 0: any.
	Rate float64
}

const (
	busyTick  = 50 * time.Millisecond
	quietTick = time.Second
	// tellEvery is how often peers are told of dropped pieces.
	tellEvery = time.Second
	// stalledAfter is how long a reader waits without a byte from anybody.
	stalledAfter = 20 * time.Second
)

// Errors of readers.
var (
	// ErrGone: neither the edge nor the peers have a segment.
	ErrGone = errors.New("the segment is not to be had any more")
	// ErrStalled: nothing came for long.
	ErrStalled = errors.New("nothing arrives any more")
	errClosed  = errors.New("the stream is closed")
)

// Stream drives a Plan: one goroutine owns the plan and is fed events; pieces are verified
// and stored by the goroutines that read them.
type Stream struct {
	o  Options
	in *inbox.Inbox // closed when Run ends
	wg sync.WaitGroup

	fromEdge, fromPeers, wasted atomic.Int64
	peerCount                   atomic.Int64
	rate                        atomic.Uint64 // of Stats, its bits

	mu      sync.Mutex
	tracks  []*Track // by TrackID
	former  []int    // by TrackID: segments before this one are not found by their names
	changed chan struct{}

	// Owned by the goroutine of Run.
	plan    *Plan
	peers   map[wire.Key]*linked
	byID    map[PeerID]*linked
	lastID  PeerID
	edge    map[int]context.CancelFunc
	readers map[ReaderID]*Reader
	lastRd  ReaderID
	stale   map[TrackID]bool // pieces were dropped that peers believe to be here
	told    time.Duration    // of such
	due     bool
}

// linked is a peer with its memberships.
type linked struct {
	id PeerID
	on map[TrackID]Peer
}

// New returns a stream without tracks. Run must be called for it to work.
func New(o Options) *Stream {
	return &Stream{
		o: o, in: inbox.New(time.Now()),
		changed: make(chan struct{}), plan: NewPlan(o.Config), peers: map[wire.Key]*linked{}, byID: map[PeerID]*linked{},
		edge: map[int]context.CancelFunc{}, readers: map[ReaderID]*Reader{}, stale: map[TrackID]bool{},
	}
}

// Run works until ctx ends.
func (d *Stream) Run(ctx context.Context) {
	defer d.wg.Wait()
	defer d.in.Close()
	tick := time.NewTimer(busyTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-d.in.C():
			d.in.Handle(f)
			if !d.due {
				continue
			}
		case <-tick.C:
		}
		d.due = false
		d.act(ctx)
		if d.plan.Quiet(d.in.Now()) {
			tick.Reset(quietTick)
		} else {
			tick.Reset(busyTick)
		}
	}
}

// act does what the plan wants.
func (d *Stream) act(ctx context.Context) {
	now := d.in.Now()
	for _, a := range d.plan.Tick(now) {
		switch a := a.(type) {
		case AskPeer:
			if p := d.peerOn(a.Peer, a.Track); p != nil {
				p.Request(a.Piece, a.Urgency)
			}
		case CancelPeer:
			if p := d.peerOn(a.Peer, a.Track); p != nil {
				p.Cancel(a.Piece)
			}
		case DropPeer:
			if l := d.byID[a.Peer]; l != nil {
				for _, p := range l.on {
					p.Drop(a.Reason)
				}
			}
		case AskEdge:
			d.ask(ctx, a)
		case CancelEdge:
			if end := d.edge[a.Req]; end != nil {
				end()
			}
		case Join:
			d.wg.Go(func() { d.join(a) })
		}
	}
	d.wasted.Store(d.plan.Wasted())
	d.rate.Store(math.Float64bits(d.plan.Shown()))
	d.giveUp(now)
	if len(d.stale) > 0 && now-d.told >= tellEvery {
		d.told = now
		for t := range d.stale {
			d.wg.Go(func() { d.o.Withdraw(t) })
		}
		clear(d.stale)
	}
}

func (d *Stream) peerOn(id PeerID, t TrackID) Peer {
	if l := d.byID[id]; l != nil {
		return l.on[t]
	}
	return nil
}

// Stats returns the counters.
func (d *Stream) Stats() Stats {
	return Stats{
		FromEdge: d.fromEdge.Load(), FromPeers: d.fromPeers.Load(), Wasted: d.wasted.Load(),
		Peers: int(d.peerCount.Load()), Rate: math.Float64frombits(d.rate.Load()),
	}
}

// Add makes a track known, with the segments that it has. seed must be the same at all
// clients.
func (d *Stream) Add(t *Track, seed uint64) (id TrackID) {
	d.in.Call(func(time.Duration) {
		id = d.plan.AddTrack(seed)
		d.mu.Lock()
		d.tracks = append(d.tracks, t)
		d.former = append(d.former, 0)
		d.mu.Unlock()
	})
	return id
}

// Grow adds a page to a track.
func (d *Stream) Grow(id TrackID, page *track.Page) (err error) {
	ok := d.in.Call(func(now time.Duration) {
		if err = d.track(id).Add(page); err == nil { // peers may name its pieces from now on
			d.plan.AddSegments(now, id, page.Segments)
			d.due = true
		}
	})
	if !ok {
		return errClosed
	}
	return err
}

func (d *Stream) track(id TrackID) *Track {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tracks[id]
}

// store keeps a piece that is verified and wakes those who wait for it.
func (d *Stream) store(k Key, b []byte) {
	d.dropped(d.o.Store.Put(k, b))
	d.mu.Lock()
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	d.o.Announce(k.Track, k.Piece)
}

// dropped has the plan, and later peers, know of pieces that are not here any more.
func (d *Stream) dropped(keys []Key) {
	if len(keys) == 0 {
		return
	}
	d.in.Post(func(time.Duration) {
		for _, k := range keys {
			d.plan.Evicted(k.Track, []int{k.Piece})
			d.stale[k.Track] = true
		}
	})
}

// Adopt takes over the bytes of a segment that a player has had of the server by another
// way, at a time, as far as they verify; took is how long they took to come.
func (d *Stream) Adopt(id TrackID, seg int, b []byte, at time.Time, took time.Duration) {
	d.in.Post(func(time.Duration) { d.plan.Played(at.Sub(d.in.Start), took, id, seg) })
	d.fromEdge.Add(d.keep(id, seg, b))
}

// keep stores the bytes of a segment as far as they verify, and returns how many did.
func (d *Stream) keep(id TrackID, seg int, b []byte) (kept int64) {
	s, place := d.track(id).Segment(seg)
	if int64(len(b)) != s.Manifest.Size {
		return 0
	}
	for i := range s.Manifest.NumPieces() {
		off := s.Manifest.Offset(i)
		if piece := b[off : off+s.Manifest.PieceLen(i)]; s.Manifest.Verify(i, piece) {
			kept += int64(len(piece))
			d.store(Key{id, place.Piece + i}, piece)
			d.in.Post(func(time.Duration) { d.plan.Stored(id, place.Piece+i) })
		}
	}
	return kept
}

// join makes a segment of its parts, and shares it.
func (d *Stream) join(a Join) {
	var b []byte
	for _, part := range a.Parts {
		s, place := d.track(a.Track).Segment(part)
		for i := range s.Manifest.NumPieces() {
			piece, err := d.get(Key{a.Track, place.Piece + i})
			if err != nil { // it was dropped meanwhile
				return
			}
			b = append(b, piece...)
		}
	}
	d.keep(a.Track, a.Segment, b)
}
