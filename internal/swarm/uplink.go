package swarm

import (
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/upload"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// usage is what was sent until the last look at the uplink.
type usage struct {
	mu   sync.Mutex
	at   time.Time
	sent int64
}

// Uplink is what peers and control are told of this node's uplink, in kbit/s; 0
// is not known. It changes in [Node.Measure] alone, so that all know the same.
func (n *Node) Uplink() uint32 { return n.uplink.Load() }

// Measure takes a new look at the uplink. It returns its rate in kbit/s as
// [Node.Uplink] does from now on, and the percentage of it that was in use since
// the last look. A rate that has changed for good is told to every peer; control
// is the caller's to tell.
func (n *Node) Measure() (uplink uint32, load int) {
	var rate float64
	var sent int64
	n.uploads.do(func(a *upload.Allocator, _ time.Duration) { rate, sent = a.Rate(), a.Total() })
	now := time.Now()
	n.used.mu.Lock()
	defer n.used.mu.Unlock()
	if span := now.Sub(n.used.at).Seconds(); rate > 0 && span > 0 {
		load = int(min(100, 100*float64(sent-n.used.sent)/(rate*span)))
	}
	n.used.at, n.used.sent = now, sent
	old := n.uplink.Load()
	// Between two steps it stays where it was.
	kbit := rate * 8 / 1000
	if old > 0 && kbit > 0.6*float64(old) && kbit < 1.7*float64(old) {
		return old, load
	}
	uplink = wire.RoundUplink(uint32(min(kbit, wire.MaxUplink)))
	if uplink != old {
		n.uplink.Store(uplink)
		n.renewAll()
	}
	return uplink, load
}

// renewAll shows every peer what its OPEN says now.
func (n *Node) renewAll() {
	n.mu.Lock()
	swarms := make([]*Swarm, 0, len(n.swarms))
	for _, s := range n.swarms {
		swarms = append(swarms, s)
	}
	n.mu.Unlock()
	for _, s := range swarms {
		s.Renew()
	}
}
