package directory

import (
	"net/netip"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Place is where a session is, as control sees it. It does not change while the
// session lasts.
type Place struct {
	IP      netip.Addr   // observed address
	Site    netip.Prefix // one household or office: the IPv4 address, or the IPv6 /64
	Net     netip.Prefix // IPv4 /24 or IPv6 /48
	AS      uint32       // autonomous system number, 0 = not known
	Country string       // ISO 3166-1 alpha-2, empty = not known
}

// PlaceOf fills Site and Net from the observed address. All of loopback is one
// site.
func PlaceOf(ip netip.Addr, as uint32, country string) Place {
	ip = ip.Unmap().WithZone("")
	p := Place{IP: ip, AS: as, Country: country}
	site, network := 32, 24
	at := ip
	switch {
	case ip.IsLoopback():
		at = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.Is6():
		site, network = 64, 48
	}
	p.Site, _ = at.Prefix(site)
	p.Net, _ = at.Prefix(network)
	return p
}

// Tier is how near two peers are, nearest first.
type Tier int

// The tiers. Scores and quotas are by tier.
const (
	SameSite Tier = iota // same public IP: very likely one LAN
	SameNet              // same /24 (v6 /48) in the same AS
	SameAS
	SameCountry
	Elsewhere
	tiers
)

// Near is the tier as candidates are told of it, see [wire.Candidate].
func (t Tier) Near() uint8 { return uint8(Elsewhere - t) }

// TierOf compares two places.
func TierOf(a, b Place) Tier {
	switch {
	case a.Site == b.Site:
		return SameSite
	case a.Net == b.Net && a.AS == b.AS:
		return SameNet
	case a.AS != 0 && a.AS == b.AS:
		return SameAS
	case a.Country != "" && a.Country == b.Country:
		return SameCountry
	}
	return Elsewhere
}

// Connect estimates the probability that two peers can link: direct on one
// site, by TCP where either end takes connections from outside, else by hole
// punching, over UDP and TCP. The figures are first guesses around the 70 % that DCUtR measured
// over all pairs; only their order and which lie under [minConnect] matter.
func Connect(tier Tier, a, b *Facts) float64 {
	if tier == SameSite {
		return 0.95
	}
	p := punch(rank(a.NAT), rank(b.NAT))
	if a.TCP || b.TCP {
		p = max(p, 0.8)
	}
	return p
}

// punch is the chance of hole punching between two kinds of NAT, by rank. Symmetric
// with cone works where the cone filters by address only; symmetric with symmetric
// would need both ports guessed. Where UDP is blocked TCP may still get through, which
// fewer routers let cross than UDP.
func punch(a, b int) float64 {
	return [5][5]float64{
		{0.95, 0.95, 0.95, 0.95, 0},    // open
		{0.95, 0.85, 0.60, 0.30, 0.40}, // cone
		{0.95, 0.60, 0.50, 0.20, 0.30}, // not known
		{0.95, 0.30, 0.20, 0, 0},       // symmetric
		{0, 0.40, 0.30, 0, 0.30},       // blocked
	}[a][b]
}

func rank(n wire.NAT) int {
	switch n {
	case wire.NATOpen:
		return 0
	case wire.NATCone:
		return 1
	case wire.NATUnknown:
		return 2
	case wire.NATSymmetric:
		return 3
	case wire.NATBlocked:
		return 4
	default: // of a later version
		return 2
	}
}
