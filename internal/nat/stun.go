package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// A STUN message (RFC 8489 §5) is a header of 20 bytes — type, length of the
// rest, magic cookie, transaction — and attributes of type, length and value,
// padded to four bytes.
const (
	stunHeader  = 20
	stunMax     = 1280 // bytes in a message this package reads
	magicCookie = 0x2112A442

	typeRequest  = 0x0001 // Binding request
	typeResponse = 0x0101 // Binding success response

	attrMapped    = 0x0001 // MAPPED-ADDRESS, of servers older than RFC 5389
	attrXORMapped = 0x0020 // XOR-MAPPED-ADDRESS

	familyIPv4 = 1
	familyIPv6 = 2
)

// Transaction tells which answer belongs to which request.
type Transaction [12]byte

// errSTUN is wrapped by every error about a message that is not a good one.
var errSTUN = errors.New("STUN message")

// request is a Binding request.
func request(id Transaction) []byte {
	return appendHeader(make([]byte, 0, stunHeader), typeRequest, 0, id)
}

func appendHeader(b []byte, typ, length uint16, id Transaction) []byte {
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint16(b, length)
	b = binary.BigEndian.AppendUint32(b, magicCookie)
	return append(b, id[:]...)
}

// Answer is the server's side: it returns the response that tells from its own
// address, or nil when the packet is not a Binding request. The response is
// never more than twice as long as the request, so that a server is of little
// use to those who forge addresses.
func Answer(packet []byte, from netip.AddrPort) []byte {
	typ, id, err := parseHeader(packet)
	if err != nil || typ != typeRequest || !from.IsValid() {
		return nil
	}
	addr := from.Addr().Unmap()
	value := make([]byte, 0, 20)
	family := byte(familyIPv4)
	if addr.Is6() {
		family = familyIPv6
	}
	value = append(value, 0, family)
	value = binary.BigEndian.AppendUint16(value, from.Port())
	value = append(value, addr.AsSlice()...)
	xorAddress(value, id)

	b := appendHeader(make([]byte, 0, 48), typeResponse, uint16(4+len(value)), id)
	b = binary.BigEndian.AppendUint16(b, attrXORMapped)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// parseHeader checks that b is one whole STUN message.
func parseHeader(b []byte) (typ uint16, id Transaction, err error) {
	switch {
	case len(b) < stunHeader || len(b) > stunMax:
		return 0, id, fmt.Errorf("%w: %d bytes", errSTUN, len(b))
	case b[0]&0xC0 != 0 || binary.BigEndian.Uint32(b[4:]) != magicCookie:
		return 0, id, fmt.Errorf("%w: no magic cookie", errSTUN)
	case int(binary.BigEndian.Uint16(b[2:])) != len(b)-stunHeader || len(b)%4 != 0:
		return 0, id, fmt.Errorf("%w: length does not agree", errSTUN)
	}
	return binary.BigEndian.Uint16(b), Transaction(b[8:stunHeader]), nil
}

// parseResponse reads a Binding success response and returns the address in it.
func parseResponse(b []byte) (Transaction, netip.AddrPort, error) {
	typ, id, err := parseHeader(b)
	if err != nil {
		return id, netip.AddrPort{}, err
	}
	if typ != typeResponse {
		return id, netip.AddrPort{}, fmt.Errorf("%w: type %#04x is no success response", errSTUN, typ)
	}
	var plain netip.AddrPort
	for rest := b[stunHeader:]; len(rest) >= 4; {
		attr, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (n + 3) &^ 3
		if rest = rest[4:]; padded > len(rest) {
			return id, netip.AddrPort{}, fmt.Errorf("%w: attribute beyond the end", errSTUN)
		}
		switch attr {
		case attrXORMapped:
			value := append([]byte(nil), rest[:n]...)
			xorAddress(value, id)
			addr, err := parseAddress(value)
			return id, addr, err
		case attrMapped:
			if plain, err = parseAddress(rest[:n]); err != nil {
				return id, netip.AddrPort{}, err
			}
		}
		rest = rest[padded:]
	}
	if !plain.IsValid() {
		return id, plain, fmt.Errorf("%w: no mapped address", errSTUN)
	}
	return id, plain, nil
}

// parseAddress reads an address attribute (RFC 8489 §14.1) that names a host.
func parseAddress(v []byte) (netip.AddrPort, error) {
	if len(v) < 8 || v[1] == familyIPv4 && len(v) != 8 || v[1] == familyIPv6 && len(v) != 20 {
		return netip.AddrPort{}, fmt.Errorf("%w: address of %d bytes", errSTUN, len(v))
	}
	addr, ok := netip.AddrFromSlice(v[4:])
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%w: address family %d", errSTUN, v[1])
	}
	ap := netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(v[2:]))
	if addr.IsUnspecified() || addr.IsMulticast() || ap.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%w: mapped to %s", errSTUN, ap)
	}
	return ap, nil
}

// xorAddress hides or reveals the address in the value of XOR-MAPPED-ADDRESS
// (RFC 8489 §14.2): NATs of old rewrote addresses they found in packets.
func xorAddress(v []byte, id Transaction) {
	mask := binary.BigEndian.AppendUint32(make([]byte, 0, 18), magicCookie)
	mask = append(mask[:2:2], mask...) // the port is masked with the cookie's first half
	mask = append(mask, id[:]...)
	for i := 2; i < len(v) && i-2 < len(mask); i++ {
		v[i] ^= mask[i-2]
	}
}
