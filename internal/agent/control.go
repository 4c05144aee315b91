package agent

import (
	"context"
	"net"
	"net/netip"
	"net/url"
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
	host string // in url

	mu     sync.Mutex
	swarms map[manifest.ObjectID]*member
}

// flushWithin bounds how long Close waits for control to acknowledge reports.
const flushWithin = 2 * time.Second

// control returns the session with the control at an address, begun at the first use.
func (e *Engine) control(at string, p *p2p) *control {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.controls[at]; c != nil {
		return c
	}
	c := &control{e: e, p: p, url: at, host: hostOf(at), swarms: map[manifest.ObjectID]*member{}}
	c.s = session.New(session.Config{
		URL: at, HTTP: e.http, Installation: p.installation, Session: p.key, Agent: e.cfg.Agent,
		Logger: e.log, OnPeers: c.onPeers, Acked: func(id string) {
			if err := e.ledger.Acked(id); err != nil {
				e.log.Warn("report not removed", "report", id, "error", err)
			}
		},
		OnWelcome: c.onWelcome, OnError: c.onError,
	})
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
// first by its interfaces, then, when STUN has answered, from outside.
func (c *control) onWelcome(ctx context.Context, w wire.Welcome, local netip.AddrPort) {
	host := c.p.endpoint.Addrs(local.Addr())
	u := wire.Update{Addrs: host, Uploads: c.e.cfg.Upload, Uplink: uint32(c.e.cfg.UploadLimit * 8 / 1000)}
	c.s.Update(u)
	for _, r := range c.e.ledger.PendingFor(c.url) {
		c.s.Report(r)
	}
	mapped, nat, err := c.p.endpoint.Gather(ctx, c.stun(w.STUN))
	if err != nil {
		c.e.log.Debug("no answer from STUN", "error", err)
	}
	u.Addrs = append(mapped, host...)
	u.Addrs = u.Addrs[:min(len(u.Addrs), wire.MaxAddrs)]
	u.NAT = nat
	c.s.Update(u)
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
		member.meet(m.Peers)
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

func (c *control) join(m *member, j wire.Join) {
	c.mu.Lock()
	c.swarms[j.Object] = m
	c.mu.Unlock()
	c.s.Join(j)
}

func (c *control) leave(object manifest.ObjectID) {
	c.mu.Lock()
	delete(c.swarms, object)
	c.mu.Unlock()
	c.s.Leave(object)
}
