package hoststate

import (
	"bytes"
	"encoding/binary"
)

// interfaceIndex reads ifi_index of a struct ifinfomsg.
func interfaceIndex(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b[4:8]))) }

// attribute finds one among nested attributes, as text; "" where it is not.
func attribute(b []byte, kind uint16) string {
	for len(b) >= 4 {
		n, k := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if n < 4 || n > len(b) {
			return ""
		}
		if k == kind {
			return string(bytes.TrimRight(b[4:n], "\x00"))
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return ""
}
