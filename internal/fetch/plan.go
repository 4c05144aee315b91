package fetch

import (
	"math/rand/v2"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// PeerID names a peer within one Plan.
type PeerID int

// Config is what a Plan must know of the object and of this client.
type Config struct {
	Size      int64 // bytes
	PieceSize int64 // bytes
	Have      manifest.Bitfield

	// Seed is this client's place in the election of owners: equal on every
	// client that looks at this one. Uploads says that it serves peers.
	Seed    uint64
	Uploads bool

	// Streaming says that the ordinary GET that began the download is under way,
	// as edge request 0, and has brought the pieces before StreamAt.
	Streaming bool
	StreamAt  int

	// Slack is how much longer than the edge alone a download may take; the
	// default is 0.02.
	Slack float64
	// MaxEdge is the number of parallel edge requests; the default is 2.
	MaxEdge int
	// MaxBuffer bounds the bytes asked of peers at once; the default is 32 MiB.
	MaxBuffer int64
	// Window bounds how far ahead of a reader the plan works, in bytes, and makes
	// it wait for one; 0 is to the end.
	Window int64
	// Rand breaks ties.
	Rand *rand.Rand
}

// PeerInfo describes a peer that has joined the swarm on a link.
type PeerInfo struct {
	Seed    uint64        // its place in the election
	Uploads bool          // it serves requests
	Uplink  uint32        // spare uplink, kbit/s; 0 is not known
	RTT     time.Duration // 0 is not known
}

// Action is something the driver must do: one of [AskPeer], [CancelPeer],
// [DropPeer], [AskEdge] and [TrimEdge].
type Action interface{ action() }

// AskPeer requests a whole piece of a peer.
type AskPeer struct {
	Peer  PeerID
	Piece int
}

// CancelPeer withdraws a request.
type CancelPeer struct {
	Peer  PeerID
	Piece int
}

// DropPeer ends the dealings with a peer. Reason is one of the reasons of
// [wire.Blame].
type DropPeer struct {
	Peer   PeerID
	Reason string
}

// AskEdge starts a request for Count contiguous pieces.
type AskEdge struct {
	Edge         EdgeID
	Req          int
	First, Count int
	// Fresh says that the connections in use seem dead.
	Fresh bool
}

// TrimEdge makes a running request end before piece End; if that lies at or
// before the piece in progress, it ends now.
type TrimEdge struct {
	Req int
	End int
}

func (AskPeer) action()    {}
func (CancelPeer) action() {}
func (DropPeer) action()   {}
func (AskEdge) action()    {}
func (TrimEdge) action()   {}

// Reasons of [DropPeer].
const (
	DropCorrupt = "corrupt" // a piece did not verify
	DropLiar    = "liar"    // it announced pieces it does not have
	DropStall   = "stall"   // it took requests and sent nothing
)

// Plan is the scheduler of one download. Its methods must be called by one
// goroutine, with a time that never runs backwards; the zero of time is the
// start of the download.
type Plan struct {
	cfg    Config
	n      int // pieces
	have   manifest.Bitfield
	left   int64    // bytes missing
	avail  []uint16 // neighbours that hold each piece
	asked  []uint8  // sources each missing piece is asked of
	order  []int32  // random permutation of the pieces
	cursor int      // where the next scan of order begins

	peers map[PeerID]*peer
	// expected are neighbours that control has named and that are being reached,
	// by their place in the election, with the time until when to count on them.
	expected map[uint64]time.Duration
	turn     []PeerID // peers in order of asking, rotated
	elect    *election
	stale    bool // the election must be held again

	edge edgeState

	reader  int // piece of the reading position, −1 without a reader
	fromAll *meter
	fromP2P *meter
	top     best
	yield   yield
	inAsk   int64 // bytes asked of peers
	wasted  int64
	out     []Action
}

// NewPlan returns the plan of a download that begins now.
func NewPlan(cfg Config) *Plan {
	if cfg.Slack == 0 {
		cfg.Slack = 0.02
	}
	if cfg.MaxEdge == 0 {
		cfg.MaxEdge = 2
	}
	if cfg.MaxBuffer == 0 {
		cfg.MaxBuffer = 32 << 20
	}
	n := manifest.PieceCount(cfg.Size, cfg.PieceSize)
	p := &Plan{
		cfg: cfg, n: n, have: cfg.Have.Clone(),
		avail: make([]uint16, n), asked: make([]uint8, n), order: make([]int32, n),
		peers: map[PeerID]*peer{}, expected: map[uint64]time.Duration{}, stale: true, reader: -1,
		fromAll: newMeter(2*time.Second, 20), fromP2P: newMeter(2*time.Second, 20),
		top:  best{period: 10 * time.Second},
		edge: newEdgeState(),
	}
	for i := range n {
		p.order[i] = int32(i)
		if !p.have.Has(i) {
			p.left += p.pieceLen(i)
		}
	}
	cfg.Rand.Shuffle(n, func(i, j int) { p.order[i], p.order[j] = p.order[j], p.order[i] })
	if cfg.Streaming {
		p.edge.open(edgeReq{id: 0, next: cfg.StreamAt, claim: cfg.StreamAt, end: n})
	}
	return p
}

func (p *Plan) pieceLen(i int) int64 {
	return min(p.cfg.PieceSize, p.cfg.Size-int64(i)*p.cfg.PieceSize)
}

// Done reports whether every piece is there.
func (p *Plan) Done() bool { return p.left == 0 }

// Wants reports whether a piece is missing that is to come now: with a reader,
// one in its window.
func (p *Plan) Wants() bool {
	for i := range p.n {
		if !p.have.Has(i) && p.inWindow(i) {
			return true
		}
	}
	return false
}

// Wasted is the bytes received that were not needed or not right.
func (p *Plan) Wasted() int64 { return p.wasted }

// Rate is the goodput of the last two seconds, in bytes per second.
func (p *Plan) Rate(now time.Duration) float64 { return p.fromAll.rate(now) }

// open reports whether piece i is to be asked of somebody: it is missing, not
// asked for, and within a reader's window.
func (p *Plan) open(i int) bool {
	return !p.have.Has(i) && p.asked[i] == 0 && p.inWindow(i)
}

// Tick brings the plan to now and returns what to do. It must be called after
// events and at least every 100 ms.
func (p *Plan) Tick(now time.Duration) []Action {
	if p.Done() {
		return p.take()
	}
	p.dropStalled(now)
	p.leaveEdges(now)
	p.dropUnreached(now)
	if p.stale {
		p.holdElection()
	}
	p.top.see(now, p.fromAll.rate(now))
	p.askUrgent(now)
	p.askPeers(now)
	p.askEdge(now)
	p.relieve(now)
	p.endgame(now)
	return p.take()
}

// take returns the actions since the last Tick, those of events included.
func (p *Plan) take() []Action {
	out := p.out
	p.out = nil
	return out
}

func (p *Plan) do(a Action) { p.out = append(p.out, a) }

// got records a verified piece and withdraws it from every other source.
func (p *Plan) got(i int) bool {
	if !p.have.Set(i) {
		p.wasted += p.pieceLen(i)
		return false
	}
	p.left -= p.pieceLen(i)
	if p.asked[i] > 0 {
		p.withdraw(i)
	}
	p.outdone(i)
	return true
}

// holdElection recomputes who owns what among the neighbours that upload and
// still download. Seeds are not electors: they need nothing from the edge.
func (p *Plan) holdElection() {
	p.stale = false
	var others []elector
	for seed := range p.expected {
		others = append(others, elector{seed: seed, weight: 1})
	}
	for _, id := range p.turn {
		q := p.peers[id]
		if q.info.Uploads && q.count < p.n {
			others = append(others, elector{seed: q.info.Seed, weight: 1})
		}
	}
	p.elect = elect(p.n, stripePieces(p.cfg.Size, p.cfg.PieceSize), elector{seed: p.cfg.Seed, weight: 1}, p.cfg.Uploads, others)
}

// rarest returns the missing, unasked piece with the fewest holders for which ok
// holds, ties broken at random, or −1. It looks at no more than scanLimit
// pieces, which bounds its cost on very large objects.
func (p *Plan) rarest(ok func(i int) bool) int {
	const scanLimit = 8192
	found, least := -1, uint16(0)
	for k := range min(p.n, scanLimit) {
		i := int(p.order[(p.cursor+k)%p.n])
		if !p.open(i) || (found >= 0 && p.avail[i] >= least) || !ok(i) {
			continue
		}
		found, least = i, p.avail[i]
		if least <= 1 {
			break
		}
	}
	p.cursor = (p.cursor + 1 + p.cfg.Rand.IntN(8)) % p.n
	return found
}
