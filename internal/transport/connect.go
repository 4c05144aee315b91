package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Errors of Connect that say nothing against the peer.
var (
	// ErrLinked means that there is a link with the peer, which Connect or
	// Accept has returned before.
	ErrLinked = errors.New("already linked")
	// ErrConnecting means that another Connect with the peer is under way.
	ErrConnecting = errors.New("already connecting")
)

// errNoLink is Connect's error when the time is over.
var errNoLink = errors.New("no connection in time")

// Connect makes a link with a peer that control has told to do the same: it
// dials every address and takes what comes in from the peer, until one
// connection is chosen, at most five seconds.
func (e *Endpoint) Connect(ctx context.Context, peer wire.Candidate) (*Conn, error) {
	c, err := e.connect(ctx, peer)
	if err != nil {
		return nil, fmt.Errorf("link to %s: %w", peer.Key.Short(), err)
	}
	return c, nil
}

func (e *Endpoint) connect(ctx context.Context, peer wire.Candidate) (*Conn, error) {
	if peer.Key == e.identity.key {
		return nil, errSelf
	}
	waiter, err := e.await(peer.Key)
	if err != nil {
		return nil, err
	}
	// The dials outlive this call when a connection of theirs waits to be chosen.
	ctx, cancel := context.WithTimeout(ctx, raceWithin)
	defer cancel()
	attempts := e.planner().plan(peer)
	failed := make(chan error, len(attempts))
	for _, a := range attempts {
		if !e.spawn(func() { e.attempt(ctx, peer.Key, a, failed) }) {
			break
		}
	}
	select {
	case c := <-waiter:
		return c, nil
	case <-ctx.Done():
		err = e.whyNot(ctx, failed)
	case <-e.ctx.Done():
		err = net.ErrClosed
	}
	if c := e.giveUp(peer.Key, waiter); c != nil {
		return c, nil
	}
	return nil, err
}

// await enters Connect into the race with a peer.
func (e *Endpoint) await(peer wire.Key) (chan *Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	if e.links[peer] != nil {
		return nil, ErrLinked
	}
	p := e.pairOf(peer)
	if p.waiter != nil {
		return nil, ErrConnecting
	}
	p.waiter = make(chan *Conn, 1)
	return p.waiter, nil
}

// giveUp takes Connect out of the race, unless a connection was chosen for it.
func (e *Endpoint) giveUp(peer wire.Key, waiter chan *Conn) *Conn {
	e.mu.Lock()
	if p := e.pairs[peer]; p != nil && p.waiter == waiter {
		p.waiter = nil
		e.dropIdle(peer)
		e.mu.Unlock()
		return nil
	}
	e.mu.Unlock()
	return <-waiter
}

// attempt dials one address and enters the connection into the race.
func (e *Endpoint) attempt(ctx context.Context, peer wire.Key, a attempt, failed chan<- error) {
	timer := time.NewTimer(a.after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	case <-e.ctx.Done():
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	began, dial := time.Now(), e.dialTCP
	switch {
	case a.kind == KindQUIC:
		dial = e.dialQUIC
	case a.meet:
		dial = e.meetTCP
	}
	c, err := dial(ctx, peer, a.to)
	if err != nil {
		failed <- err
		return
	}
	c.began = began
	e.offer(c)
}

// whyNot gathers what went wrong with the dials.
func (e *Endpoint) whyNot(ctx context.Context, failed <-chan error) error {
	errs := []error{errNoLink}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		errs = []error{ctx.Err()}
	}
	for {
		select {
		case err := <-failed:
			if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				errs = append(errs, err)
			}
		default:
			return errors.Join(errs...)
		}
	}
}

func (e *Endpoint) planner() planner {
	interfaces, err := nat.Interfaces()
	if err != nil {
		e.log.Debug("own networks are not known", "err", err)
	}
	kind, _ := e.kind.Load().(wire.NAT)
	return planner{
		self: e.identity.key, udp: e.udp != nil, loopback: e.local.Load(),
		nat: kind, interfaces: interfaces,
	}
}

// Gather asks STUN servers (host:port) how the shared UDP socket looks from
// outside. It returns the mapped addresses and the kind of NAT, within three
// seconds; see [nat.Discover].
func (e *Endpoint) Gather(ctx context.Context, stun []string) ([]wire.Addr, wire.NAT, error) {
	if e.udp == nil {
		return nil, wire.NATBlocked, nil
	}
	e.gathering.Lock()
	defer e.gathering.Unlock()
	var local []netip.AddrPort
	prefixes, err := nat.Interfaces()
	if err != nil {
		return nil, wire.NATUnknown, err
	}
	for _, p := range prefixes {
		local = append(local, netip.AddrPortFrom(p.Addr(), addrPort(e.udp.LocalAddr()).Port()))
	}
	found, err := nat.Discover(ctx, stunSocket{e.quic}, stun, local)
	if err == nil {
		e.kind.Store(found.Kind)
	} else { // servers that are down do not undo what others have told
		e.kind.CompareAndSwap(nil, found.Kind)
	}
	var addrs []wire.Addr
	for _, m := range found.Mapped {
		addrs = append(addrs, wire.Addr{Net: netUDP, Addr: m.String(), Kind: addrMapped})
	}
	return addrs, found.Kind, err
}

// Keep asks STUN servers again every 15 seconds until ctx ends, which keeps the mapping
// that a NAT has given to the shared UDP socket, and calls changed with what has become of
// it when that is not what mapped says. What answers no more is asked again.
func (e *Endpoint) Keep(ctx context.Context, stun []string, mapped []wire.Addr, changed func([]wire.Addr, wire.NAT)) {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, kind, err := e.Gather(ctx, stun)
		if err != nil || slices.Equal(now, mapped) {
			continue
		}
		mapped = now
		changed(now, kind)
	}
}
