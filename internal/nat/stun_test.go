package nat

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v4"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The sample responses of RFC 5769 §2.2 and §2.3.
const (
	sampleIPv4 = `0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
		8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643
		00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96`
	sampleIPv6 = `01010048 2112a442 b7e7a701 bc34d686 fa87dfae
		8022000b 74657374 20766563 746f7220 00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
		00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c`
)

func TestParseResponse(t *testing.T) {
	cases := map[string]struct{ message, want string }{
		"IPv4, RFC 5769":           {sampleIPv4, "192.0.2.1:32853"},
		"IPv6, RFC 5769":           {sampleIPv6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
		"plain address of old":     {"0101000c 2112a442 000102030405060708090a0b 00010008 00018055 c0000201", "192.0.2.1:32853"},
		"request":                  {"00010000 2112a442 000102030405060708090a0b", ""},
		"error response":           {"01110000 2112a442 000102030405060708090a0b", ""},
		"no address":               {"01010000 2112a442 000102030405060708090a0b", ""},
		"no cookie":                {"0101000c 00000000 000102030405060708090a0b 00010008 00018055 c0000201", ""},
		"length beyond":            {"01010010 2112a442 000102030405060708090a0b 00010008 00018055 c0000201", ""},
		"attribute beyond":         {"0101000c 2112a442 000102030405060708090a0b 00010009 00018055 c0000201", ""},
		"IPv6 in four bytes":       {"0101000c 2112a442 000102030405060708090a0b 00010008 00028055 c0000201", ""},
		"port 0":                   {"0101000c 2112a442 000102030405060708090a0b 00010008 00010000 c0000201", ""},
		"multicast":                {"0101000c 2112a442 000102030405060708090a0b 00010008 00018055 e0000001", ""},
		"empty":                    {"", ""},
		"attribute without a body": {"01010004 2112a442 000102030405060708090a0b 00200000", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, got, err := parseResponse(unhex(t, c.message))
			if c.want == "" {
				if !errors.Is(err, errSTUN) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil || got.String() != c.want {
				t.Errorf("got %v, %v; want %s", got, err, c.want)
			}
		})
	}
}

// Another implementation understands our requests and answers, and we its own.
func TestSpeaksWithOthers(t *testing.T) {
	id := newTransaction()
	req := &stun.Message{Raw: request(id)}
	if err := req.Decode(); err != nil || req.Type != stun.BindingRequest {
		t.Fatalf("request reads as %v, %v", req.Type, err)
	}
	for _, addr := range []string{"192.0.2.7:4242", "[2001:db8::7]:4242", "[::ffff:192.0.2.7]:4242"} {
		from := netip.MustParseAddrPort(addr)
		want := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())

		answer := &stun.Message{Raw: Answer(req.Raw, from)}
		var mapped stun.XORMappedAddress
		if err := errors.Join(answer.Decode(), mapped.GetFrom(answer)); err != nil {
			t.Fatal(err)
		}
		if got := mapped.String(); got != want.String() || answer.TransactionID != id {
			t.Errorf("our answer reads as %s, want %s", got, want)
		}
		if len(answer.Raw) > 44 {
			t.Errorf("answer of %d bytes", len(answer.Raw))
		}

		theirs, err := stun.Build(req, stun.BindingSuccess,
			stun.NewSoftware("another"), &stun.XORMappedAddress{IP: want.Addr().AsSlice(), Port: int(want.Port())}, stun.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		gotID, got, err := parseResponse(theirs.Raw)
		if err != nil || gotID != id || got != want {
			t.Errorf("their answer reads as %v, %v; want %s", got, err, want)
		}
	}
}

func TestAnswerIgnoresOtherPackets(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.7:4242")
	good := request(newTransaction())
	for _, bad := range [][]byte{nil, good[:19], append(good[:20:20], 1, 2), unhex(t, sampleIPv4), bytes.Repeat([]byte{0xff}, 40)} {
		if got := Answer(bad, from); got != nil {
			t.Errorf("answered %x", bad)
		}
	}
	if Answer(good, from) == nil || Answer(good, netip.AddrPort{}) != nil {
		t.Error("a request is answered to whoever sent it, and only then")
	}
}

func FuzzParseResponse(f *testing.F) {
	f.Add(unhex(f, sampleIPv4))
	f.Add(unhex(f, sampleIPv6))
	f.Add(Answer(request(Transaction{1}), netip.MustParseAddrPort("[2001:db8::7]:4242")))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, addr, err := parseResponse(b)
		if err != nil {
			return
		}
		// What was understood can be said again.
		again, got, err := parseResponse(Answer(request(id), addr))
		if err != nil || again != id || got != addr {
			t.Fatalf("%v becomes %v, %v", addr, got, err)
		}
	})
}

func TestPossible(t *testing.T) {
	kinds := []wire.NAT{wire.NATUnknown, wire.NATOpen, wire.NATCone, wire.NATSymmetric, wire.NATBlocked}
	for _, a := range kinds {
		for _, b := range kinds {
			want := a != wire.NATBlocked && b != wire.NATBlocked && (a != wire.NATSymmetric || b != wire.NATSymmetric)
			if got := Possible(a, b); got != want || got != Possible(b, a) {
				t.Errorf("%q and %q: %v", a, b, got)
			}
		}
	}
}
