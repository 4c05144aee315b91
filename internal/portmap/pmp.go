package portmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The layout of NAT-PMP (RFC 6886, section 3), in bytes:
//
//	address request   version  opcode
//	address response  version  opcode  result(2)    epoch(4)  external address(4)
//	map request       version  opcode  reserved(2)  internal port(2)  external port(2)  lifetime(4)
//	map response      version  opcode  result(2)    epoch(4)  internal port(2)  external port(2)  lifetime(4)
const (
	pmpVersion = 0
	pmpAddress = 0
	pmpMapUDP  = 1
	pmpMapTCP  = 2
)

var errPMP = errors.New("malformed NAT-PMP answer")

// pmpAnswer is a NAT-PMP response: the external address, or a mapping. Of one with a
// result other than 0, only that and the epoch are set.
type pmpAnswer struct {
	result   uint16
	epoch    uint32
	address  netip.Addr
	internal uint16
	external uint16
	lifetime time.Duration
}

func pmpOpcode(network string) uint8 {
	if network == TCP {
		return pmpMapTCP
	}
	return pmpMapUDP
}

// pmpMapRequest is a map request. A lifetime of 0 removes the mapping, and then the
// external port must be 0 too.
func pmpMapRequest(m Mapping, lifetime time.Duration) []byte {
	b := []byte{pmpVersion, pmpOpcode(m.Net), 0, 0}
	b = binary.BigEndian.AppendUint16(b, m.Internal)
	external := m.External.Port()
	if lifetime == 0 {
		external = 0
	}
	b = binary.BigEndian.AppendUint16(b, external)
	return binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
}

// parsePMP reads a response to a request of that opcode.
func parsePMP(b []byte, opcode uint8) (pmpAnswer, error) {
	if len(b) < 8 || len(b) > maxDatagram {
		return pmpAnswer{}, fmt.Errorf("%w: %d bytes", errPMP, len(b))
	}
	if b[0] != pmpVersion || b[1] != opResponse|opcode {
		return pmpAnswer{}, fmt.Errorf("%w: version %d, opcode %#x", errPMP, b[0], b[1])
	}
	a := pmpAnswer{result: binary.BigEndian.Uint16(b[2:]), epoch: binary.BigEndian.Uint32(b[4:])}
	switch {
	case a.result != 0:
	case opcode == pmpAddress && len(b) >= 12:
		a.address = netip.AddrFrom4([4]byte(b[8:12]))
	case opcode != pmpAddress && len(b) >= 16:
		a.internal, a.external = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
		a.lifetime = seconds(binary.BigEndian.Uint32(b[12:]))
	default:
		return pmpAnswer{}, fmt.Errorf("%w: %d bytes", errPMP, len(b))
	}
	return a, nil
}

// pmpResult is the meaning of a result code (RFC 6886, section 3.5).
func pmpResult(code uint16) string {
	names := [...]string{
		"success", "version not supported", "not authorized", "network failure", "no resources", "opcode not supported",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return fmt.Sprintf("result %d", code)
}
