package wire

import "math/bits"

// MaxUplink is the greatest uplink that counts, in kbit/s: a claim of more gains
// nothing.
const MaxUplink = 1 << 20

// RoundUplink is the power of two that is nearest to an uplink in kbit/s by ratio,
// at most [MaxUplink]; 0 stays 0. Duties are shared out by it, and all who share
// one out must reckon with the same number although each has measured, or was
// told, at another time.
func RoundUplink(kbit uint32) uint32 {
	if kbit == 0 {
		return 0
	}
	kbit = min(kbit, MaxUplink)
	p := uint32(1) << (bits.Len32(kbit) - 1)
	if uint64(kbit)*uint64(kbit) >= 2*uint64(p)*uint64(p) {
		p *= 2
	}
	return p
}
