package transport

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// The values of [wire.Addr] that name kinds.
const (
	netTCP     = "tcp"
	netUDP     = "udp"
	addrHost   = "host"
	addrMapped = "mapped"
)

// maxHostAddrs leaves room among wire.MaxAddrs for mapped addresses.
const maxHostAddrs = wire.MaxAddrs - 2

// attempt is one dial of a race.
type attempt struct {
	kind  Kind
	to    netip.AddrPort
	after time.Duration // from the start of the race
	meet  bool          // the peer dials at the same time, from there
}

// planner decides which addresses of a peer are dialled, and when.
type planner struct {
	self       wire.Key
	udp        bool           // whether there is a UDP socket
	loopback   bool           // whether loopback addresses are dialled
	nat        wire.NAT       // ours
	interfaces []netip.Prefix // ours
}

// plan lists the dials to a peer in the order of their times. Those to mapped
// addresses start at once, because both sides must send at the same time;
// everything else may wait a little for what is cheaper and likely to do.
func (p planner) plan(peer wire.Candidate) []attempt {
	var tcp, met, host, mapped []netip.AddrPort
	for _, a := range peer.Addrs[:min(len(peer.Addrs), wire.MaxAddrs)] {
		to, err := netip.ParseAddrPort(a.Addr)
		if err != nil || !p.dialable(to) {
			continue
		}
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		switch {
		case a.Net == netTCP && a.Kind == addrMapped:
			met = append(met, to)
		case a.Net == netTCP:
			tcp = append(tcp, to)
		case a.Net == netUDP && p.udp && a.Kind == addrMapped:
			if nat.Possible(p.nat, peer.NAT) {
				mapped = append(mapped, to)
			}
		case a.Net == netUDP && p.udp:
			host = append(host, to)
		}
	}
	var start time.Duration
	if controls(peer.Key, p.self) {
		start = secondSide
	}
	attempts := p.schedule(nil, KindQUIC, mapped, 0, 0)
	attempts = p.schedule(attempts, KindTCP, tcp, start, stagger)
	attempts = p.schedule(attempts, KindTCP, met, 0, 0)
	for i, a := range attempts {
		attempts[i].meet = a.kind == KindTCP && slices.Contains(met, a.to) && !slices.Contains(tcp, a.to)
	}
	if len(tcp) > 0 {
		start += afterTCP
	}
	attempts = p.schedule(attempts, KindQUIC, host, start, stagger)
	slices.SortStableFunc(attempts, func(a, b attempt) int { return int(a.after - b.after) })
	return attempts
}

// schedule appends dials to the addresses, those nearby first.
func (p planner) schedule(to []attempt, kind Kind, addrs []netip.AddrPort, start, step time.Duration) []attempt {
	slices.SortStableFunc(addrs, func(a, b netip.AddrPort) int { return p.distance(a) - p.distance(b) })
	for _, a := range addrs {
		if slices.ContainsFunc(to, func(t attempt) bool { return t.kind == kind && t.to == a }) {
			continue
		}
		to = append(to, attempt{kind: kind, to: a, after: start})
		start += step
	}
	return to
}

// distance is 0 for an address on one of our own networks.
func (p planner) distance(a netip.AddrPort) int {
	if slices.ContainsFunc(p.interfaces, func(n netip.Prefix) bool { return n.Masked().Contains(a.Addr()) }) {
		return 0
	}
	return 1
}

// dialable refuses what no peer can listen on. Addresses of private networks are
// dialled, as every kind of ICE does: peers behind one NAT find each other so.
func (p planner) dialable(to netip.AddrPort) bool {
	ip := to.Addr().Unmap()
	switch {
	case to.Port() == 0 || ip.Zone() != "":
		return false
	case ip.IsLoopback():
		return p.loopback
	}
	return ip.IsGlobalUnicast()
}
