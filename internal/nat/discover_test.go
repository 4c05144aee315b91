package nat

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// fakeNet is a socket behind a NAT, with STUN servers around it.
type fakeNet struct {
	// mapping is the address the socket has towards a server; the zero address
	// means that the packet is lost.
	mapping func(server netip.AddrPort, try int) netip.AddrPort
	forge   []packet // arrives before any answer
	tries   map[netip.AddrPort]int
	inbox   chan packet
}

type packet struct {
	data []byte
	from netip.AddrPort
}

func newFakeNet(mapping func(netip.AddrPort, int) netip.AddrPort) *fakeNet {
	return &fakeNet{mapping: mapping, tries: make(map[netip.AddrPort]int), inbox: make(chan packet, 100)}
}

func (n *fakeNet) WriteTo(b []byte, to netip.AddrPort) error {
	for _, p := range n.forge {
		n.inbox <- p
	}
	n.tries[to]++
	mapped := n.mapping(to, n.tries[to])
	if !mapped.IsValid() {
		return nil
	}
	n.inbox <- packet{Answer(b, mapped), to}
	return nil
}

func (n *fakeNet) ReadFrom(ctx context.Context, b []byte) (int, netip.AddrPort, error) {
	select {
	case p := <-n.inbox:
		return copy(b, p.data), p.from, nil
	case <-ctx.Done():
		return 0, netip.AddrPort{}, ctx.Err()
	}
}

func TestDiscover(t *testing.T) {
	local := netip.MustParseAddrPort("192.168.1.2:4000")
	mapped := netip.MustParseAddrPort("198.51.100.1:4000")
	lost := netip.AddrPort{}
	servers := []string{"192.0.2.1:3478", "192.0.2.1:3479"}
	cases := map[string]struct {
		servers []string
		mapping func(netip.AddrPort, int) netip.AddrPort
		forge   []packet
		want    Result
		err     error
		took    time.Duration
	}{
		"open": {
			mapping: func(netip.AddrPort, int) netip.AddrPort { return local },
			want:    Result{[]netip.AddrPort{local}, wire.NATOpen},
		},
		"cone": {
			mapping: func(netip.AddrPort, int) netip.AddrPort { return mapped },
			want:    Result{[]netip.AddrPort{mapped}, wire.NATCone},
		},
		"symmetric": {
			mapping: func(s netip.AddrPort, _ int) netip.AddrPort {
				return netip.AddrPortFrom(mapped.Addr(), s.Port()+1)
			},
			want: Result{[]netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:3479")}, wire.NATSymmetric},
		},
		"blocked": {
			mapping: func(netip.AddrPort, int) netip.AddrPort { return lost },
			want:    Result{nil, wire.NATBlocked}, err: ErrBlocked, took: 3 * time.Second,
		},
		"second packet arrives": {
			mapping: func(_ netip.AddrPort, try int) netip.AddrPort {
				if try < 2 {
					return lost
				}
				return mapped
			},
			want: Result{[]netip.AddrPort{mapped}, wire.NATCone}, took: 500 * time.Millisecond,
		},
		"one server is down": {
			mapping: func(s netip.AddrPort, _ int) netip.AddrPort {
				if s.Port() == 3479 {
					return lost
				}
				return mapped
			},
			want: Result{[]netip.AddrPort{mapped}, wire.NATUnknown}, took: 3 * time.Second,
		},
		"one server, named twice": {
			servers: []string{"192.0.2.1:3478", "192.0.2.1:3478"},
			mapping: func(netip.AddrPort, int) netip.AddrPort { return mapped },
			want:    Result{[]netip.AddrPort{mapped}, wire.NATUnknown},
		},
		"forged answers": {
			mapping: func(netip.AddrPort, int) netip.AddrPort { return mapped },
			forge: []packet{
				{Answer(request(Transaction{1}), netip.MustParseAddrPort("203.0.113.9:9")), netip.MustParseAddrPort("192.0.2.1:3478")},
				{[]byte("garbage"), netip.MustParseAddrPort("192.0.2.1:3478")},
			},
			want: Result{[]netip.AddrPort{mapped}, wire.NATCone},
		},
		"IPv4 decides, IPv6 is told": {
			servers: []string{"192.0.2.1:3478", "192.0.2.1:3479", "[2001:db8::1]:3478"},
			mapping: func(s netip.AddrPort, _ int) netip.AddrPort {
				if s.Addr().Is6() {
					return lost
				}
				return mapped
			},
			want: Result{[]netip.AddrPort{mapped}, wire.NATCone},
		},
		"no server": {servers: []string{"nonsense"}, err: ErrServer},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if c.servers == nil {
					c.servers = servers
				}
				n := newFakeNet(c.mapping)
				n.forge = c.forge
				start := time.Now()
				got, err := Discover(t.Context(), n, c.servers, []netip.AddrPort{local})
				if got.Kind != c.want.Kind || !errors.Is(err, c.err) {
					t.Errorf("got %+v, %v; want %+v, %v", got, err, c.want, c.err)
				}
				if c.want.Kind != wire.NATSymmetric && !slices.Equal(got.Mapped, c.want.Mapped) {
					t.Errorf("mapped %v, want %v", got.Mapped, c.want.Mapped)
				}
				if d := time.Since(start); d != c.took {
					t.Errorf("took %v, want %v", d, c.took)
				}
				for _, tries := range n.tries {
					if tries > 3 {
						t.Errorf("%d packets to one server", tries)
					}
				}
			})
		})
	}
}

func TestDiscoverEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := newFakeNet(func(netip.AddrPort, int) netip.AddrPort { return netip.AddrPort{} })
		start := time.Now()
		if _, err := Discover(ctx, n, []string{"192.0.2.1:3478"}, nil); err == nil {
			t.Error("no error")
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestInterfaces(t *testing.T) {
	prefixes, err := Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var loopback bool
	for _, p := range prefixes {
		a := p.Addr()
		loopback = loopback || a.IsLoopback()
		if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() {
			t.Errorf("address %s", a)
		}
		if l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String()); err != nil {
			t.Logf("nobody can listen on %s: %v", a, err) // tentative IPv6
		} else {
			l.Close()
		}
	}
	if !loopback {
		t.Error("no loopback address")
	}
}

func TestRank(t *testing.T) {
	addrs := func(s ...string) (as []netip.Addr) {
		for _, a := range s {
			as = append(as, netip.MustParseAddr(a))
		}
		return as
	}
	in := addrs("fd00::1", "2001:db8::1", "10.0.0.1", "192.0.2.1", "192.168.1.1", "192.168.1.1")
	if got, want := Rank(in, netip.MustParseAddr("10.0.0.1")), addrs("10.0.0.1", "192.0.2.1", "192.168.1.1", "2001:db8::1", "fd00::1"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
