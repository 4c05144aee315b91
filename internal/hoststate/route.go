package hoststate

import (
	"context"
	"net"
)

// throughTunnel asks by which interface a packet to the internet would leave, and
// whether that is a tunnel. All rules and tables of the system have their say, since it
// is the system that answers: a UDP socket is connected, which sends nothing, and has
// the address of that interface.
func throughTunnel(ctx context.Context) Answer {
	all := Unknown
	for _, to := range [][2]string{{"udp4", "192.0.2.1:9"}, {"udp6", "[2001:db8::1]:9"}} { // of nobody: RFC 5737, RFC 3849
		ifc, ok := outgoing(ctx, to[0], to[1])
		if ok {
			all = max(all, tunnel(ifc))
		}
	}
	return all
}

func outgoing(ctx context.Context, network, to string) (net.Interface, bool) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, to)
	if err != nil {
		return net.Interface{}, false // no route
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return net.Interface{}, false
	}
	all, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, false
	}
	for _, ifc := range all {
		addrs, _ := ifc.Addrs() // one that is gone has none
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(local.IP) {
				return ifc, true
			}
		}
	}
	return net.Interface{}, false
}
