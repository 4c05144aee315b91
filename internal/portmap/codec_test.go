package portmap

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	// A mapping of TCP port 4000 of 192.168.1.7.
	pcpRequestHex = `02 01 0000 00000e10 00000000000000000000ffffc0a80107
		0102030405060708090a0b0c 06 000000 0fa0 0fa0 00000000000000000000ffff00000000`
	pcpResponseHex = `02 81 00 00 00000e10 0000007b 000000000000000000000000
		0102030405060708090a0b0c 06 000000 0fa0 0fa1 00000000000000000000ffff0b000001`
	pcpAnnounceHex = `02 80 00 00 00000000 0000007b 000000000000000000000000`
	pmpRequestHex  = `00 02 0000 0fa0 0fa0 00000e10`
	pmpResponseHex = `00 82 0000 0000007b 0fa0 0fa1 00000e10`
	pmpAddressHex  = `00 80 0000 0000007b 0b000001`
)

func TestPCP(t *testing.T) {
	n := nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	got := pcpMapRequest(wish(TCP, 4000), n, time.Hour, home.local)
	if d := cmp.Diff(unhex(t, pcpRequestHex), got); d != "" {
		t.Error(d)
	}
	a, err := parsePCP(unhex(t, pcpResponseHex), opMap)
	want := pcpAnswer{
		lifetime: time.Hour, epoch: 123, nonce: n, protocol: protocolTCP, internal: 4000,
		external: netip.MustParseAddrPort("11.0.0.1:4001"),
	}
	if err != nil || a != want {
		t.Errorf("got %+v, %v", a, err)
	}
	if a, err = parsePCP(unhex(t, pcpAnnounceHex), opAnnounce); err != nil || a.epoch != 123 {
		t.Errorf("announce: got %+v, %v", a, err)
	}
}

func TestPMP(t *testing.T) {
	if d := cmp.Diff(unhex(t, pmpRequestHex), pmpMapRequest(wish(TCP, 4000), time.Hour)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(unhex(t, "00 01 0000 0fa0 0000 00000000"), pmpMapRequest(wish(UDP, 4000), 0)); d != "" {
		t.Errorf("removal: %s", d)
	}
	a, err := parsePMP(unhex(t, pmpResponseHex), pmpMapTCP)
	if want := (pmpAnswer{epoch: 123, internal: 4000, external: 4001, lifetime: time.Hour}); err != nil || a != want {
		t.Errorf("got %+v, %v", a, err)
	}
	a, err = parsePMP(unhex(t, pmpAddressHex), pmpAddress)
	if want := (pmpAnswer{epoch: 123, address: external}); err != nil || a != want {
		t.Errorf("got %+v, %v", a, err)
	}
	a, err = parsePMP(unhex(t, "00 80 0002 0000007b"), pmpAddress)
	if err != nil || a.result != 2 || pmpResult(a.result) != "not authorized" {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestMalformed(t *testing.T) {
	pcpMapAnswer, pmpMapAnswer := unhex(t, pcpResponseHex), unhex(t, pmpResponseHex)
	for n := range pcpMapAnswer {
		if _, err := parsePCP(pcpMapAnswer[:n], opMap); !errors.Is(err, errPCP) {
			t.Errorf("PCP, %d bytes: %v", n, err)
		}
	}
	for n := range pmpMapAnswer {
		if _, err := parsePMP(pmpMapAnswer[:n], pmpMapTCP); !errors.Is(err, errPMP) {
			t.Errorf("NAT-PMP, %d bytes: %v", n, err)
		}
	}
	if _, err := parsePCP(make([]byte, maxDatagram+1), opMap); !errors.Is(err, errPCP) {
		t.Errorf("PCP, too long: %v", err)
	}
	// One's request is not an answer, nor the answer to something else.
	if _, err := parsePCP(unhex(t, pcpRequestHex), opMap); !errors.Is(err, errPCP) {
		t.Errorf("PCP request: %v", err)
	}
	if _, err := parsePMP(pmpMapAnswer, pmpMapUDP); !errors.Is(err, errPMP) {
		t.Errorf("NAT-PMP, other opcode: %v", err)
	}
}

func TestRefusesVersion(t *testing.T) {
	for s, want := range map[string]bool{
		"00 81 0001 00000001": true, "02 81 00 01 00000000": true,
		pcpResponseHex: false, pmpResponseHex: false, "02 01 00 01": false, "": false, "0081": false,
	} {
		if got := refusesVersion(unhex(t, s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
}

const searchAnswer = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n" +
	"USN: uuid:x::urn\r\nEXT:\r\nSERVER: Debian UPnP/1.1 MiniUPnPd/2.3.1\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"

func TestSearchAnswer(t *testing.T) {
	u, err := parseSearchAnswer([]byte(searchAnswer), home.gateway)
	if err != nil || u.String() != "http://192.168.1.1:5000/rootDesc.xml" {
		t.Errorf("got %v, %v", u, err)
	}
	for _, bad := range []string{
		"http://192.168.1.2:5000/rootDesc.xml", "https://192.168.1.1/x", "http://router.local/x", "http://192.168.1.1@8.8.8.8/x",
		"http://user@192.168.1.1/x", "http://192.168.1.1:0/x", "http://192.168.1.1:99999/x", "/rootDesc.xml", "", "http://127.0.0.1:80/", "file:///etc/passwd",
		"http://[::ffff:192.168.1.1]/",
	} {
		b := strings.Replace(searchAnswer, "http://192.168.1.1:5000/rootDesc.xml", bad, 1)
		if u, err := parseSearchAnswer([]byte(b), home.gateway); err == nil {
			t.Errorf("%q is taken as %v", bad, u)
		}
	}
	for _, b := range []string{
		"", "M-SEARCH * HTTP/1.1\r\n\r\n", strings.Replace(searchAnswer, "200 OK", "301 Moved", 1),
		searchAnswer + strings.Repeat("x", maxSearchAnswer),
	} {
		if u, err := parseSearchAnswer([]byte(b), home.gateway); err == nil {
			t.Errorf("%.40q is taken as %v", b, u)
		}
	}
}

const deviceDescription = `<?xml version="1.0" encoding="ISO-8859-1"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>1</minor></specVersion>
<URLBase> http://192.168.1.1:5000/ </URLBase>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><friendlyName>K` + "\xfc" + `che</friendlyName>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/ctl/L3F</controlURL></service></serviceList>
<deviceList><device><deviceList><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType><controlURL>/ctl/PPP</controlURL></service>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>x</serviceId><controlURL>/ctl/IPConn</controlURL></service>
</serviceList></device></deviceList></device></deviceList></device></root>`

func TestDescription(t *testing.T) {
	want := []wanService{{wanKinds[1], "/ctl/IPConn"}, {wanKinds[2], "/ctl/PPP"}}
	base, got, err := parseDescription([]byte(strings.ReplaceAll(deviceDescription, "\xfc", "u")))
	if d := cmp.Diff(want, got, cmp.AllowUnexported(wanService{})); d != "" || err != nil || base != "http://192.168.1.1:5000/" {
		t.Errorf("base %q, %v, %s", base, err, d)
	}
	for name, b := range map[string]string{
		"cut":           deviceDescription[:300],
		"deep":          strings.Repeat("<a>", maxDepth+1),
		"many services": strings.Repeat("<service><serviceType>x</serviceType><controlURL>x</controlURL></service>", maxServices+1),
		"large":         strings.Repeat(" ", maxDescription+1),
	} {
		if _, _, err := parseDescription([]byte(b)); !errors.Is(err, errXML) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const soapFault = `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>
<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">
<errorCode>718</errorCode><errorDescription>ConflictInMappingEntry</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>`

const soapAnswer = `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<u:GetExternalIPAddressResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1"><NewExternalIPAddress>11.0.0.1</NewExternalIPAddress>
</u:GetExternalIPAddressResponse></s:Body></s:Envelope>`

func TestSOAP(t *testing.T) {
	if _, code, err := parseSOAP([]byte(soapFault)); code != faultConflict || err != nil {
		t.Errorf("code %q, %v", code, err)
	}
	values, code, err := parseSOAP([]byte(soapAnswer))
	if values["NewExternalIPAddress"] != "11.0.0.1" || code != "" || err != nil {
		t.Errorf("got %v, %q, %v", values, code, err)
	}
	call := string(appendSOAP(nil, wanKinds[0], "Act", []argument{{"A", "<&>"}}))
	if !strings.Contains(call, `<u:Act xmlns:u="`+wanKinds[0]+`"><A>&lt;&amp;&gt;</A></u:Act>`) {
		t.Error(call)
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{pcpRequestHex, pcpResponseHex, pcpAnnounceHex, pmpRequestHex, pmpResponseHex, pmpAddressHex} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		refusesVersion(b)
		if a, err := parsePCP(b, opMap); err == nil {
			// What matters of it goes through a request and back.
			m := Mapping{Net: TCP, Internal: a.internal, External: a.external}
			again := pcpMapRequest(m, a.nonce, a.lifetime, home.local)
			again[1] |= opResponse
			got, err := parsePCP(again, opMap)
			if err != nil || got.external != a.external || got.internal != a.internal || got.nonce != a.nonce || got.lifetime != a.lifetime {
				t.Errorf("%+v became %+v, %v", a, got, err)
			}
		}
		for _, opcode := range []uint8{pmpAddress, pmpMapUDP, pmpMapTCP} {
			if a, err := parsePMP(b, opcode); err == nil && a.result == 0 && (opcode == pmpAddress) != a.address.IsValid() {
				t.Errorf("opcode %d: %+v", opcode, a)
			}
		}
	})
}

func FuzzSearchAnswer(f *testing.F) {
	f.Add([]byte(searchAnswer))
	f.Add([]byte("HTTP/1.1 200 OK\r\nLocation: http://192.168.1.1:0/\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseSearchAnswer(b, home.gateway)
		if err == nil && (u.Scheme != "http" || u.Hostname() != home.gateway.String()) {
			t.Errorf("location %v", u)
		}
	})
}

func FuzzXML(f *testing.F) {
	for _, s := range []string{deviceDescription, soapFault, soapAnswer, strings.Repeat("<a>", 40), "<a/></a>"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, services, err := parseDescription(b); err == nil && len(services) > maxServices {
			t.Errorf("%d services", len(services))
		}
		values, _, _ := parseSOAP(b)
		for name, v := range values {
			if len(v) > maxValue || len(values) > maxValues {
				t.Errorf("%.40q has %d bytes, of %d values", name, len(v), len(values))
			}
		}
	})
}
