package agent

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// A session comes from the port that takes links, and from another one where control is not
// reached from there.
func TestSessionHTTP(t *testing.T) {
	for _, c := range []struct {
		control string
		same    bool
	}{{"127.0.0.1:0", true}, {"[::1]:0", false}} {
		l, err := net.Listen("tcp", c.control)
		if err != nil {
			t.Skipf("no loopback address of this version of IP: %v", err)
		}
		from := make(chan string, 1)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { from <- r.RemoteAddr }))
		_ = srv.Listener.Close()
		srv.Listener = l
		srv.Start()
		t.Cleanup(srv.Close)
		e, err := New(Config{Data: t.TempDir(), ListenTCP: "127.0.0.1:0", ListenUDP: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		p, err := e.swarming()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.endpoint.FromListener(net.Dialer{}); !ok {
			t.Skip("ports are not shared on this system")
		}
		resp, err := e.sessionHTTP(p.endpoint, &sessionGuard{}).Get(srv.URL)
		if err != nil {
			t.Fatalf("%s: %v", c.control, err)
		}
		_ = resp.Body.Close()
		tcp, _ := p.endpoint.Ports(netip.MustParseAddr("127.0.0.1"))
		if at := netip.MustParseAddrPort(<-from); (at.Port() == tcp) != c.same {
			t.Errorf("%s: came from %s, links are taken at port %d", c.control, at, tcp)
		}
	}
}
