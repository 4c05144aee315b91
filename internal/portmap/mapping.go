package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The networks of a port.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Protocol is what a gateway was talked to in.
type Protocol string

// The protocols, in the order in which they are tried.
const (
	PCP    Protocol = "PCP"
	NATPMP Protocol = "NAT-PMP"
	UPnP   Protocol = "UPnP"
)

// Port is one of this machine that is to be reached from outside.
type Port struct {
	Net    string // TCP or UDP
	Number uint16
}

// Mapping is a port of the gateway that leads to one of this machine. In a request the
// external side is what is wished for.
type Mapping struct {
	Net      string         `json:"net"`
	Internal uint16         `json:"internal"`
	External netip.AddrPort `json:"external"`
	Until    time.Time      `json:"until"` // when it expires unless it is renewed
}

// Status is what there is of port mapping.
type Status struct {
	Protocol Protocol   `json:"protocol,omitempty"`
	Gateway  netip.Addr `json:"gateway,omitzero"`
	Mappings []Mapping  `json:"mappings,omitempty"`
	// Why is the reason why there is no mapping, or not one for each port.
	Why string `json:"why,omitempty"`
}

// network is where the machine is: what changes with it makes mappings worthless.
type network struct {
	gateway netip.Addr
	local   netip.Addr // this machine's address towards the gateway
}

// answer is what a gateway said about a mapping or about itself.
type answer struct {
	external netip.AddrPort // of a mapping; of a check the address, where it was told
	lifetime time.Duration
	epoch    uint32 // seconds since the gateway began to keep its mappings
	hasEpoch bool
}

// service is a protocol as spoken with one gateway. Every call ends within seconds.
type service interface {
	// add makes or renews a mapping.
	add(ctx context.Context, m Mapping) (answer, error)
	// check asks whether the gateway still is what it was, and keeps the mapping.
	check(ctx context.Context, m Mapping) (answer, error)
	remove(ctx context.Context, m Mapping) error
}

var (
	// errRefused is a clear no, for now at least.
	errRefused = errors.New("refused")
	// errLost means that the gateway has forgotten a mapping.
	errLost = errors.New("the mapping is gone")
	// errSilent means that nobody there speaks the protocol.
	errSilent = errors.New("no answer")
)

func refused(p Protocol, why string) error {
	return fmt.Errorf("%s: %w: %s", p, errRefused, why)
}

// lifetime is what is asked for. What a process that was killed leaves behind is open
// for as long.
const lifetime = time.Hour

// Public reports whether peers on the Internet may reach an address. One that is not
// public is that of a gateway behind another NAT, of the carrier for instance (RFC
// 6598).
func Public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// special are the networks of IPv4 that are global by their looks alone (RFC 6890).
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}
