// Package nat finds out how this machine is seen from outside: the addresses of
// its interfaces, the address a NAT gives to a UDP socket, and which kind of NAT
// that is. It speaks the Binding method of STUN (RFC 8489), both sides of it.
package nat

import "github.com/tandem-cdn/tandem/internal/wire"

// Possible says whether two peers behind NATs of these kinds can be expected to
// link over UDP when both send to each other's mapped address at the same time.
// It says nothing about peers on one LAN, nor about TCP.
//
// Two symmetric NATs send from ports that the other side cannot know. A cone NAT
// and a symmetric one link only when the cone does not filter by port, which is
// not known beforehand and worth a try.
func Possible(a, b wire.NAT) bool {
	switch {
	case a == wire.NATBlocked || b == wire.NATBlocked:
		return false
	case a == wire.NATSymmetric && b == wire.NATSymmetric:
		return false
	}
	return true
}
