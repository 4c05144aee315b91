package agent

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/tandem-cdn/tandem/internal/hoststate"
	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/portmap"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// ports are those that the router lets in. They are asked for when a control first sees
// this machine behind a NAT.
type ports struct {
	mu     sync.Mutex
	mapper *portmap.Mapper
}

// mapPorts begins with port mapping where control sees this machine as you (IP:port), at
// a public address that is not its own. Elsewhere there is nobody to let in.
func (e *Engine) mapPorts(p *p2p, you string) {
	seen, err := netip.ParseAddrPort(you)
	if err != nil || !e.cfg.MapPorts || !translated(seen.Addr().Unmap()) {
		return
	}
	p.ports.mu.Lock()
	defer p.ports.mu.Unlock()
	if p.ports.mapper != nil {
		return
	}
	m := portmap.New(portmap.Config{
		Ports:   func(local netip.Addr) []portmap.Port { return wantedPorts(p.endpoint.Ports(local)) },
		Metered: func() bool { return e.HostState().Metered == hoststate.Yes }, OnChange: func(portmap.Status) { e.announcePorts(p) }, Logger: e.log,
	})
	p.ports.mapper = m
	e.group.Go(func() error { m.Run(e.ctx); return nil })
}

func wantedPorts(tcp, udp uint16) (wanted []portmap.Port) {
	if tcp != 0 {
		wanted = append(wanted, portmap.Port{Net: portmap.TCP, Number: tcp})
	}
	if udp != 0 {
		wanted = append(wanted, portmap.Port{Net: portmap.UDP, Number: udp})
	}
	return wanted
}

// translated reports whether a public address of IPv4 is none of this machine's own.
func translated(seen netip.Addr) bool {
	if !seen.Is4() || !portmap.Public(seen) {
		return false
	}
	own, err := nat.Interfaces()
	return err == nil && !slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr() == seen })
}

// addrs are the addresses of the mappings: they take whatever comes, like those of an
// interface.
func (p *ports) addrs() (open []wire.Addr) {
	p.mu.Lock()
	m := p.mapper
	p.mu.Unlock()
	if m == nil {
		return nil
	}
	for _, mapping := range m.Status().Mappings {
		open = append(open, wire.Addr{Net: mapping.Net, Addr: mapping.External.String(), Kind: "host"})
	}
	return open
}

// announced are the addresses to tell control, each once, the most useful first.
func announced(open, seen []wire.Addr) (all []wire.Addr) {
	for _, a := range slices.Concat(open, seen) {
		same := func(b wire.Addr) bool { return a.Net == b.Net && a.Addr == b.Addr }
		if !slices.ContainsFunc(all, same) {
			all = append(all, a)
		}
	}
	return all[:min(len(all), wire.MaxAddrs)]
}

// announcePorts tells every control of mappings that have come or gone. Peers that could
// not be linked with are named again when there is a new way to here.
func (e *Engine) announcePorts(p *p2p) {
	open := p.ports.addrs()
	e.mu.Lock()
	controls := slices.Collect(maps.Values(e.controls))
	e.mu.Unlock()
	for _, c := range controls {
		if c.reopen(open) && len(open) > 0 {
			c.meetAgain()
		}
	}
}

// reopen tells control which addresses the router lets in, once it has had an update.
func (c *control) reopen(open []wire.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach.Addrs = announced(open, c.seen)
	if c.known {
		c.s.Update(c.reach)
	}
	return c.known
}

// PortMapping is what the router lets in, or why it does not.
func (e *Engine) PortMapping() portmap.Status {
	e.mu.Lock()
	p := e.p2p
	e.mu.Unlock()
	switch {
	case !e.cfg.MapPorts:
		return portmap.Status{Why: "it is off"}
	case p == nil:
		return portmap.Status{Why: "no peers have been met"}
	}
	p.ports.mu.Lock()
	m := p.ports.mapper
	p.ports.mu.Unlock()
	if m == nil {
		return portmap.Status{Why: "no control sees this machine behind a NAT of IPv4"}
	}
	return m.Status()
}
