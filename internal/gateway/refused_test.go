package gateway

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// everybody says that all hosts have opted in.
type everybody struct{}

func (everybody) WellKnown(context.Context, *url.URL) (*wire.WellKnown, error) {
	return &wire.WellKnown{Version: 1, Gateway: true}, nil
}

// nobody says that no host has.
type nobody struct{}

func (nobody) WellKnown(context.Context, *url.URL) (*wire.WellKnown, error) {
	return &wire.WellKnown{Version: 1}, nil
}

// The gateway gets nothing from whom it must not, however it is asked: a server that is
// not on the list sees no connection, and the answer says what to do.
func TestRefusedTargets(t *testing.T) {
	host := trap(t)
	_, port, _ := net.SplitHostPort(host)
	d := open(t, Config{}, "127.0.0.1:1") // the address is not enough
	d.docs = everybody{}                  // and no host's own word is
	resolve(t, map[string][]string{
		"private.test": {"10.0.0.1"}, "local.test": {"127.0.0.1"}, "mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"},
		"both.test": {"2606:4700::1", "127.0.0.1"}, "metadata.test": {"169.254.169.254"}, "loop6.test": {"::1"},
	})
	cases := map[string]int{
		"/http/127.0.0.1:" + port + "/":                 403,
		"/https/127.0.0.1:" + port + "/":                403,
		"/https/localhost:" + port + "/":                403,
		"/https/[::1]:" + port + "/":                    403,
		"/https/[::ffff:127.0.0.1]:" + port + "/":       403,
		"/https/[::ffff:7f00:1]:" + port + "/":          403,
		"/https/[::]:" + port + "/":                     403,
		"/https/[64:ff9b::7f00:1]:" + port + "/":        403,
		"/https/0.0.0.0:" + port + "/":                  403,
		"/https/127.0.0.2:" + port + "/":                403,
		"/https/169.254.169.254/latest/meta-data/":      403,
		"/https/10.0.0.1/":                              403,
		"/https/224.0.0.1/":                             403,
		"/https/255.255.255.255/":                       403,
		"/https/100.64.0.1/":                            403,
		"/https/[fe80::1]/":                             403,
		"/https/[fd00::1]/":                             403,
		"/https/local.test:" + port + "/":               403,
		"/https/private.test/":                          403,
		"/https/mapped.test:" + port + "/":              403,
		"/https/nat64.test:" + port + "/":               403,
		"/https/metadata.test/":                         403,
		"/https/loop6.test:" + port + "/":               403,
		"/http/public.test/":                            403, // in the clear nobody has opted in
		"/https/2130706433:" + port + "/":               400,
		"/https/0x7f000001:" + port + "/":               400,
		"/https/0177.0.0.1:" + port + "/":               400,
		"/https/127.1:" + port + "/":                    400,
		"/https/a@127.0.0.1:" + port + "/":              400,
		"/https/in.example%2F@127.0.0.1:" + port + "/":  400,
		"/https/in.example%5C@127.0.0.1:" + port + "/":  400,
		"/https/127.0.0.1%3A" + port + "/":              400,
		"/https//127.0.0.1:" + port + "/":               400,
		"/https:/127.0.0.1:" + port + "/":               400,
		"/https://127.0.0.1:" + port + "/":              400,
		"/http+unix/x/":                                 400,
		"/ftp/127.0.0.1:" + port + "/":                  400,
		"/file/127.0.0.1:" + port + "/":                 400,
		"/http/" + d.Addr() + "/http/127.0.0.1:" + port: 403, // itself
		"/":                  400,
		"/127.0.0.1:" + port: 400,
	}
	for path, want := range cases {
		for _, h := range []http.Header{nil, {"Range": {"bytes=0-9"}}, {"Authorization": {"Bearer x"}}} {
			resp, body := do(t, http.MethodGet, "http://"+d.Addr()+path, h)
			if resp.StatusCode != want {
				t.Errorf("%s: %s %s, want %d", path, resp.Status, body, want)
			}
			if want == 403 && !strings.Contains(string(body), "--gateway-publisher ") && !strings.Contains(string(body), "itself") {
				t.Errorf("%s: %q does not say what to do", path, body)
			}
		}
	}
	d.policy.ports[d.Addr()] = true
	if resp, body := do(t, http.MethodGet, "http://"+d.Addr()+"/http/"+d.Addr()+"/", nil); resp.StatusCode != 403 {
		t.Errorf("a gateway that is its own publisher: %s %s", resp.Status, body)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
		if resp, body := do(t, method, "http://"+d.Addr()+"/https/in.example/", nil); resp.StatusCode != 405 {
			t.Errorf("%s: %s %s", method, resp.Status, body)
		}
	}
	for _, line := range []string{
		"GET http://" + host + "/ HTTP/1.1\r\nHost: " + host, "GET http://" + d.Addr() + "/https/in.example/ HTTP/1.1\r\nHost: " + d.Addr(),
		"CONNECT " + host + " HTTP/1.1\r\nHost: " + host, "CONNECT " + host + " HTTP/1.1\r\nHost: " + d.Addr(), "OPTIONS * HTTP/1.1\r\nHost: " + d.Addr(),
	} {
		if got := raw(t, d.Addr(), line); !strings.HasPrefix(got, "HTTP/1.1 4") {
			t.Errorf("%q: %q", line, got)
		}
	}
	if n := d.Traffic().Refused; n == 0 {
		t.Error("refusals are not counted")
	}
}

// raw sends a request as it is and returns the beginning of the answer.
func raw(t *testing.T, addr, head string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(head + "\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 200)
	n, _ := c.Read(b)
	return string(b[:n])
}

// A name that is public when it is looked at and at this machine when it is connected to
// gains nothing, nor does one that has both addresses.
func TestRebinding(t *testing.T) {
	host := trap(t)
	_, port, _ := net.SplitHostPort(host)
	d := open(t, Config{})
	d.docs = everybody{}
	asked := resolve(t, map[string][]string{
		"rebind.test": {"2606:4700::1", "then", "127.0.0.1"}, "both.test": {"127.0.0.1", "::1"},
	})
	if a, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip6", "rebind.test"); err != nil || !public(a[0]) {
		t.Fatalf("at first: %v, %v", a, err)
	}
	for range 3 {
		for _, name := range []string{"rebind.test", "both.test"} {
			if resp, body := do(t, http.MethodGet, "http://"+d.Addr()+"/https/"+name+":"+port+"/x", nil); resp.StatusCode != 403 {
				t.Errorf("%s: %s %s", name, resp.Status, body)
			}
		}
	}
	if asked.Load() < 4 {
		t.Error("the names were not resolved again")
	}
}

// resolve has names resolved by a server of the test's own, until it ends. After "then"
// come the addresses of all answers but the first.
func resolve(t *testing.T, names map[string][]string) (asked *atomic.Int64) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int64)
	before := map[string]bool{}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			if answer := answerDNS(buf[:n], names, before); answer != nil {
				_, _ = pc.WriteTo(answer, from)
			}
		}
	}()
	was := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = was
		_ = pc.Close()
	})
	return asked
}

func answerDNS(query []byte, names map[string][]string, before map[string]bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	addrs, known := names[name]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for i, a := range addrs {
		if a != "then" {
			continue
		}
		if addrs = addrs[i+1:]; !before[name] {
			addrs = names[name][:i]
		}
		if q.Type == dnsmessage.TypeAAAA {
			before[name] = true
		}
		break
	}
	for _, a := range addrs {
		ip := net.ParseIP(a)
		h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case q.Type == dnsmessage.TypeA && !strings.Contains(a, ":"):
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: [4]byte(ip.To4())}})
		case q.Type == dnsmessage.TypeAAAA && strings.Contains(a, ":"):
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip.To16())}})
		}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// Redirects are followed by nobody but the client, and lead to publishers only.
func TestRedirects(t *testing.T) {
	forbidden := trap(t)
	s, other := newSite(t, nil), newSite(t, map[string][]byte{"x": []byte("other")})
	d := open(t, Config{}, s.host(), other.host())
	to := ""
	s.mux["/r"] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
	here := "http://" + d.Addr()
	secret := http.Header{"Authorization": {"Bearer x"}}
	for _, c := range []struct {
		location string
		header   http.Header
		status   int
		want     string
	}{
		{"/there?a=b#c", nil, 302, here + "/http/" + s.host() + "/there?a=b#c"},
		{"there", nil, 302, here + "/http/" + s.host() + "/there"},
		{other.URL + "/x", nil, 302, here + "/http/" + other.host() + "/x"},
		{"//" + other.host() + "/x", nil, 302, here + "/http/" + other.host() + "/x"},
		{other.URL + "/x", secret, 302, other.URL + "/x"}, // whose credentials the client does not repeat there
		{"/there", secret, 302, here + "/http/" + s.host() + "/there"},
		{"http://" + forbidden + "/x", nil, 403, ""},
		{"http://" + forbidden + "/x", secret, 403, ""},
		{"http://169.254.169.254/", nil, 403, ""},
		{"http://user:pw@" + other.host() + "/", nil, 403, ""},
		{"file:///etc/passwd", nil, 403, ""},
		{"javascript:alert(1)", nil, 403, ""},
		{"http://2130706433/", nil, 403, ""},
		{"http://[::1]:1/", nil, 403, ""},
		{"http://%zz/", nil, 502, ""},
	} {
		to = c.location
		resp, body := do(t, http.MethodGet, d.at(s.URL+"/r"), c.header)
		if got := resp.Header.Get("Location"); resp.StatusCode != c.status || c.status == 302 && got != c.want {
			t.Errorf("%s, %v: %s to %q %s, want %d to %q", c.location, c.header, resp.Status, got, body, c.status, c.want)
		}
	}
}

// A publisher that names private servers as places of its manifests, grants and mirrors
// does not have them asked.
func TestNamedPlacesAreGuarded(t *testing.T) {
	forbidden := trap(t)
	data := random(1, 2<<20)
	s := newSite(t, nil)
	s.mux["/x"] = func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("ETag", `"1"`)
		h.Set("Repr-Digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:")
		h.Add("Link", `<http://`+forbidden+`/m>; rel="describedby"; type="`+wire.ManifestType+`"`)
		h.Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	}
	s.mux[wire.WellKnownPath] = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"version":1,"control":["ws://` + forbidden + `/c"],"jwks":{"keys":[]},"grants":"http://` + forbidden + `/g","manifests":"http://` + forbidden + `/m{path}","mirrors":["http://` + forbidden + `"]}`))
	}
	d := open(t, Config{}, s.host())
	if resp, body := do(t, http.MethodGet, d.at(s.URL+"/x"), nil); resp.StatusCode != 200 || string(body) != string(data) {
		t.Errorf("%s, %d bytes", resp.Status, len(body))
	}
	// With a manifest that holds, it comes to a grant.
	s = newSite(t, map[string][]byte{"f.bin": data})
	s.warm(t, "f.bin")
	_, doc := do(t, http.MethodGet, s.URL+wire.WellKnownPath, nil)
	var w wire.WellKnown
	if err := json.Unmarshal(doc, &w); err != nil {
		t.Fatal(err)
	}
	w.Grants, w.Control = "http://"+forbidden+"/g", []string{"ws://" + forbidden + "/c"}
	s.mux[wire.WellKnownPath] = func(rw http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(rw).Encode(w) }
	d = open(t, Config{}, s.host())
	if resp, body := do(t, http.MethodGet, d.at(s.URL+"/f.bin"), nil); resp.StatusCode != 200 || string(body) != string(data) {
		t.Errorf("%s, %d bytes", resp.Status, len(body))
	}
}
