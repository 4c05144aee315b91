package control

import (
	"net/netip"
	"slices"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// reach is how far an address is meaningful.
type reach int

const (
	nowhere reach = iota // multicast, unspecified, reserved, link-local IPv6 (which needs a zone)
	machine              // loopback
	private              // RFC 1918, RFC 4193, RFC 6598, RFC 3927
	global
)

func reachOf(ip netip.Addr) reach {
	switch {
	case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast():
		return nowhere
	case ip.IsLoopback():
		return machine
	case ip.Is4() && (ip.As4()[0] == 0 || ip.As4()[0] >= 240):
		return nowhere
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return nowhere
	case ip.IsPrivate() || ip.IsLinkLocalUnicast() || isCarrierNAT(ip):
		return private
	}
	return global
}

// isCarrierNAT reports whether ip is in the shared space of RFC 6598.
func isCarrierNAT(ip netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(ip)
}

func sameSite(a, b netip.Addr) bool {
	return directory.PlaceOf(a, 0, "").Site == directory.PlaceOf(b, 0, "").Site
}

// cleanAddrs keeps the announced addresses that a session seen at observed may
// have: nobody can have peers connect to a third party's machine. A global
// address must be the observed one, except that one of the other IP version may
// stand beside it. It adds, for each TCP port, the observed address, where the
// user may have forwarded the port; tcp says whether the client itself claims to
// take connections there.
func cleanAddrs(in []wire.Addr, observed netip.Addr) (out []wire.Addr, tcp bool) {
	observed = observed.Unmap()
	var other netip.Addr // the one address of the other IP version
	var ports []uint16
	for _, a := range in[:min(len(in), wire.MaxAddrs)] {
		ap, ok := parseAddr(a)
		if !ok || !mayAnnounce(ap, observed, &other) {
			continue
		}
		a.Addr = ap.String()
		if slices.Contains(out, a) {
			continue
		}
		out = append(out, a)
		if a.Net != "tcp" || a.Kind != "host" {
			continue // where a NAT maps a port, nobody is taken in who is not expected
		}
		if ap.Addr() == observed {
			tcp = true
		} else if ap.Addr().Is4() == observed.Is4() && !slices.Contains(ports, ap.Port()) {
			ports = append(ports, ap.Port())
		}
	}
	for _, port := range ports {
		if tcp || len(out) >= wire.MaxAddrs || reachOf(observed) < private {
			break
		}
		out = append(out, wire.Addr{Net: "tcp", Addr: netip.AddrPortFrom(observed, port).String(), Kind: "mapped"})
	}
	return out, tcp
}

func parseAddr(a wire.Addr) (netip.AddrPort, bool) {
	if a.Net != "tcp" && a.Net != "udp" || a.Kind != "host" && a.Kind != "mapped" {
		return netip.AddrPort{}, false
	}
	ap, err := netip.ParseAddrPort(a.Addr)
	if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
}

func mayAnnounce(ap netip.AddrPort, observed netip.Addr, other *netip.Addr) bool {
	ip := ap.Addr()
	if ip == observed {
		return true
	}
	if ap.Port() < minPort {
		return false
	}
	switch reachOf(ip) {
	case machine:
		return observed.IsLoopback()
	case private:
		return true // shown to its own site alone
	case global:
		if ip.Is4() == observed.Is4() {
			return false
		}
		if !other.IsValid() {
			*other = ip
		}
		return *other == ip
	default:
		return false
	}
}

// visibleAddrs are those of a peer's clean addresses, seen at from, that a peer
// seen at to may learn: private ones stay on their site, loopback ones on the
// machine. An address that control itself sees the peer at is shown also to
// others that reach control from private addresses (one company's network), and
// so are the private ones of a peer on control's own machine.
func visibleAddrs(addrs []wire.Addr, from, to netip.Addr) []wire.Addr {
	from, to = from.Unmap(), to.Unmap()
	site := sameSite(from, to)
	var out []wire.Addr
	for _, a := range addrs {
		ap, err := netip.ParseAddrPort(a.Addr)
		if err != nil {
			continue
		}
		show := false
		switch reachOf(ap.Addr()) {
		case machine:
			show = from.IsLoopback() && to.IsLoopback()
		case private:
			show = site || reachOf(to) <= private && (ap.Addr() == from || from.IsLoopback())
		case global:
			show = true
		default:
		}
		if show {
			out = append(out, a)
		}
	}
	return out
}
