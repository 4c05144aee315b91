package portmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The layout of PCP (RFC 6887, sections 7 and 11), in bytes:
//
//	request   version  opcode  reserved(2)            lifetime(4)  client address(16)
//	response  version  opcode  reserved(1) result(1)  lifetime(4)  epoch(4)  reserved(12)
//	MAP       nonce(12)  protocol  reserved(3)  internal port(2)  external port(2)
//	          external address(16)
const (
	pcpVersion   = 2
	pcpHeader    = 24
	pcpMap       = 36
	opAnnounce   = 0
	opMap        = 1
	opResponse   = 0x80
	protocolTCP  = 6
	protocolUDP  = 17
	maxDatagram  = 1100 // RFC 6887, section 7
	gatewayPort  = 5351 // of PCP and NAT-PMP
	versionWrong = 1    // result of both protocols: the version is not supported
)

var errPCP = errors.New("malformed PCP answer")

// nonce makes answers to MAP requests unforgeable for whoever does not see them.
type nonce [12]byte

// pcpAnswer is a PCP response; of ANNOUNCE it has result and epoch alone.
type pcpAnswer struct {
	result   uint8
	lifetime time.Duration
	epoch    uint32
	nonce    nonce
	protocol uint8
	internal uint16
	external netip.AddrPort
}

// pcpRequest is a request by the machine at client, up to what is of the opcode.
func pcpRequest(opcode uint8, lifetime time.Duration, client netip.Addr) []byte {
	b := []byte{pcpVersion, opcode, 0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(lifetime/time.Second))
	mapped := client.As16()
	return append(b, mapped[:]...)
}

// pcpMapRequest is a whole MAP request. A lifetime of 0 removes the mapping. The
// external port of m is wished for; its address too, where it is one.
func pcpMapRequest(m Mapping, n nonce, lifetime time.Duration, client netip.Addr) []byte {
	b := append(pcpRequest(opMap, lifetime, client), n[:]...)
	b = append(b, protocolNumber(m.Net), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.Internal)
	b = binary.BigEndian.AppendUint16(b, m.External.Port())
	wish := m.External.Addr()
	if !wish.IsValid() {
		wish = netip.IPv4Unspecified()
	}
	mapped := wish.As16()
	return append(b, mapped[:]...)
}

// parsePCP reads a response to a request of that opcode.
func parsePCP(b []byte, opcode uint8) (pcpAnswer, error) {
	if len(b) < pcpHeader || len(b) > maxDatagram || len(b)%4 != 0 {
		return pcpAnswer{}, fmt.Errorf("%w: %d bytes", errPCP, len(b))
	}
	if b[0] != pcpVersion || b[1] != opResponse|opcode {
		return pcpAnswer{}, fmt.Errorf("%w: version %d, opcode %#x", errPCP, b[0], b[1])
	}
	a := pcpAnswer{
		result: b[3], lifetime: seconds(binary.BigEndian.Uint32(b[4:])), epoch: binary.BigEndian.Uint32(b[8:]),
	}
	if opcode != opMap {
		return a, nil
	}
	m := b[pcpHeader:]
	if len(m) < pcpMap {
		return pcpAnswer{}, fmt.Errorf("%w: %d bytes of MAP", errPCP, len(m))
	}
	a.nonce, a.protocol, a.internal = nonce(m[:12]), m[12], binary.BigEndian.Uint16(m[16:])
	a.external = netip.AddrPortFrom(netip.AddrFrom16([16]byte(m[20:36])).Unmap(), binary.BigEndian.Uint16(m[18:]))
	return a, nil
}

// refusesVersion reports whether a datagram of either protocol says that the gateway
// does not know the version of the request (RFC 6887, section 9).
func refusesVersion(b []byte) bool {
	switch {
	case len(b) < 4 || b[1]&opResponse == 0:
		return false
	case b[0] == pcpVersion:
		return b[3] == versionWrong
	}
	return b[0] == pmpVersion && binary.BigEndian.Uint16(b[2:]) == versionWrong
}

func protocolNumber(network string) uint8 {
	if network == TCP {
		return protocolTCP
	}
	return protocolUDP
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// pcpResult is the meaning of a result code (RFC 6887, section 7.4).
func pcpResult(code uint8) string {
	names := [...]string{
		"success", "version not supported", "not authorized", "malformed request", "opcode not supported",
		"option not supported", "malformed option", "network failure", "no resources", "protocol not supported",
		"quota exceeded", "external port not available", "address mismatch", "too many peers",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return fmt.Sprintf("result %d", code)
}
