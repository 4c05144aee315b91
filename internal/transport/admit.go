package transport

import (
	"container/list"
	"net/netip"
	"sync"
)

// admission bounds inbound connections that are not links yet.
type admission struct {
	total, perIP int

	mu    sync.Mutex
	count map[netip.Addr]int
	order list.List // of *guest, the oldest first
}

// guest is one connection that was let in.
type guest struct {
	ip    netip.Addr
	evict func() // nil when it cannot be put out
}

func newAdmission(total, perIP int) *admission {
	return &admission{total: total, perIP: perIP, count: make(map[netip.Addr]int)}
}

// enter lets a connection from ip in, or not. When the house is full the oldest
// guest goes: an honest handshake is over soon, a slow one is there to stay.
// The returned function makes the place free again; it may be called twice.
func (a *admission) enter(ip netip.Addr, evict func()) (release func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	site := siteOf(ip)
	if !ip.IsLoopback() && a.count[site] >= a.perIP {
		return nil, false
	}
	if a.order.Len() >= a.total {
		oldest := a.order.Front()
		if oldest.Value.(*guest).evict == nil {
			return nil, false
		}
		oldest.Value.(*guest).evict()
		a.leave(oldest)
	}
	a.count[site]++
	place := a.order.PushBack(&guest{ip: site, evict: evict})
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.leave(place)
	}, true
}

func (a *admission) leave(place *list.Element) {
	g := place.Value.(*guest)
	if g.ip == (netip.Addr{}) {
		return // has left already
	}
	if a.count[g.ip]--; a.count[g.ip] == 0 {
		delete(a.count, g.ip)
	}
	g.ip = netip.Addr{}
	a.order.Remove(place)
}

// busy says whether the house is more than half full.
func (a *admission) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.order.Len() > a.total/2
}

// siteOf is what counts as one address: an IPv6 host has a /64 to choose from.
func siteOf(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
