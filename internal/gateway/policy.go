package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// ErrRefused marks targets that are not for the gateway.
var ErrRefused = errors.New("not a publisher of this gateway")

// wellKnownWithin bounds the wait for a host to say whether it has opted in.
const wellKnownWithin = 10 * time.Second

// Policy says which hosts the gateway gets anything from: those that the user has
// listed, wherever they are, and public ones that ask for it in their well-known
// document. It is immutable.
type Policy struct {
	hosts map[string]bool // listed, for ports 80 and 443
	ports map[string]bool // listed with their port
}

// NewPolicy reads the user's list, of HOST or HOST:PORT.
func NewPolicy(publishers []string) (*Policy, error) {
	p := &Policy{hosts: map[string]bool{}, ports: map[string]bool{}}
	for _, s := range publishers {
		host, err := parseHost("", s)
		if err != nil {
			return nil, fmt.Errorf("publisher, want HOST or HOST:PORT: %w", err)
		}
		if (&url.URL{Host: host}).Port() != "" {
			p.ports[host] = true
		} else {
			p.hosts[host] = true
		}
	}
	return p, nil
}

// listed reports whether the user has named a host and port.
func (p *Policy) listed(hostport string) bool {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		host = "[" + host + "]"
	}
	return p.ports[hostport] || p.hosts[host] && (port == "80" || port == "443")
}

// Dial is asked before a connection is made, for the address that it is made to: only
// hosts that the user has named may lie on this machine or its networks. Names that are
// resolved once more, to another address, gain nothing.
func (p *Policy) Dial(hostport string, to netip.AddrPort) error {
	if p.listed(hostport) || public(to.Addr()) {
		return nil
	}
	return fmt.Errorf("%s is at %s, which is not on the Internet: %w; if you trust it: --gateway-publisher %s", hostport, to.Addr(), ErrRefused, hostport)
}

// documents gets the well-known documents of hosts.
type documents interface {
	WellKnown(ctx context.Context, u *url.URL) (*wire.WellKnown, error)
}

// check returns nil if a URL is one of a publisher.
func (p *Policy) check(ctx context.Context, u *url.URL, docs documents) error {
	if p.listed(hostport(u)) {
		return nil
	}
	refused := func(why string) error {
		return fmt.Errorf("%s: %w: %s; to allow it, start the agent with --gateway-publisher %s", u.Host, ErrRefused, why, hostport(u))
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !public(ip) {
		return refused("it is not on the Internet")
	}
	if u.Scheme != "https" {
		return refused("only HTTPS tells who it is")
	}
	ctx, cancel := context.WithTimeout(ctx, wellKnownWithin)
	defer cancel()
	doc, err := docs.WellKnown(ctx, u)
	switch {
	case errors.Is(err, ErrRefused):
		return refused("it is not on the Internet")
	case err != nil:
		return refused("it says nothing of gateways at " + wire.WellKnownPath)
	case !doc.Gateway:
		return refused("it has not opted in at " + wire.WellKnownPath)
	}
	return nil
}
