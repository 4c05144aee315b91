package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/inbox"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Store takes verified pieces: nothing enters that does not match the manifest.
// It must be safe for concurrent use.
type Store interface {
	Manifest() *manifest.Manifest
	Have() manifest.Bitfield
	WritePiece(i int, b []byte) error
	// ReceivePiece reads piece i from r into b, which is as long as the piece, and
	// stores it. It returns the errors of r as they are.
	ReceivePiece(i int, b []byte, r io.Reader) error
}

// Edge fetches bytes of one version of the object.
type Edge interface {
	// Fetch returns the n bytes from off on. An error that trying again does not
	// mend implements Permanent() bool; one that names a time to wait implements
	// RetryAfter() time.Duration.
	Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Peer is a member of the swarm that can be asked for pieces. Its methods return
// at once.
type Peer interface {
	Request(piece int, u wire.Urgency)
	Cancel(piece int)
	Drop(reason string)
	Uploads() bool
	Uplink() uint32
	// Near is how near it is, as in wire.Candidate.
	Near() int
	RTT() time.Duration
}

// Options are the parts of a Download.
type Options struct {
	Store Store
	Edge  Edge
	// Stream, if set, is the response that began the download.
	Stream *Stream
	// Basis, if set, has bytes of the object from older versions. It cannot be had
	// together with Stream.
	Basis Basis
	// Patience is how long a download goes on without a byte while edges say when to
	// come back (503 and Retry-After); the default is ten minutes.
	Patience time.Duration
	// Class and FinishBy say how long it may take; see [Config].
	Class    Class
	FinishBy time.Duration
	Seed     uint64 // this client's place in the election of owners
	Uploads  bool
	// Window bounds how far ahead of a reader the download works, in bytes: nothing
	// is fetched, and Stream is left alone, until SetReader. 0 is no bound.
	Window int64
	// Announce is told of every piece as soon as it is verified.
	Announce func(piece int)
	// Credit is told of verified bytes had from a peer.
	Credit func(p Peer, n int)
	// Corrupt recognises the store's error for a piece that does not verify.
	Corrupt error
	Logger  *slog.Logger
}

// Stats are counters of a download, in bytes.
type Stats struct {
	FromEdge, FromPeers, Wasted int64 // not what comes after the last piece
	FromBasis                   int64 // of pieces that the basis had in part
	Rate                        int64 // per second, over the last two
	Peers                       int   // in the swarm now
	Senders                     int   // peers that have sent verified bytes
	Full                        bool  // nothing arrives because edges have said to come back later
	// Edges are the edges in use, first the one that the download began with.
	Edges []EdgeStats
}

// Errors of Run.
var (
	// ErrStalled: neither the edge nor any peer has sent anything for stallAfter.
	ErrStalled = errors.New("nothing arrives any more")
	// ErrCorruptEdge: the edge keeps sending bytes that do not match the manifest.
	ErrCorruptEdge = errors.New("the edge sends other bytes than its manifest says")
)

const (
	tickEvery  = 50 * time.Millisecond
	stallAfter = 45 * time.Second
	// giveUpAfter is the same with no peer in the swarm and an edge that fails.
	giveUpAfter    = 12 * time.Second
	maxCorruptEdge = 3
	patience       = 10 * time.Minute
	fullAfter      = 2 * time.Second
)

// Download runs a Plan. Peers are announced to it by the methods PeerOpen to
// PeerClose, from any goroutine.
type Download struct {
	o      Options
	m      *manifest.Manifest
	in     *inbox.Inbox
	reader atomic.Int64  // piece that SetReader told last
	placed chan struct{} // closed when the plan knows of a reader
	wg     sync.WaitGroup

	// Owned by the goroutine of Run.
	plan     *Plan
	ids      map[Peer]PeerID
	peers    map[PeerID]Peer
	lastID   PeerID
	edge     map[int]*edgeRun
	err      error
	lastErr  error // of the edge
	progress time.Duration
	corrupt  []int         // pieces, by edge
	sources  []Edge        // by EdgeID
	told     time.Duration // when an edge last said to come back later
	senders  map[Peer]bool
	due      bool // something happened that the plan should answer at once

	buffers sync.Pool // for pieces from edges, and those that are put together

	mu    sync.Mutex
	stats Stats
}

// NewDownload prepares the download of what the store lacks.
func NewDownload(o Options) *Download {
	m := o.Store.Manifest()
	o.Patience = cmp.Or(o.Patience, patience)
	first, end := o.Stream.pieces(m)
	d := &Download{
		o: o, m: m, in: inbox.New(time.Now()), placed: make(chan struct{}),
		ids: map[Peer]PeerID{}, peers: map[PeerID]Peer{}, edge: map[int]*edgeRun{}, senders: map[Peer]bool{},
	}
	d.plan = NewPlan(Config{
		Size: m.Size, PieceSize: m.PieceSize, Have: o.Store.Have(), Seed: o.Seed, Class: o.Class, FinishBy: o.FinishBy, Uploads: o.Uploads, Window: o.Window,
		StreamAt: first, StreamEnd: end,
		Need: d.needs(),
		Rand: rand.New(rand.NewPCG(rand.Uint64(), o.Seed)),
	})
	d.reader.Store(-1)
	d.admit(o.Edge)
	return d
}

// Run downloads until every piece is in the store, an error that cannot be
// mended, or the end of ctx. It returns when all its goroutines have ended.
func (d *Download) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer d.wg.Wait()
	defer cancel()
	defer d.in.Close()
	if first, end := d.o.Stream.pieces(d.m); first < end {
		d.runEdge(ctx, AskEdge{First: first, Count: end - first}, d.o.Stream.Body)
	} else if d.o.Stream != nil {
		_ = d.o.Stream.Body.Close() // it has nothing that is wanted
	}
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	d.due = true
	for {
		if d.due {
			d.due = false
			d.act(ctx, d.in.Now())
			d.place()
		}
		switch {
		case d.err != nil:
			return d.err
		case d.plan.Done():
			d.o.Logger.Debug("edge pieces by reason", "pieces", d.plan.EdgePieces())
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			d.due = true
			d.watch(d.in.Now())
		case f := <-d.in.C():
			d.in.Handle(f)
		}
	}
}

// buffer returns memory for any piece, to be recycled.
func (d *Download) buffer() []byte {
	if b, ok := d.buffers.Get().([]byte); ok {
		return b
	}
	return make([]byte, min(d.m.PieceSize, d.m.Size))
}

func (d *Download) recycle(b []byte) {
	if b != nil {
		d.buffers.Put(b[:cap(b)]) //nolint:staticcheck // a slice header is small beside the piece
	}
}

func (d *Download) act(ctx context.Context, now time.Duration) {
	for _, a := range d.plan.Tick(now) {
		switch a := a.(type) {
		case AskPeer:
			d.peers[a.Peer].Request(a.Piece, a.Urgency)
		case CancelPeer:
			if p := d.peers[a.Peer]; p != nil {
				p.Cancel(a.Piece)
			}
		case DropPeer:
			if p := d.peers[a.Peer]; p != nil {
				p.Drop(a.Reason) // PeerClose follows
			}
		case AskEdge:
			d.runEdge(ctx, a, nil)
		case TrimEdge:
			if e := d.edge[a.Req]; e != nil {
				e.trim(a.End)
			}
		case PaceEdge:
			if e := d.edge[a.Req]; e != nil {
				e.pace.set(a.Rate)
			}
		}
	}
	d.mu.Lock()
	d.stats.Rate = int64(d.plan.Rate(now))
	d.stats.Wasted = d.plan.Wasted()
	d.stats.Peers = len(d.peers)
	d.stats.Senders = len(d.senders)
	d.stats.Full = now-d.progress > fullAfter && d.waiting(now, now-d.progress)
	d.measured()
	d.mu.Unlock()
}

// place lets a stream go on that has waited for a reader, unless the plan has
// just ended it.
func (d *Download) place() {
	select {
	case <-d.placed:
	default:
		if d.plan.Placed() {
			close(d.placed)
		}
	}
}

// watch gives up when nothing has come for too long that is wanted.
func (d *Download) watch(now time.Duration) {
	silent := now - d.progress
	switch {
	case silent < giveUpAfter:
		return
	case !d.plan.Wants():
		d.progress = now // a reader takes its time
		return
	case silent < stallAfter && (len(d.peers) > 0 || d.plan.EdgeFailures() < 3):
		return
	case d.waiting(now, silent):
		return
	}
	d.err = ErrStalled
	if d.lastErr != nil {
		d.err = fmt.Errorf("%w: %w", ErrStalled, d.lastErr)
	}
}

// stored ends the download if err is the store's own trouble, such as a full
// disk; it reports whether it was the piece's.
func (d *Download) stored(err error) bool {
	if errors.Is(err, d.o.Corrupt) {
		return true
	}
	d.in.Post(func(time.Duration) { d.err = err })
	return false
}

// arrived counts a piece that is in the store now, of which n bytes have come.
func (d *Download) arrived(piece int, n int64, count *int64) {
	d.mu.Lock()
	*count += n
	d.stats.FromBasis += d.m.PieceLen(piece) - n
	d.mu.Unlock()
}

// SetReader makes the pieces at and behind byte off come first.
func (d *Download) SetReader(off int64) {
	if piece := off / d.m.PieceSize; d.reader.Swap(piece) == piece {
		return // readers tell at every read
	}
	d.in.Post(func(time.Duration) {
		d.plan.SetReader(off)
		d.due = true
	})
}

// Expect tells of neighbours that are being reached, by their places in the
// election of owners.
func (d *Download) Expect(seeds ...uint64) {
	d.in.Post(func(now time.Duration) {
		d.plan.Expect(now, seeds...)
		d.due = true
	})
}

// SetDuty tells the share of the pieces that control has given this client.
func (d *Download) SetDuty(duty Duty) {
	d.in.Post(func(time.Duration) {
		d.plan.SetDuty(duty)
		d.due = true
	})
}

// PeerOpen admits a peer that has joined the swarm.
func (d *Download) PeerOpen(p Peer, seed uint64) {
	info := PeerInfo{Seed: seed, Uploads: p.Uploads(), Uplink: p.Uplink(), RTT: p.RTT(), Near: p.Near() >= wire.NearAS}
	d.in.Post(func(now time.Duration) {
		d.lastID++
		d.ids[p], d.peers[d.lastID] = d.lastID, p
		d.plan.AddPeer(now, d.lastID, info)
	})
}

// PeerClose forgets a peer.
func (d *Download) PeerClose(p Peer) {
	d.in.Post(func(time.Duration) {
		d.plan.RemovePeer(d.ids[p])
		delete(d.peers, d.ids[p])
		delete(d.ids, p)
		d.due = true
	})
}

// PeerHave records what a peer announces.
func (d *Download) PeerHave(p Peer, pieces []int) {
	d.in.Post(func(time.Duration) {
		d.plan.PeerHas(d.ids[p], pieces...)
		d.due = true
	})
}

// PeerBytes records bytes on their way in from a peer.
func (d *Download) PeerBytes(p Peer, piece, n int) {
	d.in.Post(func(now time.Duration) {
		d.progress = now
		d.plan.PeerBytes(now, d.ids[p], piece, int64(n))
	})
}

// PeerLate records n bytes of a request that was cancelled.
func (d *Download) PeerLate(n int) {
	d.in.Post(func(time.Duration) { d.plan.PeerLate(int64(n)) })
}

// PeerReject records that a peer does not serve a piece.
func (d *Download) PeerReject(p Peer, piece int, missing bool, retry time.Duration) {
	d.in.Post(func(now time.Duration) {
		d.plan.PeerRejects(now, d.ids[p], piece, missing, retry)
		d.due = true
	})
}

// PeerPiece stores what has come from a peer of a piece, from its byte begin on, if
// the piece verifies. data is used until the return only.
func (d *Download) PeerPiece(p Peer, piece int, begin int64, data []byte) {
	n := int64(len(data))
	part := n < d.m.PieceLen(piece)
	var err error
	if part {
		data, err = d.complete(piece, begin, data)
		defer d.recycle(data)
	}
	if err == nil {
		err = d.o.Store.WritePiece(piece, data)
	}
	ok := err == nil
	switch {
	case ok:
		d.o.Announce(piece)
	case part && d.spoilt(piece, part, err):
		d.in.Post(func(now time.Duration) {
			d.due = true
			// It is whole when it comes next: if it is wrong again, its sender is to blame.
			d.plan.PeerRejects(now, d.ids[p], piece, false, 0)
			d.plan.PeerLate(n)
		})
		return
	case !d.stored(err):
		return
	default:
		p.Drop(DropCorrupt) // here: when the plan comes to it the peer may have left
	}
	d.in.Post(func(time.Duration) {
		d.due = true
		if d.plan.PeerPiece(d.ids[p], piece, ok) {
			d.arrived(piece, n, &d.stats.FromPeers)
			d.senders[p] = true
			d.o.Credit(p, int(n))
		}
	})
}
