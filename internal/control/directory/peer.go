package directory

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// loadHalf is the time in which half of a peer's assignments are forgotten:
	// about as long as it takes to see whether a candidate was any good.
	loadHalf = 30 * time.Second
	// signalRate and signalBurst bound how often one peer is told to connect to
	// others, so that a popular one (or a victim) is not flooded with them.
	signalRate  = 10.0 // per second
	signalBurst = 60.0
	// slotRate is the uplink that one upload slot is reckoned at, kbit/s.
	slotRate = 1500
	// fastUplink is the spare uplink that scores as full capacity, kbit/s.
	fastUplink = 20_000
)

// Facts are what a session tells of itself. A value is not changed once it is
// set; see [Peer.Set].
type Facts struct {
	NAT     wire.NAT
	TCP     bool // takes TCP connections on its observed address
	Uploads bool
	Uplink  uint32 // kbit/s, 0 = not known
	Load    int    // percentage of the uplink in use
	Addrs   []wire.Addr
}

// Peer is one session, shared by its memberships. Its methods are safe for
// concurrent use.
type Peer struct {
	Key   wire.Key
	Place Place

	facts atomic.Pointer[Facts]
	// blamed is how many reporters have found fault with the peer.
	blamed atomic.Int32

	mu      sync.Mutex
	load    float64 // assignments, decaying
	signals float64 // left of the burst
	at      time.Time
}

// NewPeer makes a peer that has told nothing yet.
func NewPeer(key wire.Key, place Place) *Peer {
	p := &Peer{Key: key, Place: place, signals: signalBurst}
	p.facts.Store(&Facts{})
	return p
}

// Facts returns what the session told last.
func (p *Peer) Facts() *Facts { return p.facts.Load() }

// Set replaces the facts. A change of Uploads must be followed by
// [Directory.Refile].
func (p *Peer) Set(f *Facts) { p.facts.Store(f) }

// Blame records how many distinct reporters have found fault with the peer; 0
// pardons it.
func (p *Peer) Blame(n int) { p.blamed.Store(int32(n)) }

// Blamed is what [Peer.Blame] recorded.
func (p *Peer) Blamed() int { return int(p.blamed.Load()) }

// Assign counts one pairing of the peer with another.
func (p *Peer) Assign(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	p.load++
	p.signals--
}

// Load is the number of recent assignments per upload slot, and whether the
// peer may be told of another one now.
func (p *Peer) Load(now time.Time) (perSlot float64, ready bool) {
	slots := 4.0
	if up := p.Facts().Uplink; up > 0 {
		slots = min(12, max(2, float64(up)/slotRate))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	return p.load / slots, p.signals >= 1
}

func (p *Peer) advance(now time.Time) {
	d := now.Sub(p.at)
	p.at = now
	if d <= 0 {
		return
	}
	p.load *= math.Exp2(-float64(d) / float64(loadHalf))
	p.signals = min(signalBurst, p.signals+signalRate*d.Seconds())
}
