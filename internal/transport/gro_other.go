//go:build !linux

package transport

import "net"

// withGRO leaves the socket as it is: only Linux has the offload.
func withGRO(c *net.UDPConn) net.PacketConn { return c }
