package portmap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

var errNoGateway = errors.New("no gateway of IPv4 on this network")

// whereabouts finds the gateway and this machine's address towards it.
func whereabouts() (network, error) {
	gateway, err := defaultGateway()
	if err != nil {
		return network{}, err
	}
	// Nothing is sent: the system says which address it would use.
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(gateway, gatewayPort)))
	if err != nil {
		return network{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	defer func() { _ = conn.Close() }()
	return network{gateway: gateway, local: conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()}, nil
}
