package portmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loopback is a socket on a port of its own.
func loopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// datagrams is a gateway that answers each datagram with several.
func datagrams(t *testing.T, answers func(request []byte) [][]byte) netip.AddrPort {
	t.Helper()
	conn := loopback(t)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, a := range answers(bytes.Clone(buf[:n])) {
				_, _ = conn.WriteToUDPAddrPort(a, from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// pcpAnswerTo is a good answer to a request, with an external port.
func pcpAnswerTo(request []byte, port uint16) []byte {
	b := bytes.Clone(request)
	b[1] |= opResponse
	copy(b[8:24], make([]byte, 16))
	b[11] = 123 // epoch
	b[42], b[43] = byte(port>>8), byte(port)
	ip := external.As16()
	copy(b[44:60], ip[:])
	return b
}

// Of many answers the one that belongs to the request counts.
func TestPCPForged(t *testing.T) {
	p := newPCP(home.gateway)
	p.at = datagrams(t, func(request []byte) [][]byte {
		guess, port, other := pcpAnswerTo(request, 6666), pcpAnswerTo(request, 6666), pcpAnswerTo(request, 6666)
		guess[24] ^= 1 // nonce
		port[41] ^= 1  // internal port
		other[36] = protocolUDP
		return [][]byte{{}, request, guess, port, other, make([]byte, 1500), pcpAnswerTo(request, 4001)}
	})
	a, err := p.add(t.Context(), wish(TCP, 4000))
	if want := netip.AddrPortFrom(external, 4001); err != nil || a.external != want || a.lifetime != lifetime || a.epoch != 123 {
		t.Errorf("got %+v, %v", a, err)
	}
}

// An answer from another port of the gateway's machine does not reach the socket.
func TestForeignSender(t *testing.T) {
	stranger, conn := loopback(t), loopback(t)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = stranger.WriteToUDPAddrPort(pcpAnswerTo(buf[:n], 6666), from)
		}
	}()
	p := newPCP(home.gateway)
	p.at = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if a, err := p.add(t.Context(), wish(TCP, 4000)); !errors.Is(err, errSilent) {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestDatagramRefusals(t *testing.T) {
	at := datagrams(t, func(request []byte) [][]byte {
		if request[0] == pcpVersion {
			b := pcpAnswerTo(request, 4000)
			b[3] = 2
			return [][]byte{b}
		}
		return [][]byte{{0, opResponse | request[1], 0, 2, 0, 0, 0, 9}}
	})
	if _, err := (&pcp{at: at}).add(t.Context(), wish(UDP, 4000)); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "not authorized") {
		t.Errorf("PCP: %v", err)
	}
	if _, err := (&pmp{at}).add(t.Context(), wish(UDP, 4000)); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "not authorized") {
		t.Errorf("NAT-PMP: %v", err)
	}
	old := datagrams(t, func(request []byte) [][]byte {
		return [][]byte{{0, opResponse | request[1], 0, 1, 0, 0, 0, 9}}
	})
	if _, err := (&pcp{at: old}).add(t.Context(), wish(UDP, 4000)); !errors.Is(err, errVersion) || errors.Is(err, errRefused) {
		t.Errorf("PCP at a gateway of NAT-PMP: %v", err)
	}
	nobody := loopback(t)
	gone := nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = nobody.Close()
	if _, err := (&pmp{gone}).check(t.Context(), Mapping{}); !errors.Is(err, errSilent) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&pmp{at}).check(ctx, Mapping{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

// web is a gateway of UPnP on a loopback address; handlers are by path.
type web struct {
	*igd
	mu    sync.Mutex
	pages map[string]http.HandlerFunc
	calls []string
}

func newWeb(t *testing.T) *web {
	t.Helper()
	w := &web{pages: map[string]http.HandlerFunc{}}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		page := w.pages[r.URL.Path]
		_, action, _ := strings.Cut(strings.Trim(r.Header.Get("SOAPAction"), `"`), "#")
		w.calls = append(w.calls, action)
		w.mu.Unlock()
		if page == nil {
			http.NotFound(rw, r)
			return
		}
		page(rw, r)
	}))
	t.Cleanup(srv.Close)
	loopback := netip.MustParseAddr("127.0.0.1")
	w.igd = newIGD(network{loopback, loopback})
	w.find = func(context.Context, network) (*url.URL, error) { return url.Parse(srv.URL + "/desc.xml") }
	w.pages["/desc.xml"] = says(http.StatusOK, describes("/ctl"))
	return w
}

func describes(control string) string {
	return `<root><device><serviceList><service><serviceType>` + wanKinds[1] + `</serviceType><controlURL>` + control +
		`</controlURL></service></serviceList></device></root>`
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// actions answers each action of the control URL by name; one that is missing is a
// fault 401 (invalid action).
func actions(by map[string]func(body string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, action, _ := strings.Cut(strings.Trim(r.Header.Get("SOAPAction"), `"`), "#")
		body, _ := io.ReadAll(r.Body)
		answer := "<errorCode>401</errorCode>"
		if f := by[action]; f != nil {
			answer = f(string(body))
		}
		if strings.Contains(answer, "errorCode") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "<Envelope><Body>"+answer+"</Body></Envelope>")
	}
}

func always(s string) func(string) string { return func(string) string { return s } }

const addressTag = "<NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>"

func TestUPnPConflict(t *testing.T) {
	w := newWeb(t)
	taken := func(body string) bool { return strings.Contains(body, "<NewExternalPort>4000<") }
	w.pages["/ctl"] = actions(map[string]func(string) string{
		"GetExternalIPAddress": always(addressTag),
		"GetSpecificPortMappingEntry": func(body string) string {
			if taken(body) {
				return "<NewInternalClient>192.168.1.99</NewInternalClient><NewInternalPort>4000</NewInternalPort>"
			}
			return "<errorCode>714</errorCode>"
		},
		"AddPortMapping": func(body string) string {
			if taken(body) {
				t.Error("somebody else's port was taken")
			}
			return ""
		},
		"DeletePortMapping": always(""),
	})
	a, err := w.add(t.Context(), wish(TCP, 4000))
	if err != nil || a.external.Addr() != external || a.external.Port() < 1<<15 || a.hasEpoch {
		t.Errorf("got %+v, %v", a, err)
	}
	if err := w.remove(t.Context(), Mapping{Net: TCP, Internal: 4000, External: a.external}); err != nil {
		t.Error(err)
	}
	if _, err := w.check(t.Context(), Mapping{Net: TCP, Internal: 4000, External: a.external}); !errors.Is(err, errLost) {
		t.Errorf("a mapping that is gone: %v", err)
	}
	if _, err := w.check(t.Context(), wish(TCP, 4000)); !errors.Is(err, errLost) {
		t.Errorf("a mapping to another machine: %v", err)
	}
}

func TestUPnPRefusals(t *testing.T) {
	noEntry := always("<errorCode>714</errorCode>")
	for name, tt := range map[string]struct {
		pages map[string]func(string) string
		want  string
	}{
		"permanent": {map[string]func(string) string{
			"GetExternalIPAddress": always(addressTag), "GetSpecificPortMappingEntry": noEntry,
			"AddPortMapping": always("<errorCode>725</errorCode>"),
		}, "permanent"},
		"all taken": {map[string]func(string) string{
			"GetExternalIPAddress": always(addressTag), "AddPortMapping": always("<errorCode>718</errorCode>"),
		}, "taken"},
		"not allowed": {map[string]func(string) string{
			"GetExternalIPAddress": always(addressTag), "GetSpecificPortMappingEntry": noEntry,
			"AddPortMapping": always("<errorCode>606</errorCode>"),
		}, "606"},
		"offline":      {map[string]func(string) string{"GetExternalIPAddress": always("<NewExternalIPAddress></NewExternalIPAddress>")}, "no external address"},
		"IPv6 outside": {map[string]func(string) string{"GetExternalIPAddress": always("<NewExternalIPAddress>2001:db8::1</NewExternalIPAddress>")}, "no external address"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(t)
			w.pages["/ctl"] = actions(tt.pages)
			_, err := w.add(t.Context(), wish(UDP, 4000))
			if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A gateway, or whoever answers in its name, cannot have this machine talk to others,
// read for ever, or keep what it reads.
func TestUPnPHostile(t *testing.T) {
	var reached atomic.Bool
	victim := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	victim.Listener = l
	victim.Start()
	t.Cleanup(victim.Close)

	ok := actions(map[string]func(string) string{"GetExternalIPAddress": always(addressTag)})
	for name, pages := range map[string]map[string]http.HandlerFunc{
		"redirect":             {"/desc.xml": http.RedirectHandler(victim.URL, http.StatusFound).ServeHTTP},
		"redirect of a call":   {"/ctl": http.RedirectHandler(victim.URL, http.StatusTemporaryRedirect).ServeHTTP},
		"control elsewhere":    {"/desc.xml": says(200, describes(victim.URL+"/ctl")), "/ctl": ok},
		"base elsewhere":       {"/desc.xml": says(200, "<root><URLBase>"+victim.URL+"</URLBase>"+describes("/ctl")+"</root>"), "/ctl": ok},
		"control by name":      {"/desc.xml": says(200, describes("http://localhost/ctl")), "/ctl": ok},
		"control of a scheme":  {"/desc.xml": says(200, describes("file:///ctl")), "/ctl": ok},
		"description too long": {"/desc.xml": says(200, describes("/ctl")+strings.Repeat(" ", maxDescription)), "/ctl": ok},
		"answer too long":      {"/ctl": says(200, addressTag+strings.Repeat(" ", maxSOAP))},
		"no description":       {"/desc.xml": says(404, describes("/ctl")), "/ctl": ok},
		"not XML":              {"/ctl": says(200, "<a")},
		"an error, no fault":   {"/ctl": says(500, addressTag)},
		"slow": {"/ctl": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the end of the request is not noticed
			_, _ = io.WriteString(w, "<a>")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWeb(t)
			for path, page := range pages {
				w.pages[path] = page
			}
			if name == "slow" {
				w.http.Timeout = 200 * time.Millisecond
			}
			a, err := w.add(t.Context(), wish(TCP, 4000))
			if err == nil || errors.Is(err, errRefused) || w.at != nil {
				t.Errorf("got %+v, %v", a, err)
			}
			if reached.Load() {
				t.Error("another machine was talked to")
			}
		})
	}
}

// A gateway that names machines keeps the port it has given.
func TestUPnPNamesMachines(t *testing.T) {
	w := newWeb(t)
	w.pages["/ctl"] = actions(map[string]func(string) string{
		"GetExternalIPAddress": always(addressTag), "AddPortMapping": always(""),
		"GetSpecificPortMappingEntry": always("<NewInternalClient>laptop.lan</NewInternalClient><NewInternalPort>4000</NewInternalPort>"),
	})
	a, err := w.add(t.Context(), wish(TCP, 4000))
	if err != nil || a.external.Port() != 4000 {
		t.Errorf("got %+v, %v", a, err)
	}
	if _, err := w.check(t.Context(), wish(TCP, 4000)); err != nil {
		t.Error(err)
	}
}

// A call that the end of the program cuts off does not keep the mapping there is from being
// removed.
func TestUPnPEndsWhileAsking(t *testing.T) {
	w := newWeb(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.pages["/ctl"] = actions(map[string]func(string) string{
		"GetExternalIPAddress": always(addressTag), "GetSpecificPortMappingEntry": always("<errorCode>714</errorCode>"),
		"AddPortMapping": always(""), "DeletePortMapping": always(""),
	})
	if _, err := w.add(ctx, wish(TCP, 4000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.add(ctx, wish(UDP, 4000)); !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
	if err := w.remove(t.Context(), wish(TCP, 4000)); err != nil {
		t.Error(err)
	}
}

// Whoever else answers a search is passed over.
func TestSearchHostile(t *testing.T) {
	gateway, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3), Port: int(ssdpGroup.Port())})
	if err != nil {
		t.Skipf("the port of searches is taken: %v", err)
	}
	defer gateway.Close()
	stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 4)})
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	defer stranger.Close()
	at := func(ip string, port int) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nLocation: http://%s:%d/desc.xml\r\n\r\n", ip, port)
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := gateway.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = stranger.WriteToUDPAddrPort(at("127.0.0.3", 6666), from)
			_, _ = gateway.WriteToUDPAddrPort(at("127.0.0.4", 6666), from)
			_, _ = gateway.WriteToUDPAddrPort([]byte("nonsense"), from)
			_, _ = gateway.WriteToUDPAddrPort(at("127.0.0.3", 5000), from)
		}
	}()
	u, err := discover(t.Context(), network{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.1")})
	if err != nil || u.String() != "http://127.0.0.3:5000/desc.xml" {
		t.Errorf("got %v, %v", u, err)
	}
	_ = gateway.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if u, err := discover(ctx, network{netip.MustParseAddr("127.0.0.3"), netip.MustParseAddr("127.0.0.1")}); err == nil {
		t.Errorf("got %v of nobody", u)
	}
}
