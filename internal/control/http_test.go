package control

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// answer is a response that is read to its end.
type answer struct {
	StatusCode int
	Header     http.Header
}

func do(t *testing.T, method, url, body string, header ...string) (answer, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header}, b
}

func TestGrants(t *testing.T) {
	publisher := newKey(t)
	n := start(t, Config{Publishers: []ed25519.PublicKey{publisher.Public().(ed25519.PublicKey)}})
	c := dial(t, n, "").login()
	good := wire.GrantRequest{
		Object: object.String(), Key: public(c.session), URL: "https://host/file",
		Signer: public(publisher), Signature: ed25519.Sign(publisher, manifest.SignedBytes(object)),
	}
	ask := func(req wire.GrantRequest) (answer, []byte) {
		b, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		return do(t, "POST", n.srv.URL+"/v1/grants", string(b))
	}
	res, b := ask(good)
	var got wire.GrantResponse
	if err := json.Unmarshal(b, &got); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, b)
	}
	claims, err := grant.Parse(got.Grant, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Publisher != public(publisher) || claims.Signer != n.key.public || claims.Key != good.Key || claims.Object != object {
		t.Errorf("claims %+v", claims)
	}
	// It opens the swarm.
	c.send(wire.Message{Type: wire.MsgJoin, Join: &wire.Join{Object: object, Grant: got.Grant, Total: 1}})
	c.want(wire.MsgPeers)

	for name, spoil := range map[string]func(*wire.GrantRequest){
		"signature": func(r *wire.GrantRequest) { r.Signature = bytes.Repeat([]byte{1}, 64) },
		"object":    func(r *wire.GrantRequest) { r.Object = (manifest.ObjectID{8}).String() },
		"no object": func(r *wire.GrantRequest) { r.Object = "x" },
		"no key":    func(r *wire.GrantRequest) { r.Key = wire.Key{} },
		"publisher": func(r *wire.GrantRequest) {
			k := newKey(t)
			r.Signer, r.Signature = public(k), ed25519.Sign(k, manifest.SignedBytes(object))
		},
	} {
		req := good
		spoil(&req)
		if res, b := ask(req); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, res.StatusCode, b)
		}
	}
	for name, body := range map[string]string{"no JSON": "x", "huge": `{"url":"` + strings.Repeat("x", maxGrantRequest) + `"}`} {
		if res, b := do(t, "POST", n.srv.URL+"/v1/grants", body); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, res.StatusCode, b)
		}
	}
	for range grantBurst * 2 {
		if res, _ = do(t, "POST", n.srv.URL+"/v1/grants", "x"); res.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	if res.StatusCode != http.StatusTooManyRequests {
		t.Error("grants are not limited")
	}
}

func TestKeyAndHealth(t *testing.T) {
	data := t.TempDir()
	n := start(t, Config{Data: data})
	res, b := do(t, "GET", n.srv.URL+"/v1/key", "")
	var k wire.JWK
	if err := json.Unmarshal(b, &k); err != nil || k.X != n.key.public || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("key: %d %s", res.StatusCode, b)
	}
	if res, _ := do(t, "GET", n.srv.URL+"/healthz", ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("health: %d", res.StatusCode)
	}
	if res, _ := do(t, "OPTIONS", n.srv.URL+"/v1/grants", ""); res.StatusCode != http.StatusNoContent {
		t.Errorf("preflight: %d", res.StatusCode)
	}
	key := n.key.public
	n.stop()
	if again := start(t, Config{Data: data}); again.key.public != key {
		t.Error("a restart changed the key")
	}
}

func TestStatusIsForOperators(t *testing.T) {
	n := start(t, Config{Operators: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}})
	res, b := do(t, "GET", n.srv.URL+"/v1/status", "")
	var s Status
	if err := json.Unmarshal(b, &s); err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %s", res.StatusCode, b)
	}
	if res, _ := do(t, "GET", n.srv.URL+"/v1/status", "", "X-Forwarded-For", "192.0.2.8"); res.StatusCode != http.StatusOK {
		t.Errorf("an operator behind the proxy: %d", res.StatusCode)
	}
	if res, _ := do(t, "GET", n.srv.URL+"/v1/status", "", "X-Forwarded-For", "203.0.113.8"); res.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger behind the proxy: %d", res.StatusCode)
	}
	n.cfg.TrustedProxies = nil
	if res, _ := do(t, "GET", n.srv.URL+"/v1/status", "", "X-Forwarded-For", "192.0.2.8"); res.StatusCode != http.StatusForbidden {
		t.Errorf("behind a proxy that is not known: %d", res.StatusCode)
	}
}

func TestClientAddr(t *testing.T) {
	c := &Control{cfg: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, x := range []struct{ remote, forwarded, want string }{
		{"203.0.113.1:99", "", "203.0.113.1:99"},
		{"203.0.113.1:99", "1.2.3.4", "203.0.113.1:99"}, // not believed
		{"10.0.0.1:99", "1.2.3.4", "1.2.3.4:0"},
		{"10.0.0.1:99", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4:0"}, // what the client forged is left of what proxies add
		{"10.0.0.1:99", "nonsense", "10.0.0.1:99"},
		{"10.0.0.1:99", "", "10.0.0.1:99"},
		{"[::ffff:10.0.0.1]:99", "2001:db8::1", "[2001:db8::1]:0"},
	} {
		r := &http.Request{RemoteAddr: x.remote, Header: http.Header{}}
		if x.forwarded != "" {
			r.Header.Set("X-Forwarded-For", x.forwarded)
		}
		if got := c.clientAddr(r); got != netip.MustParseAddrPort(x.want) {
			t.Errorf("%s via %q: %v, want %s", x.remote, x.forwarded, got, x.want)
		}
	}
}

func TestSTUN(t *testing.T) {
	n := start(t, Config{STUN: []string{"127.0.0.1:0", "127.0.0.1:0"}})
	c := dial(t, n, "").login()
	if len(c.welcome.STUN) != 2 || c.welcome.STUN[0][0] != ':' || c.welcome.STUN[0] == c.welcome.STUN[1] {
		t.Fatalf("advertised %q", c.welcome.STUN)
	}
	for _, port := range c.welcome.STUN {
		conn, err := net.Dial("udp", "127.0.0.1"+port)
		if err != nil {
			t.Fatal(err)
		}
		client, err := stun.NewClient(conn)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var mapped stun.XORMappedAddress
		err = client.Do(stun.MustBuild(stun.TransactionID, stun.BindingRequest), func(e stun.Event) {
			if err := e.Error; err != nil {
				t.Error(err)
			} else if err := mapped.GetFrom(e.Message); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := mapped.String(), conn.LocalAddr().String(); got != want {
			t.Errorf("mapped address %s, want %s", got, want)
		}
	}
	eventually(t, "answers are counted", func() bool { return n.stun.answered.Load() == 2 })
}

// By default one port is that of HTTP where nobody has it.
func TestSTUNDefault(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := taken.LocalAddr().String()
	_, port, _ := net.SplitHostPort(addr)
	s, err := listenSTUN(Config{Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.advertise(); len(a) != 2 || a[0] == ":"+port {
		t.Errorf("advertised %q although %s is taken", a, port)
	}
	s.close()
	taken.Close()
	if s, err = listenSTUN(Config{Listen: addr}); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if a := s.advertise(); len(a) != 2 || a[0] != ":"+port {
		t.Errorf("advertised %q although %s is free", a, port)
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("x"), stun.Fingerprint).Raw)
	f.Add([]byte{0, 1, 0, 8})
	from := &net.UDPAddr{IP: net.IPv6loopback, Port: 9}
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, ok := answerSTUN(b, from, 0)
		if ok && (len(b) < 20 || len(answer) > len(b)+24) {
			t.Fatalf("%d bytes answer %d", len(answer), len(b))
		}
	})
}
