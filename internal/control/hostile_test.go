package control

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestHostileLogins(t *testing.T) {
	n := start(t, Config{})
	earlier := dial(t, n, "")
	old := earlier.want(wire.MsgChallenge).Challenge.Nonce
	for name, x := range map[string]struct {
		spoil func(c *client, l *wire.Login)
		code  string
	}{
		"nonce of another session": {func(c *client, l *wire.Login) { *l = c.loginTo(old) }, wire.CodeBadLogin},
		"session not signed":       {func(_ *client, l *wire.Login) { l.SessionSig = nil }, wire.CodeBadLogin},
		"installation not signed":  {func(_ *client, l *wire.Login) { l.InstallSig[5] ^= 1 }, wire.CodeBadLogin},
		"keys swapped":             {func(_ *client, l *wire.Login) { l.Installation, l.Session = l.Session, l.Installation }, wire.CodeBadLogin},
		"version":                  {func(_ *client, l *wire.Login) { l.Version = 99 }, wire.CodeVersion},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, n, "")
			l := c.loginTo(c.want(wire.MsgChallenge).Challenge.Nonce)
			x.spoil(c, &l)
			c.send(wire.Message{Type: wire.MsgLogin, Login: &l})
			c.ended(x.code)
		})
	}
	t.Run("no login first", func(t *testing.T) {
		c := dial(t, n, "")
		c.want(wire.MsgChallenge)
		c.send(wire.Message{Type: wire.MsgLeave, Leave: &wire.Leave{}})
		c.ended(wire.CodeBadMessage)
	})
}

func TestHostileMessages(t *testing.T) {
	n := start(t, Config{})
	addrs := strings.Repeat(`{"net":"tcp","addr":"1.2.3.4:5","kind":"host"},`, 17)
	for name, b := range map[string]string{
		"no JSON":       "\x00\x01",
		"no body":       `{"type":"join"}`,
		"addresses":     `{"type":"update","update":{"addrs":[` + strings.TrimSuffix(addrs, ",") + `]}}`,
		"second login":  `{"type":"login","login":{}}`,
		"pieces":        `{"type":"join","join":{"object":"` + object.String() + `","have":5,"total":3}}`,
		"pieces beyond": `{"type":"join","join":{"object":"` + object.String() + `","total":99999999}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, n, "").login()
			c.sendRaw([]byte(b))
			c.ended(wire.CodeBadMessage)
		})
	}
	t.Run("huge", func(t *testing.T) {
		c := dial(t, n, "").login()
		c.sendRaw([]byte(`{"type":"x","x":"` + strings.Repeat("x", wire.MaxControlMessage) + `"}`))
		if _, err := c.read(); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		c := dial(t, n, "").login()
		c.sendRaw([]byte(`{"type":"from-the-future","leave":null,"future":{}}`))
		c.join(newKey(t), object, 0)
	})
	t.Run("binary", func(t *testing.T) {
		c := dial(t, n, "").login()
		if err := c.ws.Write(t.Context(), websocket.MessageBinary, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.read(); err == nil {
			t.Fatal("binary message was answered")
		}
	})
}

// A flood is read slowly, and a client that does not read its answers is
// dropped; nobody else notices.
func TestFloodAndSlowReader(t *testing.T) {
	n := start(t, Config{})
	flooder := dial(t, n, "203.0.113.7").login()
	go func() {
		b := []byte(`{"type":"find","find":{"object":"` + object.String() + `","want":40}}`)
		for flooder.ws.Write(t.Context(), websocket.MessageText, b) == nil {
		}
	}()
	other := dial(t, n, "203.0.113.8").login()
	began := time.Now()
	for i := range 20 {
		other.join(newKey(t), manifest.ObjectID{byte(i)}, 40)
	}
	if d := time.Since(began); d > patience/2 {
		t.Errorf("joins took %v during a flood", d)
	}
	if got := n.counters.messages.Load(); got > 20+messageBurst+messageRate*int64(1+time.Since(began)/time.Second) {
		t.Errorf("%d messages were read", got)
	}
	// Fill the queue of a session that does not read: its writer stands still as
	// soon as the sockets' buffers are full.
	eventually(t, "the flooder is known", func() bool { return n.sessionFor(public(flooder.session)) != nil })
	s := n.sessionFor(public(flooder.session))
	big := wire.Message{Type: wire.MsgError, Error: &wire.Error{Message: strings.Repeat("x", 60<<10)}}
	eventually(t, "the slow reader is dropped", func() bool {
		s.send(big)
		return n.sessionFor(public(flooder.session)) == nil
	})
	if n.counters.slow.Load() == 0 {
		t.Error("the drop was not counted")
	}
}

func TestBlameQuarantines(t *testing.T) {
	n := start(t, Config{})
	publisher := newKey(t)
	var clients []*client
	for i := range 4 {
		c := dial(t, n, fmt.Sprintf("203.0.%d.1", 113+i)).login()
		c.update(fmt.Sprintf("203.0.%d.1:4000", 113+i))
		c.join(publisher, object, 40)
		clients = append(clients, c)
	}
	bad := clients[0]
	blame := wire.Message{Type: wire.MsgBlame, Blame: &wire.Blame{Object: object, Peer: public(bad.session), Reason: "corrupt"}}
	peer := n.sessionFor(public(bad.session)).peer
	// Somebody who never met the peer is not heard, one reporter is not enough
	// however often it says so.
	stranger := dial(t, n, "192.0.2.1").login()
	stranger.send(blame)
	for range 3 {
		clients[1].send(blame)
	}
	clients[1].send(wire.Message{Type: wire.MsgFind, Find: &wire.Find{Object: object}})
	eventually(t, "one reporter is counted", func() bool { return peer.Blamed() == 1 && n.counters.blamed.Load() == 3 })
	clients[2].send(blame)
	eventually(t, "the peer is in quarantine", func() bool { return peer.Blamed() == 2 })
	late := dial(t, n, "203.0.120.1").login()
	late.update("203.0.120.1:4000")
	for _, p := range late.join(publisher, object, 40).Peers {
		if p.Key == public(bad.session) {
			t.Fatal("a peer in quarantine was handed out")
		}
	}
	// A new session of the same installation is in quarantine, too, for an hour.
	again := dial(t, n, "203.0.121.1")
	again.installation = bad.installation
	again.login()
	eventually(t, "quarantine is of the installation", func() bool {
		s := n.sessionFor(public(again.session))
		return s != nil && s.peer.Blamed() == 2
	})
	n.expire(n.cfg.Now().Add(2 * quarantineFor))
	if peer.Blamed() != 0 || n.blames.count() != 0 {
		t.Error("quarantine does not end")
	}
}

// What became of pairs is heard of those that control has made, once, and not
// too often; a pair that failed is not made again soon.
func TestLinks(t *testing.T) {
	n := start(t, Config{})
	publisher := newKey(t)
	object := manifest.ObjectID{9}
	client := func(i int) *client {
		addr := fmt.Sprintf("203.0.%d.1", i)
		c := dial(t, n, addr).login()
		c.update(addr + ":4000")
		return c
	}
	a, b := client(1), client(2)
	a.join(publisher, object, 40)
	got := b.join(publisher, object, 40).Peers
	if len(got) != 1 || got[0].Near != 0 {
		t.Fatalf("candidates %+v", got)
	}
	failed := wire.Message{Type: wire.MsgLinks, Links: &wire.Links{Object: object, Failed: []wire.Key{public(a.session)}}}
	counted := func(want int64) {
		t.Helper()
		eventually(t, "outcomes are counted", func() bool { return n.counters.links.Load() == want })
	}
	handled := func(want int64) {
		t.Helper()
		eventually(t, "messages are read", func() bool { return n.counters.messages.Load() == want })
	}
	before := n.counters.messages.Load()
	stranger := client(3)
	stranger.send(failed)
	handled(before + 2)
	counted(0)
	b.send(failed)
	counted(1)
	n.ahead.Add(int64(2 * linksEvery))
	b.send(failed)
	find := wire.Message{Type: wire.MsgFind, Find: &wire.Find{Object: object, Want: 40}}
	b.send(find)
	if again := b.want(wire.MsgPeers).Peers.Peers; len(again) != 0 {
		t.Errorf("handed out again: %+v", again)
	}
	counted(1)
	n.ahead.Add(int64(failedAgain))
	b.send(find)
	if again := b.want(wire.MsgPeers).Peers.Peers; len(again) != 1 {
		t.Error("not handed out later either")
	}
}

// The number of addresses that one installation learns is bounded.
func TestHarvest(t *testing.T) {
	n := start(t, Config{})
	now := n.cfg.Now()
	harvester := wire.Key{1}
	learnt := 0
	for i := range 1000 {
		site := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, 0, byte(i >> 8), byte(i)}), 32)
		if n.learned.may(harvester, site, now) {
			learnt++
		}
	}
	if learnt != newAddrs {
		t.Errorf("%d addresses were learnt, want %d", learnt, newAddrs)
	}
	n.expire(now.Add(2 * time.Hour))
	if !n.learned.may(harvester, netip.MustParsePrefix("30.0.0.1/32"), now.Add(2*time.Hour)) {
		t.Error("nothing may be learnt an hour later")
	}
}

func TestLimits(t *testing.T) {
	n := start(t, Config{MaxSessions: 2})
	dial(t, n, "").login()
	dial(t, n, "").login()
	_, res, err := websocket.Dial(t.Context(), n.srv.URL+"/v1/session", nil) //nolint:bodyclose // Dial says: never needed
	if err == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Fatalf("a third session: %v", err)
	}
	s := sites{m: map[netip.Prefix]*site{}}
	now := time.Now()
	in := 0
	for range 2 * loginBurst {
		if s.enter(netip.MustParseAddr("203.0.113.1"), now) == nil {
			in++
		}
	}
	if in != siteSessions {
		t.Errorf("%d sessions of one address", in)
	}
	if s.enter(netip.MustParseAddr("203.0.113.2"), now) != nil {
		t.Error("another address is refused, too")
	}
}

func TestSwarmLimit(t *testing.T) {
	n := start(t, Config{})
	c := dial(t, n, "").login()
	eventually(t, "registered", func() bool { return n.sessionFor(public(c.session)) != nil })
	s := n.sessionFor(public(c.session))
	publisher := newKey(t)
	// The reading goroutine is idle: nothing was sent yet.
	for i := range maxSwarms {
		s.swarms[manifest.ObjectID{0xff, byte(i), byte(i >> 8)}] = membership{}
	}
	c.send(wire.Message{Type: wire.MsgJoin, Join: &wire.Join{Object: object, Grant: c.grant(publisher, object, time.Now().Add(time.Hour)), Total: 1}})
	if e := c.want(wire.MsgError).Error; e.Code != wire.CodeOverload || e.Retry == 0 {
		t.Errorf("error %+v", e)
	}
}

// No message makes control fail, whatever it says.
func FuzzMessages(f *testing.F) {
	c, err := New(Config{Data: f.TempDir(), NoSTUN: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	_, publisher, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	key := wire.Key{1}
	token, err := grant.Sign(grant.Claims{Object: object, Key: key, Expires: time.Now().Add(time.Hour)}, publisher, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []wire.Message{
		{Type: wire.MsgUpdate, Update: &wire.Update{Uploads: true, Addrs: []wire.Addr{{Net: "tcp", Addr: "1.2.3.4:5000", Kind: "host"}}}},
		{Type: wire.MsgJoin, Join: &wire.Join{Object: object, Grant: token, Have: 1, Total: 2, Want: 40}},
		{Type: wire.MsgFind, Find: &wire.Find{Object: object, Want: 40, Except: []wire.Key{{}}}},
		{Type: wire.MsgLeave, Leave: &wire.Leave{Object: object}},
		{Type: wire.MsgBlame, Blame: &wire.Blame{Object: object, Reason: "liar"}},
		{Type: wire.MsgReport, Report: &wire.Report{ID: "x", Object: object, Grant: token, Session: key, Receipts: []wire.PeerReceipt{{}}}},
	} {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	addr := netip.MustParseAddrPort("1.2.3.4:5")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.ParseMessage(b)
		if err != nil {
			t.Skip()
		}
		s := &session{
			c: c, log: c.log, addr: addr, peer: directory.NewPeer(key, directory.PlaceOf(addr.Addr(), 0, "")),
			out: make(chan []byte, sendQueue), cancel: func(error) {}, ending: make(chan struct{}),
			swarms: map[manifest.ObjectID]membership{object: {}},
		}
		_ = s.handle(m) // refused or not
		if len(s.swarms) > 2 {
			t.Fatal("one message joined two swarms")
		}
	})
}
