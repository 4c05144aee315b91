package agent

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// What the router lets in comes first, each address once, and host addresses make room.
func TestAnnounced(t *testing.T) {
	addr := func(network, kind, at string) wire.Addr { return wire.Addr{Net: network, Kind: kind, Addr: at} }
	open := []wire.Addr{addr("tcp", "host", "11.0.0.1:4000"), addr("udp", "host", "11.0.0.1:4000")}
	seen := []wire.Addr{addr("udp", "mapped", "11.0.0.1:4000"), addr("tcp", "host", "192.168.1.7:4000")}
	want := []wire.Addr{open[0], open[1], seen[1]}
	if d := cmp.Diff(want, announced(open, seen)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(seen, announced(nil, seen)); d != "" {
		t.Errorf("without a mapping: %s", d)
	}
	for i := range wire.MaxAddrs {
		seen = append(seen, addr("tcp", "host", fmt.Sprintf("192.168.2.%d:4000", i)))
	}
	if got := announced(open, seen); len(got) != wire.MaxAddrs || got[0] != open[0] {
		t.Errorf("%d addresses, first %v", len(got), got[0])
	}
}

// Nobody is asked for ports where there is nobody to let in.
func TestTranslated(t *testing.T) {
	cases := map[netip.Addr]bool{
		netip.MustParseAddr("11.0.0.1"): true, netip.MustParseAddr("10.0.0.1"): false, netip.MustParseAddr("127.0.0.1"): false,
		netip.MustParseAddr("100.64.0.1"): false, netip.MustParseAddr("2a00::1"): false,
	}
	own, err := nat.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range own {
		cases[p.Addr()] = false
	}
	for addr, want := range cases {
		if got := translated(addr); got != want {
			t.Errorf("seen at %s: %v", addr, got)
		}
	}
}

func TestPortMappingWhy(t *testing.T) {
	for _, on := range []bool{false, true} {
		e, err := New(Config{MapPorts: on})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if st := e.PortMapping(); st.Why == "" || (st.Why == "it is off") == on {
			t.Errorf("on %v: %+v", on, st)
		}
		if !on {
			continue
		}
		p, err := e.swarming()
		if err != nil {
			t.Fatal(err)
		}
		e.mapPorts(p, "127.0.0.1:80")
		e.mapPorts(p, "nonsense")
		if p.ports.mapper != nil || len(p.ports.addrs()) > 0 {
			t.Error("the router is asked for this machine's own sake")
		}
	}
}
