package nat

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Interfaces returns the unicast addresses of this machine's interfaces that are
// up, with the length of their prefixes. Link-local addresses are left out:
// without a zone they lead nowhere. Loopback ones are there, see [netip.Addr.IsLoopback].
func Interfaces() ([]netip.Prefix, error) {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var found []netip.Prefix
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone since the listing
		}
		for _, a := range addrs {
			if p, ok := prefixOf(a); ok {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if addr = addr.Unmap(); !ok || !addr.IsGlobalUnicast() && !addr.IsLoopback() {
		return netip.Prefix{}, false
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr, ones), true
}

// Rank orders interface addresses for a peer to try: the one named first, then
// IPv4 before IPv6 (its temporary addresses are many and say the same), public
// before private, and otherwise as the system lists them.
func Rank(addrs []netip.Addr, first netip.Addr) []netip.Addr {
	class := func(a netip.Addr) int {
		switch {
		case a == first:
			return 0
		case a.IsLoopback():
			return 1
		case a.Is4() && !a.IsPrivate():
			return 2
		case a.Is4():
			return 3
		case !a.IsPrivate():
			return 4
		}
		return 5
	}
	ranked := slices.Clone(addrs)
	slices.SortStableFunc(ranked, func(a, b netip.Addr) int { return cmp.Compare(class(a), class(b)) })
	return slices.Compact(ranked)
}
