package control

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func addrs(ss ...string) []wire.Addr {
	var out []wire.Addr
	for _, s := range ss {
		a, kind := s[4:], "host"
		if m, ok := strings.CutSuffix(a, " mapped"); ok {
			a, kind = m, "mapped"
		}
		out = append(out, wire.Addr{Net: s[:3], Addr: a, Kind: kind})
	}
	return out
}

func names(as []wire.Addr) []string {
	var out []string
	for _, a := range as {
		out = append(out, a.Net+" "+a.Addr)
	}
	return out
}

func TestCleanAddrs(t *testing.T) {
	for name, c := range map[string]struct {
		observed string
		in       []string
		want     []string
		tcp      bool
	}{
		"public host": {
			"203.0.113.5",
			[]string{"tcp 203.0.113.5:443", "udp 203.0.113.5:9000"},
			[]string{"tcp 203.0.113.5:443", "udp 203.0.113.5:9000"},
			true,
		},
		"behind NAT, port perhaps forwarded": {
			"203.0.113.5",
			[]string{"tcp 192.168.1.2:4000", "tcp 10.0.0.2:4000", "udp 203.0.113.5:9000"},
			[]string{"tcp 192.168.1.2:4000", "tcp 10.0.0.2:4000", "udp 203.0.113.5:9000", "tcp 203.0.113.5:4000"},
			false,
		},
		"behind NAT, port seen": {
			"203.0.113.5",
			[]string{"tcp 203.0.113.5:1024 mapped", "tcp 192.168.1.2:4000"},
			[]string{"tcp 203.0.113.5:1024", "tcp 192.168.1.2:4000", "tcp 203.0.113.5:4000"},
			false,
		},
		"third party": {"203.0.113.5", []string{"tcp 198.51.100.1:8080", "udp 198.51.100.1:8080"}, nil, false},
		"services":    {"203.0.113.5", []string{"tcp 192.168.1.1:80", "udp 192.168.1.1:53", "tcp 10.0.0.1:22"}, nil, false},
		"one address of the other version": {
			"203.0.113.5",
			[]string{"tcp [2001:db8::1]:4000", "udp [2001:db8::1]:4000", "udp [2001:db8::2]:4000"},
			[]string{"tcp [2001:db8::1]:4000", "udp [2001:db8::1]:4000"},
			false,
		},
		"nonsense": {
			"203.0.113.5", []string{
				"tcp 0.0.0.0:4000", "tcp 224.0.0.1:4000", "udp 255.255.255.255:4000", "tcp 203.0.113.5:0",
				"tcp [fe80::1]:4000", "tcp [ff02::1]:4000", "sct 203.0.113.5:4000", "tcp host:4000", "tcp [fe80::1%eth0]:4000",
			}, nil, false,
		},
		"loopback from elsewhere": {"203.0.113.5", []string{"tcp 127.0.0.1:4000"}, nil, false},
		"loopback":                {"127.0.0.1", []string{"tcp 127.0.0.1:4000", "tcp [::1]:4000", "tcp 127.0.0.1:4000"}, []string{"tcp 127.0.0.1:4000", "tcp [::1]:4000"}, true},
		"in another guise":        {"203.0.113.5", []string{"tcp [::ffff:203.0.113.5]:4000"}, []string{"tcp 203.0.113.5:4000"}, true},
	} {
		out, tcp := cleanAddrs(addrs(c.in...), netip.MustParseAddr(c.observed))
		if d := cmp.Diff(c.want, names(out)); d != "" || tcp != c.tcp {
			t.Errorf("%s: tcp %v, want %v; %s", name, tcp, c.tcp, d)
		}
	}
}

func TestVisibleAddrs(t *testing.T) {
	all := addrs("tcp 127.0.0.1:4000", "tcp 192.168.1.2:4000", "tcp 10.0.0.7:4000", "tcp 203.0.113.5:4000")
	for name, c := range map[string]struct {
		from, to string
		want     []string
	}{
		"elsewhere":         {"203.0.113.5", "198.51.100.1", []string{"tcp 203.0.113.5:4000"}},
		"same public IP":    {"203.0.113.5", "203.0.113.5", []string{"tcp 192.168.1.2:4000", "tcp 10.0.0.7:4000", "tcp 203.0.113.5:4000"}},
		"company network":   {"10.0.0.7", "10.9.0.1", []string{"tcp 10.0.0.7:4000", "tcp 203.0.113.5:4000"}},
		"from the company":  {"10.0.0.7", "198.51.100.1", []string{"tcp 203.0.113.5:4000"}},
		"one machine":       {"127.0.0.1", "::1", names(all)},
		"on control's LAN":  {"127.0.0.1", "192.168.1.9", []string{"tcp 192.168.1.2:4000", "tcp 10.0.0.7:4000", "tcp 203.0.113.5:4000"}},
		"to control's host": {"192.168.1.2", "127.0.0.1", []string{"tcp 192.168.1.2:4000", "tcp 203.0.113.5:4000"}},
	} {
		got := visibleAddrs(all, netip.MustParseAddr(c.from), netip.MustParseAddr(c.to))
		if d := cmp.Diff(c.want, names(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// Whatever a client announces, nobody is sent to a third party, to a low port
// of a machine that is not the client's, or gets to see more than may be.
func FuzzAddrs(f *testing.F) {
	f.Add("tcp", "192.168.1.2:4000", "203.0.113.5", "198.51.100.1")
	f.Add("udp", "[2001:db8::1]:4000", "203.0.113.5", "203.0.113.5")
	f.Add("tcp", "127.0.0.1:22", "127.0.0.1", "::1")
	f.Add("tcp", "[::ffff:10.0.0.1]:22", "fd00::1", "10.0.0.1")
	f.Fuzz(func(t *testing.T, network, addr, from, to string) {
		a, err1 := netip.ParseAddr(from)
		b, err2 := netip.ParseAddr(to)
		if err1 != nil || err2 != nil || a.Zone() != "" || b.Zone() != "" {
			t.Skip()
		}
		in := []wire.Addr{{Net: network, Addr: addr, Kind: "host"}, {Net: "tcp", Addr: addr, Kind: "mapped"}}
		clean, _ := cleanAddrs(in, a)
		if len(clean) > wire.MaxAddrs {
			t.Fatalf("%d addresses", len(clean))
		}
		for _, x := range visibleAddrs(clean, a, b) {
			if !slices.Contains(clean, x) {
				t.Fatalf("%v was not announced", x)
			}
			ap := netip.MustParseAddrPort(x.Addr)
			ip := ap.Addr()
			switch {
			case ip == a.Unmap():
			case ap.Port() < minPort:
				t.Fatalf("low port %v", ap)
			case ip.IsMulticast() || ip.IsUnspecified():
				t.Fatalf("address %v", ap)
			case ip.IsLoopback() && (!a.Unmap().IsLoopback() || !b.Unmap().IsLoopback()):
				t.Fatalf("loopback %v is shown to %v", ap, b)
			case reachOf(ip) == global && ip.Is4() == a.Unmap().Is4():
				t.Fatalf("third party %v announced by %v", ap, a)
			}
		}
	})
}
