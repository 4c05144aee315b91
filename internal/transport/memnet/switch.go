package memnet

import (
	"crypto/ed25519"
	"net/netip"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Switch joins named hosts.
type Switch struct {
	clock   clock
	options Options
	hosts   map[wire.Key]*Host
}

// NewSwitch makes a network without hosts; the options hold for every link.
func NewSwitch(o Options) *Switch {
	return &Switch{options: o.withDefaults(), hosts: map[wire.Key]*Host{}}
}

// Host is a machine on a [Switch]. All its links share its uplink and downlink.
type Host struct {
	clock *clock
	key   ed25519.PrivateKey
	addr  netip.AddrPort
	up    uplink
	down  downlink
}

// Host adds a machine with the rates of its uplink and downlink in bytes per
// second, 0 being no limit. Its key is [PrivateKey] of the name.
func (s *Switch) Host(name string, up, down int64) *Host {
	s.clock.lock()
	defer s.clock.unlock()
	c := &s.clock
	n := len(s.hosts) + 1
	h := &Host{
		clock: c,
		key:   PrivateKey(name),
		addr:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 4000),
		up:    uplink{clock: c, rate: up},
		down:  downlink{clock: c, rate: down},
	}
	s.hosts[h.Key()] = h
	return h
}

// Key is the public key of the host.
func (h *Host) Key() wire.Key { return wire.KeyOf(h.key.Public().(ed25519.PublicKey)) }
