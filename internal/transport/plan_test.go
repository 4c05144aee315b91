package transport

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestPlan(t *testing.T) {
	lan := netip.MustParsePrefix("192.168.1.2/24")
	smaller, larger := ordered()
	// addrs reads "net kind address" triples.
	addrs := func(lines ...string) (as []wire.Addr) {
		for _, l := range lines {
			f := strings.Fields(l)
			as = append(as, wire.Addr{Net: f[0], Kind: f[1], Addr: f[2]})
		}
		return as
	}
	cases := map[string]struct {
		planner planner
		peer    wire.Candidate
		want    []string
	}{
		"controlling side starts TCP, mapped UDP goes out at once": {
			planner{udp: true},
			wire.Candidate{Addrs: addrs("tcp host 203.0.113.1:1", "udp host 203.0.113.1:1", "udp mapped 198.51.100.1:2")},
			[]string{"0s quic 198.51.100.1:2", "0s tcp 203.0.113.1:1", "30ms quic 203.0.113.1:1"},
		},
		"controlled side leaves TCP to the other for a moment": {
			planner{self: publicOf(larger), udp: true},
			wire.Candidate{Key: publicOf(smaller), Addrs: addrs("tcp host 203.0.113.1:1", "udp mapped 198.51.100.1:2")},
			[]string{"0s quic 198.51.100.1:2", "15ms tcp 203.0.113.1:1"},
		},
		"where the peer dials from, this side dials to, at once": {
			planner{self: publicOf(larger)},
			wire.Candidate{Key: publicOf(smaller), Addrs: addrs("tcp mapped 203.0.113.1:2", "tcp host 203.0.113.1:1", "tcp mapped 203.0.113.1:1")},
			[]string{"0s tcp 203.0.113.1:2 meet", "15ms tcp 203.0.113.1:1"},
		},
		"our own network first": {
			planner{udp: true, interfaces: []netip.Prefix{lan}},
			wire.Candidate{Addrs: addrs("tcp host 10.0.0.1:1", "tcp host 192.168.1.9:1")},
			[]string{"0s tcp 192.168.1.9:1", "20ms tcp 10.0.0.1:1"},
		},
		"QUIC alone does not wait": {
			planner{udp: true},
			wire.Candidate{Addrs: addrs("udp host 203.0.113.1:1")},
			[]string{"0s quic 203.0.113.1:1"},
		},
		"no UDP socket": {
			planner{},
			wire.Candidate{Addrs: addrs("tcp host 203.0.113.1:1", "udp host 203.0.113.1:1", "udp mapped 198.51.100.1:2")},
			[]string{"0s tcp 203.0.113.1:1"},
		},
		"hopeless NATs are not punched, the LAN is tried": {
			planner{udp: true, nat: wire.NATSymmetric},
			wire.Candidate{NAT: wire.NATSymmetric, Addrs: addrs("udp host 192.168.1.9:1", "udp mapped 198.51.100.1:2")},
			[]string{"0s quic 192.168.1.9:1"},
		},
		"the same address once": {
			planner{udp: true},
			wire.Candidate{Addrs: addrs("udp mapped 203.0.113.1:1", "udp host 203.0.113.1:1", "udp host [::ffff:203.0.113.1]:1")},
			[]string{"0s quic 203.0.113.1:1"},
		},
		"bad addresses": {
			planner{udp: true},
			wire.Candidate{Addrs: addrs("tcp host 0.0.0.0:1", "tcp host 224.0.0.1:1", "tcp host 203.0.113.1:0", "tcp host [fe80::1]:1",
				"tcp host [ff02::1]:1", "tcp host 255.255.255.255:1", "tcp host example.com:1", "tcp host 127.0.0.1:1", "tcp host [::1]:1",
				"tcp host [::ffff:127.0.0.1]:1", "sctp host 203.0.113.1:1", "tcp host [2001:db8::1%eth0]:1", "tcp host 169.254.1.1:1")},
			nil,
		},
		"loopback where control is there": {
			planner{udp: true, loopback: true},
			wire.Candidate{Addrs: addrs("tcp host 127.0.0.1:1")},
			[]string{"0s tcp 127.0.0.1:1"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, a := range c.planner.plan(c.peer) {
				meet := ""
				if a.meet {
					meet = " meet"
				}
				got = append(got, fmt.Sprint(a.after, " ", a.kind, " ", a.to, meet))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestPlanIsBounded(t *testing.T) {
	var peer wire.Candidate
	for i := range 1000 {
		peer.Addrs = append(peer.Addrs, wire.Addr{Net: "tcp", Kind: "host", Addr: fmt.Sprintf("203.0.113.1:%d", i+1)})
	}
	if n := len(planner{}.plan(peer)); n > wire.MaxAddrs {
		t.Errorf("%d dials", n)
	}
}
