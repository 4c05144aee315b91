package portmap

import (
	"fmt"
	"net/netip"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// defaultGateway is the router of the default route that is not for one interface only.
func defaultGateway() (netip.Addr, error) {
	b, err := route.FetchRIB(unix.AF_INET, route.RIBTypeRoute, 0)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	messages, err := route.ParseRIB(route.RIBTypeRoute, b)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	const wanted, all = unix.RTF_UP | unix.RTF_GATEWAY, unix.RTF_UP | unix.RTF_GATEWAY | unix.RTF_IFSCOPE
	for _, m := range messages {
		r, ok := m.(*route.RouteMessage)
		if !ok || r.Flags&all != wanted || len(r.Addrs) <= unix.RTAX_GATEWAY {
			continue
		}
		to, okTo := r.Addrs[unix.RTAX_DST].(*route.Inet4Addr)
		via, okVia := r.Addrs[unix.RTAX_GATEWAY].(*route.Inet4Addr)
		if okTo && okVia && to.IP == [4]byte{} {
			return netip.AddrFrom4(via.IP), nil
		}
	}
	return netip.Addr{}, errNoGateway
}
