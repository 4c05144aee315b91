package agent

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// control is the engine's session with one control.
type control struct {
	e    *Engine
	p    *p2p
	s    *session.Session
	url  string // of control
	door sessionGuard
	host string // in url

	mu      sync.Mutex
	swarms  map[manifest.ObjectID]participant
	known   bool        // control has had an update
	seen    []wire.Addr // of this machine's own and by STUN, the most useful first
	reach   wire.Update
	waiting map[manifest.ObjectID]wire.Join
}

// participant takes part in a swarm that control knows of.
type participant interface {
	joining() wire.Join
	meet(told wire.Peers)
	wantGrant()
}

// stunWithin is how long the first joins wait for STUN.
const stunWithin = 400 * time.Millisecond

// flushWithin bounds how long Close waits for control to acknowledge reports.
const flushWithin = 2 * time.Second

// control returns the session with the control at an address, begun at the first use.
func (e *Engine) control(at string, p *p2p, guarded bool) *control {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.controls[at]; c != nil {
		if !guarded {
			c.door.free.Store(true)
		}
		return c
	}
	c := &control{
		e: e, p: p, url: at, host: hostOf(at), swarms: map[manifest.ObjectID]participant{},
		waiting: map[manifest.ObjectID]wire.Join{},
	}
	c.door.guard = e.cfg.Guard
	c.door.free.Store(!guarded)
	c.s = session.New(session.Config{
		URL: at, HTTP: e.sessionHTTP(p.endpoint, &c.door), Installation: p.installation, Session: p.key, Agent: e.cfg.Agent,
		Logger: e.log, OnPeers: c.onPeers, Acked: func(id string) {
			if err := e.ledger.Acked(id); err != nil {
				e.log.Warn("report not removed", "report", id, "error", err)
			}
		},
		OnWelcome: c.onWelcome, OnError: c.onError,
	})
	if len(e.controls) == 0 {
		e.group.Go(func() error { e.tellUplink(p.node); return nil })
	}
	e.controls[at] = c
	e.group.Go(func() error {
		_ = c.s.Run(e.ctx) // it retries until the end of ctx
		return nil
	})
	return c
}

func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// onWelcome tells a control that has just been reached how this node is reached:
// by its interfaces and from outside, as STUN sees it. Peers are told once, so
// swarms are joined only then; but STUN that does not answer soon is not waited
// for.
func (c *control) onWelcome(ctx context.Context, w wire.Welcome, local netip.AddrPort) {
	host, servers := c.p.endpoint.Addrs(local.Addr()), c.stun(w.STUN)
	if len(servers) > 0 {
		select {
		case c.e.echoes <- servers[0]:
		default:
		}
	}
	soon, cancel := context.WithTimeout(ctx, stunWithin)
	mapped, nat, err := c.p.endpoint.Gather(soon, servers)
	cancel()
	c.e.mapPorts(c.p, w.You)
	seen := seenTCP(host, local.Port(), w.You)
	c.update(host, slices.Concat(mapped, seen), nat)
	c.enter()
	for _, r := range c.e.ledger.Pending(c.url) {
		c.s.Report(r)
	}
	again := func(mapped []wire.Addr, nat wire.NAT) {
		c.update(host, slices.Concat(mapped, seen), nat)
		if len(mapped) > 0 {
			c.meetAgain()
		}
	}
	if err != nil && ctx.Err() == nil {
		if mapped, nat, err = c.p.endpoint.Gather(ctx, servers); err != nil {
			c.e.log.Debug("no answer from STUN", "error", err)
		}
		again(mapped, nat)
	}
	if err == nil && nat != wire.NATOpen && nat != wire.NATSymmetric {
		c.p.endpoint.Keep(ctx, servers, mapped, again)
	}
}

// seenTCP is the address you that control sees, where the session was dialled from the
// port that takes links: a NAT, if there is one, has mapped that port to it.
func seenTCP(host []wire.Addr, port uint16, you string) []wire.Addr {
	at, err := netip.ParseAddrPort(you)
	if err != nil || at.Port() == 0 { // a proxy knows none
		return nil
	}
	ours := false
	for _, a := range host {
		ap, err := netip.ParseAddrPort(a.Addr)
		if err != nil || a.Net != "tcp" || ap.Port() != port {
			continue
		}
		if ap == at {
			return nil // there is no NAT
		}
		ours = true
	}
	if !ours {
		return nil
	}
	return []wire.Addr{{Net: "tcp", Kind: "mapped", Addr: at.String()}}
}

func (c *control) update(host, mapped []wire.Addr, nat wire.NAT) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = slices.Concat(mapped, host)
	c.reach = wire.Update{
		Addrs: announced(c.p.ports.addrs(), c.seen), NAT: nat,
		Uploads: c.e.cfg.Upload && !c.p.node.Paused(), Uplink: c.p.node.Uplink(), Load: c.reach.Load,
	}
	c.known = true
	c.s.Update(c.reach)
}

// enter joins the swarms that have waited for the first update.
func (c *control) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.waiting {
		c.s.Join(j)
	}
	clear(c.waiting)
}

// meetAgain has control name this node to its peers once more.
func (c *control) meetAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.swarms {
		c.s.Join(m.joining())
	}
}

// stun completes the addresses of STUN services that are on control's own host.
func (c *control) stun(servers []string) []string {
	out := make([]string, 0, len(servers))
	for _, s := range servers {
		if host, port, err := net.SplitHostPort(s); err == nil && host == "" {
			s = net.JoinHostPort(c.host, port)
		}
		out = append(out, s)
	}
	return out
}

func (c *control) onPeers(m wire.Peers) {
	c.mu.Lock()
	member := c.swarms[m.Object]
	c.mu.Unlock()
	if member != nil {
		member.meet(m)
	}
}

// onError answers a refused grant, as after a long sleep of the machine, with a
// new one.
func (c *control) onError(e wire.Error) {
	if e.Code != wire.CodeBadGrant || e.Object == nil {
		return
	}
	c.mu.Lock()
	m := c.swarms[*e.Object]
	c.mu.Unlock()
	if m != nil {
		m.wantGrant()
	}
}

func (c *control) join(m participant, j wire.Join) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swarms[j.Object] = m
	if !c.known {
		c.waiting[j.Object] = j
		return
	}
	c.s.Join(j)
}

func (c *control) leave(object manifest.ObjectID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.swarms, object)
	delete(c.waiting, object)
	c.s.Leave(object)
}
