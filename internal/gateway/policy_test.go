package gateway

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"testing"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestPublic(t *testing.T) {
	for ip, want := range map[string]bool{
		"93.184.216.34": true, "1.1.1.1": true, "2606:4700:4700::1111": true, "64:ff9b::101:101": true, "::ffff:1.1.1.1": true,
		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.254": false, "10.0.0.1": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "100.127.255.255": false,
		"192.0.0.8": false, "192.0.2.1": false, "198.18.0.1": false, "198.51.100.1": false, "203.0.113.1": false, "192.88.99.1": false,
		"224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "::ffff:0:127.0.0.1": false,
		"fe80::1": false, "fec0::1": false, "fc00::1": false, "fd00:ec2::254": false, "ff02::1": false, "ff0e::1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false,
		"2001:db8::1": false, "100::1": false, "3fff::1": false, "5f00::1": false, "fe80::1%lo": false,
	} {
		if got := public(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %v, want %v", ip, got, want)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// told is the documents of hosts that have one.
type told map[string]*wire.WellKnown

func (d told) WellKnown(_ context.Context, u *url.URL) (*wire.WellKnown, error) {
	if doc := d[u.Scheme+"://"+u.Host]; doc != nil {
		return doc, nil
	}
	return nil, errors.New("404")
}

func TestPolicy(t *testing.T) {
	p, err := NewPolicy([]string{"Listed.Example", "intranet:8080", "10.0.0.5", "[::1]:9000"})
	if err != nil {
		t.Fatal(err)
	}
	in, out := &wire.WellKnown{Gateway: true}, &wire.WellKnown{}
	docs := told{
		"https://in.example": in, "https://in.example:8443": in, "http://in.example": in, "https://out.example": out,
		"https://127.0.0.1": in, "https://10.0.0.6": in, "https://[::ffff:127.0.0.1]": in, "https://169.254.169.254": in, "https://1.1.1.1": in,
	}
	for at, want := range map[string]bool{
		"http://listed.example/": true, "https://listed.example/": true, "https://listed.example:8443/": false, "http://sub.listed.example/": false,
		"http://intranet:8080/": true, "https://intranet:8080/": true, "http://intranet/": false, "http://intranet:80/": false,
		"http://10.0.0.5/": true, "https://10.0.0.5/": true, "http://10.0.0.5:22/": false, "http://[::1]:9000/": true, "http://[::1]/": false,
		"https://in.example/": true, "https://in.example:8443/": true, "http://in.example/": false, "https://out.example/": false, "https://else.example/": false,
		"https://1.1.1.1/": true, "https://127.0.0.1/": false, "https://10.0.0.6/": false, "https://[::ffff:127.0.0.1]/": false, "https://169.254.169.254/": false,
	} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.check(t.Context(), u, docs); (err == nil) != want || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want %v", at, err, want)
		}
	}
	for _, c := range []struct {
		hostport, to string
		want         bool
	}{
		{"in.example:443", "93.184.216.34:443", true},
		{"in.example:443", "127.0.0.1:443", false}, // rebound
		{"in.example:443", "[::ffff:192.168.0.1]:443", false},
		{"in.example:443", "[64:ff9b::a00:1]:443", false},
		{"intranet:8080", "10.1.1.1:8080", true},
		{"intranet:8081", "10.1.1.1:8081", false},
		{"listed.example:443", "192.168.0.1:443", true},
		{"[::1]:9000", "[::1]:9000", true},
		{"nonsense", "127.0.0.1:80", false},
	} {
		if err := p.Dial(c.hostport, netip.MustParseAddrPort(c.to)); (err == nil) != c.want {
			t.Errorf("%s at %s: %v, want %v", c.hostport, c.to, err, c.want)
		}
	}
	for _, bad := range []string{"", "http://h", "h/", "user@h", "h:99999", "*.example", "h h", "2130706433"} {
		if _, err := NewPolicy([]string{bad}); err == nil {
			t.Errorf("publisher %q is taken", bad)
		}
	}
}
