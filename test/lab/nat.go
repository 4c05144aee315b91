//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// NAT is what stands between a client and the others.
type NAT string

// Kinds of NAT. All but Open are a home router that lets nothing in that nobody
// inside asked for.
const (
	Open       NAT = "open"       // none: a public address
	Cone       NAT = "cone"       // one mapping whatever the destination, of the same port
	Renumbered NAT = "renumbered" // one mapping whatever the destination, of another port
	Symmetric  NAT = "symmetric"  // another port for every destination
	Firewalled NAT = "firewalled" // a cone NAT that passes TCP from inside only, no UDP
)

// behind adds n hosts on a local network behind one router, whose address outside is
// FIRST.77.2.K.
func (l *Lab) behind(ctx context.Context, link Link, kind NAT, first byte, n int) ([]*Host, error) {
	k := l.nextClient()
	public := netip.AddrFrom4([4]byte{first, 77, 2, byte(k)})
	router, err := l.addNamespace(ctx, fmt.Sprintf("r%d", k))
	if err != nil {
		return nil, err
	}
	if err := l.plug(ctx, router, public, link); err != nil {
		return nil, err
	}
	gateway := local(k, 1)
	err = runAll(ctx,
		in(router, "sysctl", "-qw", "net.ipv4.ip_forward=1"),
		[]string{"ip", "-n", router, "link", "add", "lan", "type", "bridge"},
		[]string{"ip", "-n", router, "addr", "add", gateway.String() + "/24", "dev", "lan"},
		[]string{"ip", "-n", router, "link", "set", "lan", "up"},
		in(router, "nft", rules(kind)),
	)
	if err != nil {
		return nil, err
	}
	hosts := make([]*Host, n)
	for i := range hosts {
		name := fmt.Sprintf("c%d", k)
		if n > 1 {
			name = fmt.Sprintf("c%d.%d", k, i+1)
		}
		h := &Host{Name: name, IP: local(k, i+2), Public: public, wanNS: router, gateway: gateway}
		if h.ns, err = l.plugLocal(ctx, h, gateway, fmt.Sprintf("p%d", i+1)); err != nil {
			return nil, err
		}
		hosts[i] = h
	}
	return hosts, nil
}

// plugLocal connects a host to its router by an unshaped link.
func (l *Lab) plugLocal(ctx context.Context, h *Host, gateway netip.Addr, port string) (string, error) {
	ns, err := l.addMachine(ctx, h.Name)
	if err != nil {
		return "", err
	}
	return ns, runAll(ctx,
		[]string{"ip", "link", "add", uplink, "netns", ns, "type", "veth", "peer", "name", port, "netns", h.wanNS},
		[]string{"ip", "-n", ns, "addr", "add", h.IP.String() + "/24", "dev", uplink},
		[]string{"ip", "-n", ns, "link", "set", uplink, "up"},
		[]string{"ip", "-n", ns, "route", "add", "default", "via", gateway.String()},
		[]string{"ip", "-n", h.wanNS, "link", "set", port, "master", "lan", "up"},
	)
}

// ForgetUDP has the NAT in front of the host forget mappings of UDP that are not used for
// a time, in whole seconds. The kernel's own times are 30 and, where both sides have sent
// for a while, 120 seconds.
func (h *Host) ForgetUDP(ctx context.Context, after time.Duration) error {
	s := strconv.Itoa(int(after / time.Second))
	return runAll(ctx, in(h.wanNS, "sysctl", "-qw",
		"net.netfilter.nf_conntrack_udp_timeout="+s, "net.netfilter.nf_conntrack_udp_timeout_stream="+s))
}

// local is the address of machine m on the local network k.
func local(k, m int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, byte(k), byte(m)})
}

// rules is the packet filter of a router. What comes to the router itself from
// outside is dropped before it is tracked, as home routers do: a tracked packet
// would take the port that the host inside is about to punch through.
func rules(kind NAT) string {
	var b strings.Builder
	masquerade := "masquerade"
	switch kind {
	case Symmetric:
		masquerade += " fully-random"
	case Renumbered: // the kernel keeps to the first port of a socket's while that is in use
		masquerade = "meta l4proto { tcp, udp } masquerade to :1024-9999"
	default:
	}
	fmt.Fprintf(&b, "table ip nat { chain post { type nat hook postrouting priority 100; oifname %q %s; }; };\n", uplink, masquerade)
	b.WriteString("table ip filter {\n")
	fmt.Fprintf(&b, "chain input { type filter hook input priority 0; policy accept; iifname %q ct state != { established, related } drop; };\n", uplink)
	b.WriteString("chain forward { type filter hook forward priority 0; policy drop;\n")
	if kind == Firewalled {
		b.WriteString("meta l4proto udp drop;\n")
	}
	b.WriteString("ct state established,related accept; ct status dnat accept; iifname \"lan\" accept; };\n};")
	return b.String()
}
