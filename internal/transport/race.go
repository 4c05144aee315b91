package transport

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// pair is what is under way with one peer while no link is chosen. The lock of
// the endpoint guards it, except for picking.
type pair struct {
	conns   []*Conn       // authenticated
	waiter  chan *Conn    // of Connect, with room for one; nil when nobody waits
	decided chan struct{} // closed when a link was chosen

	// picking is held while the controlling side writes a selection.
	picking sync.Mutex
}

// pairOf returns what is under way with a peer. The caller holds the lock.
func (e *Endpoint) pairOf(peer wire.Key) *pair {
	p := e.pairs[peer]
	if p == nil {
		p = &pair{decided: make(chan struct{})}
		e.pairs[peer] = p
	}
	return p
}

// offer enters an authenticated connection into the race for the link with its
// peer and returns when the connection is the link or closed. Nobody needs to
// wait in Connect: the message from control may be late, or never come.
func (e *Endpoint) offer(c *Conn) {
	p := e.enter(c)
	if p == nil {
		c.discard()
		return
	}
	var chosen bool
	if c.Controlling() {
		chosen = e.pick(p, c)
	} else {
		chosen = e.awaitSelection(c)
	}
	if chosen {
		e.adopt(c)
		return
	}
	c.discard()
	e.withdraw(p, c)
}

// enter adds the connection to its pair, unless there is a link already.
func (e *Endpoint) enter(c *Conn) *pair {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil
	}
	if c.Controlling() && e.leftover(c) {
		return nil
	}
	p := e.pairOf(c.peer)
	p.conns = append(p.conns, c)
	return p
}

// leftover says whether a connection is one of a race that was decided: the peer has
// closed it, or is about to. That may show only after the link is over, when it would be
// taken for one of the next race. The caller holds the lock.
func (e *Endpoint) leftover(c *Conn) bool {
	if link := e.links[c.peer]; link != nil {
		return time.Since(link.since) < settleFor
	}
	return c.began.Before(e.over[c.peer])
}

// withdraw takes a closed connection out of its pair.
func (e *Endpoint) withdraw(p *pair, c *Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, other := range p.conns {
		if other == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			break
		}
	}
	e.dropIdle(c.peer)
}

// dropIdle forgets a pair nobody waits for. The caller holds the lock.
func (e *Endpoint) dropIdle(peer wire.Key) {
	if p := e.pairs[peer]; p != nil && len(p.conns) == 0 && p.waiter == nil {
		delete(e.pairs, peer)
	}
}

// pick is the controlling side: the first connection wins, except that QUIC
// gives TCP, which needs a round trip more, the time to come in.
func (e *Endpoint) pick(p *pair, c *Conn) bool {
	if c.kind != KindTCP {
		// A handshake takes a round trip. What quic-go has measured by now is often
		// nothing, for which it tells 100 ms.
		grace := time.NewTimer(min(minGrace+time.Since(c.began)*3/2, maxGrace))
		defer grace.Stop()
		select {
		case <-grace.C:
		case <-p.decided:
			return false
		case <-e.ctx.Done():
			return false
		}
	}
	p.picking.Lock()
	defer p.picking.Unlock()
	select {
	case <-p.decided:
		return false
	default:
	}
	err := errors.Join(
		c.SetWriteDeadline(time.Now().Add(writeSelection)),
		writeByte(c, selection),
		c.SetWriteDeadline(time.Time{}))
	if err != nil {
		e.log.Debug("connection lost before it was chosen", "peer", c.peer.Short(), "kind", c.kind, "addr", c.remote, "err", err)
		return false
	}
	close(p.decided)
	return true
}

func writeByte(c *Conn, b byte) error {
	_, err := c.Write([]byte{b})
	return err
}

// awaitSelection is the other side: the connection on which the byte arrives is
// the link.
func (e *Endpoint) awaitSelection(c *Conn) bool {
	err := errors.Join(
		c.SetReadDeadline(time.Now().Add(selectWithin)),
		expect(c, selection),
		c.SetReadDeadline(time.Time{}))
	return err == nil
}

// adopt makes a chosen connection the link with its peer: the one that is in
// Connect gets it, or else Accept. Everything else with that peer is closed, a
// link included: the peer would not have chosen again, had it not lost that.
func (e *Endpoint) adopt(c *Conn) {
	c.release()
	e.mu.Lock()
	if e.ctx.Err() != nil {
		e.mu.Unlock()
		c.discard()
		return
	}
	var losers []*Conn
	var waiter chan *Conn
	if p := e.pairs[c.peer]; p != nil {
		losers, waiter = p.conns, p.waiter
		p.conns = nil
		delete(e.pairs, c.peer)
	}
	if old := e.links[c.peer]; old != nil {
		losers = append(losers, old)
	}
	c.since = time.Now()
	e.links[c.peer] = c
	e.mu.Unlock()

	for _, l := range losers {
		if l != c {
			l.discard()
		}
	}
	e.log.Debug("linked", "peer", c.peer.Short(), "kind", c.kind, "addr", c.remote)
	if waiter != nil {
		waiter <- c
		return
	}
	select {
	case e.accepted <- c:
	default:
		e.log.Warn("link closed because nobody accepts links", "peer", c.peer.Short())
		c.discard()
	}
}

// forget takes an ended connection off the list of links.
func (e *Endpoint) forget(c *Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links[c.peer] != c {
		return
	}
	delete(e.links, c.peer)
	maps.DeleteFunc(e.over, func(_ wire.Key, at time.Time) bool { return time.Since(at) > settleFor })
	if now := time.Now(); now.Sub(c.since) < settleFor {
		e.over[c.peer] = now
	}
}
