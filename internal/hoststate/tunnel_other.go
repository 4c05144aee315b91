//go:build !linux && !windows

package hoststate

import (
	"net"
	"strings"
)

// tunnel goes by the name, which says what an interface is made of: utun and ipsec on
// macOS, tun, tap and wg on the BSDs.
func tunnel(ifc net.Interface) Answer {
	kind := strings.TrimRight(ifc.Name, "0123456789")
	switch kind {
	case "utun", "ipsec", "tun", "tap", "wg":
		return Yes
	}
	return No
}
