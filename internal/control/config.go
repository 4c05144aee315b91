package control

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Config is what a Control needs. Only Data is required.
type Config struct {
	// Data is the directory of the grant key and the reports. It is made.
	Data string
	// Key signs grants. Nil: the key in Data, made at the first start.
	Key ed25519.PrivateKey
	// Listen is the address of the HTTP listener that serves the Handler. It
	// says where STUN listens by default, nothing else.
	Listen string
	// STUN lists the UDP addresses of the STUN service, two for clients to tell
	// the kind of their NAT. Nil: the port of Listen if nobody has it, and any
	// other, on the host of Listen.
	STUN []string
	// AdvertiseSTUN is what clients are told instead, host:port each; an empty
	// host is the one they reach control at.
	AdvertiseSTUN []string
	// NoSTUN turns the service off.
	NoSTUN bool
	// CountryDB and ASNDB are MaxMind DB files. Empty: not known, and the policy
	// same-country then means same public address.
	CountryDB, ASNDB string
	// Publishers are the manifest signers whose swarms this control serves.
	// Empty: any.
	Publishers []ed25519.PublicKey
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Operators may read the status. Nil: this machine alone.
	Operators []netip.Prefix
	// MaxSessions bounds the sessions at once. 0: 18000, since a process has
	// 20000 descriptors in many places.
	MaxSessions int
	// Refresh is how often clients repeat their joins. 0: [Refresh].
	Refresh time.Duration
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil is the time of day.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Data == "" {
		return c, errors.New("control: no data directory")
	}
	if c.Key != nil && len(c.Key) != ed25519.PrivateKeySize {
		return c, fmt.Errorf("control: grant key of %d bytes", len(c.Key))
	}
	for _, p := range c.Publishers {
		if len(p) != ed25519.PublicKeySize {
			return c, fmt.Errorf("control: publisher key of %d bytes", len(p))
		}
	}
	if c.Operators == nil {
		c.Operators = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 18_000
	}
	if c.Refresh == 0 {
		c.Refresh = Refresh
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// serves reports whether this control serves the swarms of publisher.
func (c Config) serves(publisher wire.Key) bool {
	for _, p := range c.Publishers {
		if p.Equal(publisher.Public()) {
			return true
		}
	}
	return len(c.Publishers) == 0
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
