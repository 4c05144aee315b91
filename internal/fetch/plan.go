package fetch

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
	// Need is how many bytes have to come of each piece that is missing, where the
	// rest is there already; nil is all.
	Need []int64

	// Seed is this client's place in the election of owners: equal on every
	// client that looks at this one. Uploads says that it serves peers.
	Seed    uint64
	Uploads bool

	// The response that began the download is under way, as edge request 0, with the
	// pieces from StreamAt up to StreamEnd; there is none where they are equal.
	StreamAt, StreamEnd int

	// Class says how long the download may take. FinishBy is when a [Background]
	// one must be done; 0 is no such time.
	Class    Class
	FinishBy time.Duration
	// MaxEdge is the number of parallel edge requests; the default is 2.
	MaxEdge int
	// MaxBuffer bounds the bytes asked of peers at once; the default is 32 MiB.
	MaxBuffer int64
	// Window bounds how far ahead of a reader the plan works, in bytes, and makes
	// it wait for one; 0 is to the end.
	Window int64
	// Rand breaks ties.
	Rand *rand.Rand
	// Ablate switches parts of the policy off, to measure what they are good for.
	Ablate Ablation
}

// Class says how long a download may take.
type Class uint8

// The classes. None but the background ends later than the edge alone would have
// ended it, but for what the class allows.
const (
	Normal      Class = iota // a hundredth longer
	Interactive              // no longer: somebody waits
	Background               // until FinishBy: the edge gives what nobody else has
)

var classNames = [...]string{Normal: "normal", Interactive: "interactive", Background: "background"}

// MarshalText is one word.
func (c Class) MarshalText() ([]byte, error) { return []byte(classNames[c]), nil }

// UnmarshalText reads that word.
func (c *Class) UnmarshalText(b []byte) error {
	i := slices.Index(classNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("class %.20q: want normal, interactive or background", b)
	}
	*c = Class(i)
	return nil
}

// slack is the part of the time that the edge alone would take by which a download
// may be longer.
func (c Class) slack() float64 {
	if c == Interactive {
		return 0
	}
	return 0.01
}

// Ablation names parts of the policy that are switched off.
type Ablation struct {
	Duty    bool // nobody is responsible for a piece
	Order   bool // the edge is asked in file order by everybody
	Patient bool // requests stay where they are, however long they wait
	GiveWay bool // the edge is always asked, and never gives way to peers
}

// PeerInfo describes a peer that has joined the swarm on a link.
type PeerInfo struct {
	Seed    uint64        // its place in the election
	Uploads bool          // it serves requests
	Uplink  uint32        // spare uplink, kbit/s; 0 is not known
	RTT     time.Duration // 0 is not known
	Near    bool          // in the same autonomous system, or nearer
}

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
	todo   set      // pieces missing and not asked for
	absent int      // missing pieces that no neighbour holds
	freed  uint32   // counts what became open again

	peers []*peer // by ID; nil where there is none
	spare []peer  // room for further ones
	turn  []*peer // in order of asking, rotated
	near  int     // peers near by that upload
	// expected are neighbours that control has named and that are being reached,
	// by their place in the election, with the time until when to count on them.
	expected map[uint64]time.Duration
	elect    *election
	growth   *meter        // stripes that appear in the swarm
	seen     int           // stripes counted in growth
	stale    bool          // the election must be held again
	divided  bool          // what this client owns is settled
	stallAt  time.Duration // no peer is silent for too long before then
	stealAt  time.Duration // requests are not moved before then

	edge edgeState

	reader  int // piece of the reading position, −1 without a reader
	fromAll *meter
	fromP2P *meter
	answers answers // of peers
	quick   *meter  // the same, of late
	instant *meter  // of everything, now
	top     best
	pacer   pacer
	reach   reach
	inAsk   int64 // bytes asked of peers
	begun   int64 // bytes had from peers of pieces that are not whole
	fresh   fresh
	wasted  int64
	tardy   int64 // of wasted, in answer to requests that were taken back
	corrupt int64 // of it, what did not verify
	out     []Action
}

// NewPlan returns the plan of a download that begins now.
func NewPlan(cfg Config) *Plan {
	if cfg.MaxEdge == 0 {
		cfg.MaxEdge = 2
	}
	if cfg.MaxBuffer == 0 {
		cfg.MaxBuffer = 32 << 20
	}
	n := manifest.PieceCount(cfg.Size, cfg.PieceSize)
	p := &Plan{
		cfg: cfg, n: n, have: cfg.Have.Clone(),
		avail: make([]uint16, n), asked: make([]uint8, n), todo: newSet(n), freed: 1,
		expected: map[uint64]time.Duration{}, stale: true, reader: -1,
		elect:   newElection(n, stripePieces(cfg.Size, cfg.PieceSize), cfg.Seed),
		fromAll: newMeter(2*time.Second, 20), fromP2P: newMeter(2*time.Second, 20), quick: newMeter(time.Second, 10), instant: newMeter(500*time.Millisecond, 10),
		growth: newMeter(8*time.Second, 16),
		top:    best{period: 10 * time.Second},
		edge:   newEdgeState(),
		reach:  reach{most: leastReach},
	}
	for i := range n {
		if !p.have.Has(i) {
			p.left += p.pieceLen(i)
			p.absent++
			p.todo.put(i)
		}
	}
	if cfg.StreamAt < cfg.StreamEnd {
		p.edge.open(edgeReq{id: 0, next: cfg.StreamAt, claim: cfg.StreamAt, end: cfg.StreamEnd})
		if cfg.Window == 0 { // or peers are asked for them, and it shows nothing
			p.extend(p.edge.reqs[0], p.pieces(proveBytes))
		}
	}
	return p
}

// pieceLen is how many bytes of piece i have to come.
func (p *Plan) pieceLen(i int) int64 {
	if p.cfg.Need != nil {
		return p.cfg.Need[i]
	}
	return min(p.cfg.PieceSize, p.cfg.Size-int64(i)*p.cfg.PieceSize)
}

// Done reports whether every piece is there.
func (p *Plan) Done() bool { return p.left == 0 }

// Wants reports whether a piece is missing that is to come now: with a reader,
// one in its window.
func (p *Plan) Wants() bool {
	if p.cfg.Window == 0 {
		return p.left > 0
	}
	for i := range p.n {
		if !p.have.Has(i) && p.inWindow(i) {
			return true
		}
	}
	return false
}

// Wasted is the bytes received that were not needed or not right.
func (p *Plan) Wasted() int64 { return p.wasted }

// PeerLate records n bytes in answer to a request that was taken back.
func (p *Plan) PeerLate(n int64) {
	p.wasted += n
	p.tardy += n
}

// Rate is the goodput of the last two seconds, in bytes per second.
func (p *Plan) Rate(now time.Duration) float64 { return p.fromAll.rate(now) }

// open reports whether piece i is to be asked of somebody: it is missing, not
// asked for, and within a reader's window.
func (p *Plan) open(i int) bool {
	return p.todo.has(i) && p.inWindow(i)
}

// anyOpen reports whether any piece is open.
func (p *Plan) anyOpen() bool {
	found := false
	p.todo.all(nil, 0, func(i int) bool {
		found = p.inWindow(i)
		return !found
	})
	return found
}

// ask and unask count the sources that piece i is asked of.
func (p *Plan) ask(i int) {
	p.asked[i]++
	p.todo.drop(i)
}

func (p *Plan) unask(i int) {
	if p.asked[i]--; p.asked[i] == 0 && !p.have.Has(i) {
		p.todo.put(i)
		p.freed++
	}
}

// Tick brings the plan to now and returns what to do. It must be called after
// events and at least every 100 ms.
func (p *Plan) Tick(now time.Duration) []Action {
	if p.Done() {
		return p.take()
	}
	p.fresh.see(now, p.left)
	p.dropStalled(now)
	p.leaveEdges(now)
	p.dropUnreached(now)
	p.holdElection()
	p.top.see(now, p.fromAll.rate(now))
	p.askUrgent(now)
	p.askPeers(now)
	p.steal(now)
	p.askEdge(now)
	p.relieve(now)
	p.unload(now)
	p.endgame(now)
	return p.take()
}

// fresh remembers when the last piece came.
type fresh struct {
	left int64
	at   time.Duration
}

func (f *fresh) see(now time.Duration, left int64) {
	if left != f.left {
		f.left, f.at = left, now
	}
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
	p.todo.drop(i)
	if p.avail[i] == 0 {
		p.absent--
	}
	if p.asked[i] > 0 {
		p.withdraw(i)
	}
	p.outdone(i)
	return true
}

// SetDuty tells the share of the pieces that control has given this client; the
// zero Duty leaves the division to the neighbours.
func (p *Plan) SetDuty(d Duty) {
	if p.elect.duty != d {
		p.elect.duty = d
		p.divided = false
	}
}

// stand has another neighbour take part in the election.
func (p *Plan) stand(seed uint64) {
	if !p.stale {
		p.elect.add(seed)
		p.divided = p.divided && p.elect.duty.Of > 0
	}
}

// holdElection brings up to date who owns what among the neighbours that upload
// and still download. Seeds are not electors: they need nothing from the edge.
func (p *Plan) holdElection() {
	if p.stale {
		p.stale = false
		p.divided = p.divided && p.elect.duty.Of > 0
		p.elect.clear()
		for seed := range p.expected {
			p.elect.add(seed)
		}
		for _, q := range p.turn {
			if q.info.Uploads && q.count < p.n {
				p.elect.add(q.info.Seed)
			}
		}
	}
	if !p.divided {
		p.divided = true
		p.elect.settle(p.cfg.Uploads && !p.cfg.Ablate.Duty)
	}
}

// rarest returns the open piece with the fewest holders, of those in of when that
// is not nil, ties broken at random, or −1. It looks at no more than scanLimit
// pieces, which bounds its cost on very large objects.
func (p *Plan) rarest(of set) int {
	const scanLimit = 4096
	found, least, looked := -1, uint64(1)<<63, 0
	salt := p.cfg.Rand.Uint64()
	p.todo.all(of, int(salt%uint64(p.n)), func(i int) bool {
		if rare := uint64(p.avail[i])<<32 | (uint64(i)+salt)*0x9e3779b97f4a7c15>>32; rare < least && p.inWindow(i) {
			found, least = i, rare
		}
		looked++
		return looked < scanLimit
	})
	return found
}
