package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/manifest/vectortest"
)

// messages has one of each type, with every field set.
func messages() []Message {
	object := manifest.ObjectID(bytes.Repeat([]byte{0x0b}, 32))
	a, b := KeyOf(public(testKey(4))), KeyOf(public(testKey(5)))
	sig := bytes.Repeat([]byte{0xfb}, 64)
	addrs := []Addr{{Net: "tcp", Addr: "192.0.2.7:7001", Kind: "host"}, {Net: "udp", Addr: "[2001:db8::1]:7001", Kind: "mapped"}}
	return []Message{
		{Type: MsgChallenge, Challenge: &Challenge{Version: ControlVersion, Nonce: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}},
		{Type: MsgLogin, Login: &Login{Version: ControlVersion, Installation: a, Session: b, InstallSig: sig, SessionSig: sig, Agent: "tandem/0.1"}},
		{Type: MsgWelcome, Welcome: &Welcome{Session: "s1", You: "198.51.100.4:40000", STUN: []string{":3478", "stun.example.org:3479"}, Refresh: 120}},
		{Type: MsgUpdate, Update: &Update{Addrs: addrs, NAT: NATCone, Uploads: true, Uplink: 16384, Load: 40}},
		{Type: MsgJoin, Join: &Join{Object: object, Grant: "eyJ.e30.c2ln", Have: 3, Total: 1024, Want: 20}},
		{Type: MsgPeers, Peers: &Peers{Object: object, Policy: Policy{P2P: P2POn}, Peers: []Candidate{{Key: a, Addrs: addrs, NAT: NATOpen, Uploads: true, Seed: true, Uplink: 5000, Near: NearAS}, {Key: b, Addrs: []Addr{}}}}},
		{Type: MsgFind, Find: &Find{Object: object, Want: 10, Except: []Key{a}, Have: 4}},
		{Type: MsgLeave, Leave: &Leave{Object: object}},
		{Type: MsgReport, Report: &Report{
			ID: "r-1", Object: object, Grant: "eyJ.e30.c2ln", Session: b, Size: 1000, FromEdge: 400, FromPeers: 600, Wasted: 1, Millis: 1500, Complete: true,
			Receipts: []PeerReceipt{{Uploader: a, Bytes: 600, Signature: sig}},
		}},
		{Type: MsgLinks, Links: &Links{Object: object, Made: []Key{a}, Failed: []Key{b}}},
		{Type: MsgAck, Ack: &Ack{ID: "r-1"}},
		{Type: MsgBlame, Blame: &Blame{Object: object, Peer: a, Reason: "corrupt"}},
		{Type: MsgError, Error: &Error{Code: CodeBadGrant, Message: "grant expired", Object: &object, Retry: 30}},
		{Type: MsgError, Error: &Error{Code: CodeBadReport, Message: "receipts for more bytes than came from peers", Report: "r-1"}},
	}
}

type badMessage struct {
	Name   string `json:"name"`
	Text   string `json:"text"`
	Reason string `json:"reason"`
}

type controlFile struct {
	About  string            `json:"about"`
	Valid  []json.RawMessage `json:"valid"`
	Skip   []json.RawMessage `json:"skip"`
	Reject []badMessage      `json:"reject"`
}

func badMessages() []badMessage {
	return []badMessage{
		{"nothing", "", "a message is a JSON object"},
		{"no JSON", "hello", "a message is a JSON object"},
		{"an array", "[]", "a message is a JSON object"},
		{"two objects", `{"type":"x"}{}`, "a message is one JSON object"},
		{"no body", `{"type":"ack"}`, "the body has the name of the type"},
		{"body of another type", `{"type":"ack","leave":{"object":"` + strings.Repeat("0b", 32) + `"}}`, "the body has the name of the type"},
		{"body is null", `{"type":"join","join":null}`, "the body has the name of the type"},
		{"object ID too short", `{"type":"leave","leave":{"object":"0b"}}`, "an Object ID has 64 hexadecimal digits"},
		{"object ID is no hex", `{"type":"leave","leave":{"object":"` + strings.Repeat("zz", 32) + `"}}`, "an Object ID has 64 hexadecimal digits"},
		{"key too short", `{"type":"blame","blame":{"object":"` + strings.Repeat("0b", 32) + `","peer":"AAAA","reason":"liar"}}`, "a key has 32 bytes in base64url"},
		{"key with padding", `{"type":"blame","blame":{"object":"` + strings.Repeat("0b", 32) + `","peer":"` + strings.Repeat("A", 43) + `=","reason":"liar"}}`, "base64url without padding"},
		{"key with a line end", `{"type":"blame","blame":{"object":"` + strings.Repeat("0b", 32) + `","peer":"` + strings.Repeat("A", 43) + `\n","reason":"liar"}}`, "a key has 43 characters"},
		{"key with stray bits", `{"type":"blame","blame":{"object":"` + strings.Repeat("0b", 32) + `","peer":"` + strings.Repeat("A", 42) + `B","reason":"liar"}}`, "unused bits are 0"},
		{"more pieces than there are", `{"type":"join","join":{"object":"` + strings.Repeat("0b", 32) + `","grant":"g","have":2,"total":1,"want":1}}`, "have is at most total"},
		{"negative count", `{"type":"join","join":{"object":"` + strings.Repeat("0b", 32) + `","grant":"g","have":0,"total":1,"want":-1}}`, "counts are not negative"},
		{"too many pieces", `{"type":"join","join":{"object":"` + strings.Repeat("0b", 32) + `","grant":"g","have":0,"total":1048577,"want":1}}`, "objects have at most 2^20 pieces"},
		{"too many addresses", `{"type":"update","update":{"addrs":[` + strings.Repeat(`{"net":"udp","addr":"192.0.2.1:1","kind":"host"},`, 16) + `{"net":"udp","addr":"192.0.2.1:1","kind":"host"}]}}`, "at most 16 addresses"},
		{"long grant", `{"type":"join","join":{"object":"` + strings.Repeat("0b", 32) + `","grant":"` + strings.Repeat("g", MaxGrant+1) + `","have":0,"total":1,"want":1}}`, "grants have at most 4096 bytes"},
	}
}

func TestVectorsControl(t *testing.T) {
	want := controlFile{
		About: "Messages between clients and control. skip: types this version does not know.",
		Skip: []json.RawMessage{
			json.RawMessage(`{"type":"to-come","to-come":{"x":1}}`),
			json.RawMessage(`{}`),
		},
		Reject: badMessages(),
	}
	for _, m := range messages() {
		want.Valid = append(want.Valid, marshal(t, m))
	}
	got := vectortest.Check(t, "control.json", want)
	for i, raw := range got.Valid {
		m, err := ParseMessage(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(messages()[i], *m); diff != "" {
			t.Error(diff)
		}
	}
	for _, raw := range got.Skip {
		if m, err := ParseMessage(raw); err != nil {
			t.Errorf("%s: %+v, %v", raw, m, err)
		}
	}
	for _, v := range got.Reject {
		if m, err := ParseMessage([]byte(v.Text)); err == nil {
			t.Errorf("%s was read as %+v: %s", v.Name, m, v.Reason)
		}
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	m, err := ParseMessage([]byte(`{"type":"ack","ack":{"id":"r","more":[1]},"other":{}}`))
	if err != nil || m.Ack.ID != "r" {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestMessageLimits(t *testing.T) {
	object := manifest.ObjectID{1}
	for name, m := range map[string]Message{
		"peers":     {Type: MsgPeers, Peers: &Peers{Object: object, Peers: make([]Candidate, MaxCandidates+1)}},
		"addresses": {Type: MsgPeers, Peers: &Peers{Object: object, Peers: []Candidate{{Addrs: make([]Addr, MaxAddrs+1)}}}},
		"receipts":  {Type: MsgReport, Report: &Report{Receipts: make([]PeerReceipt, MaxReceipts+1)}},
		"grant":     {Type: MsgReport, Report: &Report{Grant: strings.Repeat("g", MaxGrant+1)}},
		"outcomes":  {Type: MsgLinks, Links: &Links{Object: object, Made: make([]Key, MaxOutcomes), Failed: make([]Key, 1)}},
		"find":      {Type: MsgFind, Find: &Find{Want: -1}},
		"size":      {Type: MsgAck, Ack: &Ack{ID: strings.Repeat("x", MaxControlMessage)}},
	} {
		if _, err := ParseMessage(marshal(t, m)); err == nil {
			t.Errorf("%s over the limit passed", name)
		}
	}
	// What is allowed fits into one message.
	full := Message{Type: MsgReport, Report: &Report{ID: "r", Grant: strings.Repeat("g", MaxGrant)}}
	for range MaxReceipts {
		full.Report.Receipts = append(full.Report.Receipts, PeerReceipt{Uploader: Key{1}, Bytes: 1 << 62, Signature: make([]byte, 64)})
	}
	peers := Message{Type: MsgPeers, Peers: &Peers{Object: object, Policy: Policy{P2P: P2PSameCountry}}}
	for range MaxCandidates {
		c := Candidate{Key: Key{1}, NAT: NATSymmetric, Uploads: true, Seed: true, Uplink: 1 << 31}
		for i := range MaxAddrs {
			c.Addrs = append(c.Addrs, Addr{Net: "udp", Addr: fmt.Sprintf("[2001:db8:1111:2222:3333:4444:5555:%d]:65535", 6660+i), Kind: "mapped"})
		}
		peers.Peers.Peers = append(peers.Peers.Peers, c)
	}
	for _, m := range []Message{full, peers} {
		b := marshal(t, m)
		if _, err := ParseMessage(b); err != nil {
			t.Errorf("%s of %d bytes: %v", m.Type, len(b), err)
		}
	}
}

func TestLoginNameIsCleaned(t *testing.T) {
	b := marshal(t, Message{Type: MsgLogin, Login: &Login{Agent: "evil\n" + strings.Repeat("x", 100)}})
	m, err := ParseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	if a := m.Login.Agent; len(a) != MaxAgent || strings.Contains(a, "\n") {
		t.Fatalf("agent %q", a)
	}
}

func TestKeyText(t *testing.T) {
	k := KeyOf(public(testKey(1)))
	var back Key
	if err := back.UnmarshalText([]byte(k.String())); err != nil || back != k {
		t.Fatalf("%v, %v", back, err)
	}
	if !k.Public().Equal(public(testKey(1))) || !strings.HasPrefix(k.String(), k.Short()) {
		t.Fatal("the key has changed")
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range messages() {
		f.Add(marshal(f, m))
	}
	for _, m := range badMessages() {
		f.Add([]byte(m.Text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		again := marshal(t, m)
		if len(again) > MaxControlMessage {
			return // escapes may make it longer
		}
		m2, err := ParseMessage(again)
		if err != nil {
			t.Fatalf("%s became %s: %v", b, again, err)
		}
		if !bytes.Equal(marshal(t, m2), again) {
			t.Fatalf("%s became %s", again, marshal(t, m2))
		}
	})
}

type wellKnownFile struct {
	About  string            `json:"about"`
	Valid  []json.RawMessage `json:"valid"`
	Reject []badMessage      `json:"reject"`
}

func TestVectorsWellKnown(t *testing.T) {
	k := public(testKey(1))
	docs := []WellKnown{
		{Version: 1, Control: []string{"wss://control.example.org/v1"}, Keys: NewJWKS(k), Grants: "/.tandem/grant"},
		{Version: 1, Control: []string{"/.tandem/control"}, Keys: NewJWKS(k, public(testKey(2))), Grants: "https://control.example.org/grant", Manifests: "/.tandem/m{path}", Chunks: "/.tandem/c{path}", Mirrors: []string{"https://mirror.example.org/"}},
	}
	want := wellKnownFile{
		About: "Documents at /.well-known/tandem.",
		Reject: []badMessage{
			{"nothing", "", "the document is a JSON object"},
			{"no version", "{}", "the version is 1"},
			{"later version", `{"version":2}`, "the version is 1"},
			{"key too short", `{"version":1,"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}}`, "a key has 32 bytes in base64url"},
			{"control is no list", `{"version":1,"control":"wss://x"}`, "control is a list"},
		},
	}
	for _, d := range docs {
		want.Valid = append(want.Valid, marshal(t, d))
	}
	got := vectortest.Check(t, "wellknown.json", want)
	for i, raw := range got.Valid {
		w, err := ParseWellKnown(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(&docs[i], w); diff != "" {
			t.Error(diff)
		}
	}
	for _, v := range got.Reject {
		if _, err := ParseWellKnown([]byte(v.Text)); err == nil {
			t.Errorf("%s was accepted: %s", v.Name, v.Reason)
		}
	}
}

// Keys of other kinds do not make the document unreadable, but are not used.
func TestForeignKeys(t *testing.T) {
	doc := `{"version":1,"jwks":{"keys":[
		{"kty":"RSA","n":"AQAB","e":"AQAB"},
		{"kty":"OKP","crv":"X25519","x":"` + KeyOf(public(testKey(2))).String() + `"},
		{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
		{"kty":"OKP","crv":"Ed448","x":"X9dEm1m0Yf0s54fsYWrUah2hNCSFpw4fig6nXYDpZ3jt8SR2m0bHBhvWeD3x5Q9s0foavq_oJWGA"},
		{"kty":"OKP","crv":"Ed25519","x":"` + KeyOf(public(testKey(1))).String() + `"}]}}`
	w, err := ParseWellKnown([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if keys := w.Keys.Public(); len(keys) != 1 || !keys[0].Equal(public(testKey(1))) {
		t.Fatalf("keys %v", keys)
	}
}

func TestWellKnownLimit(t *testing.T) {
	big := append([]byte(`{"version":1}`), bytes.Repeat([]byte(" "), MaxWellKnown)...)
	if _, err := ParseWellKnown(big); err == nil {
		t.Fatal("a document over the limit was read")
	}
}

func FuzzWellKnown(f *testing.F) {
	f.Add(marshal(f, WellKnown{Version: 1, Control: []string{"/c"}, Keys: NewJWKS(public(testKey(1))), Grants: "/g", Mirrors: []string{"https://m/"}}))
	f.Add([]byte(`{"version":1,"jwks":{"keys":[{"kty":"RSA"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := ParseWellKnown(b)
		if err != nil {
			return
		}
		again := marshal(t, w)
		w2, err := ParseWellKnown(again)
		if err != nil && len(again) <= MaxWellKnown {
			t.Fatalf("%s became %s: %v", b, again, err)
		}
		if err == nil && !bytes.Equal(marshal(t, w2), again) {
			t.Fatal(errors.New("not a fixpoint"))
		}
	})
}
