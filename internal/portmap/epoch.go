package portmap

import (
	"net/netip"
	"time"
)

// epoch is what the gateway last said of the time since it began to keep mappings.
type epoch struct {
	value uint32 // seconds
	at    time.Time
	known bool
}

// restarted takes what an answer says and reports whether the gateway has lost its
// mappings since the last one: its clock has gone back, or is off from ours by more
// than a sixteenth of the time between (RFC 6887, section 8.5). The weaker test of
// NAT-PMP (RFC 6886, section 3.6) lets clocks run ahead; here they cost a renewal.
func (e *epoch) restarted(now time.Time, a answer) bool {
	if !a.hasEpoch {
		return false
	}
	before := *e
	*e = epoch{value: a.epoch, at: now, known: true}
	if !before.known {
		return false
	}
	if a.epoch+1 < before.value {
		return true
	}
	ours, theirs := now.Sub(before.at), seconds(a.epoch)-seconds(before.value)
	const leeway = 2 * time.Second
	return ours+leeway < theirs-theirs/16 || theirs+leeway < ours-ours/16
}

// anywhere is a port whose address is for the gateway to say.
func anywhere(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), port)
}
