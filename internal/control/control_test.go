package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const patience = 10 * time.Second

// node is a control that runs behind a real HTTP server.
type node struct {
	*Control
	srv  *httptest.Server
	stop func()
	// ahead is added to the time of day.
	ahead atomic.Int64
}

func start(t *testing.T, cfg Config) *node {
	t.Helper()
	n := &node{}
	if cfg.Data == "" {
		cfg.Data = t.TempDir()
	}
	if cfg.STUN == nil {
		cfg.NoSTUN = true
	}
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) }
	// Test clients pretend to come from anywhere.
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Control = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	n.srv = httptest.NewServer(c.Handler())
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		n.srv.Close()
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(n.stop)
	return n
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(k ed25519.PrivateKey) wire.Key { return wire.KeyOf(k.Public().(ed25519.PublicKey)) }

// client speaks the protocol by hand, so that it can break it.
type client struct {
	t                     *testing.T
	ws                    *websocket.Conn
	installation, session ed25519.PrivateKey
	welcome               *wire.Welcome
}

func dial(t *testing.T, n *node, from string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h := http.Header{"Origin": {"https://elsewhere.example"}}
	if from != "" {
		h.Set("X-Forwarded-For", from)
	}
	ws, _, err := websocket.Dial(ctx, n.srv.URL+"/v1/session", &websocket.DialOptions{HTTPHeader: h}) //nolint:bodyclose // Dial says: never needed
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(wire.MaxControlMessage)
	t.Cleanup(func() { ws.CloseNow() })
	return &client{t: t, ws: ws, installation: newKey(t), session: newKey(t)}
}

func (c *client) send(m wire.Message) {
	c.t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.sendRaw(b)
}

func (c *client) sendRaw(b []byte) {
	c.t.Helper()
	if err := c.ws.Write(c.t.Context(), websocket.MessageText, b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	_, b, err := c.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	return wire.ParseMessage(b)
}

// want reads the next message, which must be of a type.
func (c *client) want(typ string) *wire.Message {
	c.t.Helper()
	m, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", typ, err)
	}
	if m.Type != typ {
		b, _ := json.Marshal(m)
		c.t.Fatalf("got %s, want %s", b, typ)
	}
	return m
}

func (c *client) loginTo(nonce string) wire.Login {
	inst, sess := public(c.installation), public(c.session)
	signed := wire.LoginBytes(nonce, inst, sess)
	return wire.Login{
		Version: wire.ControlVersion, Installation: inst, Session: sess,
		InstallSig: ed25519.Sign(c.installation, signed), SessionSig: ed25519.Sign(c.session, signed),
	}
}

func (c *client) login() *client {
	c.t.Helper()
	l := c.loginTo(c.want(wire.MsgChallenge).Challenge.Nonce)
	c.send(wire.Message{Type: wire.MsgLogin, Login: &l})
	c.welcome = c.want(wire.MsgWelcome).Welcome
	return c
}

func (c *client) update(addr string) {
	c.send(wire.Message{Type: wire.MsgUpdate, Update: &wire.Update{
		Addrs: []wire.Addr{{Net: "tcp", Addr: addr, Kind: "host"}}, Uploads: true, NAT: wire.NATOpen,
	}})
}

func (c *client) grant(publisher ed25519.PrivateKey, o manifest.ObjectID, expires time.Time) string {
	c.t.Helper()
	s, err := grant.Sign(grant.Claims{Object: o, Key: public(c.session), Expires: expires}, publisher, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *client) join(publisher ed25519.PrivateKey, o manifest.ObjectID, want int) *wire.Peers {
	c.t.Helper()
	c.send(wire.Message{Type: wire.MsgJoin, Join: &wire.Join{
		Object: o, Grant: c.grant(publisher, o, time.Now().Add(time.Hour)), Total: 10, Want: want,
	}})
	return c.want(wire.MsgPeers).Peers
}

// ended checks that control ends the session with an error of a code.
func (c *client) ended(code string) {
	c.t.Helper()
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatalf("session ended without an error: %v", err)
		}
		if m.Type == wire.MsgError {
			if m.Error.Code != code {
				c.t.Fatalf("error %+v, want %s", m.Error, code)
			}
			break
		}
	}
	if _, err := c.read(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatalf("session goes on: %v", err)
	}
}

var object = manifest.ObjectID{1, 2, 3}

func TestBothSidesAreTold(t *testing.T) {
	n := start(t, Config{})
	publisher := newKey(t)
	a, b := dial(t, n, "203.0.113.1").login(), dial(t, n, "198.51.100.2").login()
	if a.welcome.You != "203.0.113.1:0" || a.welcome.Refresh != 120 {
		t.Errorf("welcome %+v", a.welcome)
	}
	a.update("203.0.113.1:4000")
	if p := a.join(publisher, object, 40); len(p.Peers) != 0 {
		t.Fatalf("%d peers in an empty swarm", len(p.Peers))
	}
	b.update("198.51.100.2:5000")
	got := b.join(publisher, object, 40)
	if len(got.Peers) != 1 || got.Peers[0].Key != public(a.session) || got.Peers[0].Addrs[0].Addr != "203.0.113.1:4000" {
		t.Fatalf("b was told %+v", got)
	}
	got = a.want(wire.MsgPeers).Peers
	if len(got.Peers) != 1 || got.Peers[0].Key != public(b.session) || got.Peers[0].Addrs[0].Addr != "198.51.100.2:5000" {
		t.Fatalf("a was told %+v", got)
	}
	// The same object of another publisher is another swarm.
	c := dial(t, n, "198.51.100.3").login()
	c.update("198.51.100.3:5000")
	if got := c.join(newKey(t), object, 40); len(got.Peers) != 0 {
		t.Fatalf("a stranger was told %+v", got)
	}
	// Find leaves out who is linked already, and finds again after a while.
	n.ahead.Add(int64(time.Minute))
	find := wire.Find{Object: object, Want: 40, Except: []wire.Key{public(b.session)}}
	a.send(wire.Message{Type: wire.MsgFind, Find: &find})
	if got := a.want(wire.MsgPeers).Peers; len(got.Peers) != 0 {
		t.Fatalf("find gave the exception %+v", got)
	}
	find.Except = nil
	a.send(wire.Message{Type: wire.MsgFind, Find: &find})
	if got := a.want(wire.MsgPeers).Peers; len(got.Peers) != 1 {
		t.Fatalf("find gave %+v", got)
	}
	// Who left is not handed out.
	b.want(wire.MsgPeers)
	b.send(wire.Message{Type: wire.MsgLeave, Leave: &wire.Leave{Object: object}})
	n.ahead.Add(int64(time.Minute))
	b.send(wire.Message{Type: wire.MsgFind, Find: &find})
	b.want(wire.MsgError)
	a.send(wire.Message{Type: wire.MsgFind, Find: &find})
	if got := a.want(wire.MsgPeers).Peers; len(got.Peers) != 0 {
		t.Fatalf("find gave %+v after it left", got)
	}
}

func TestMembershipExpires(t *testing.T) {
	n := start(t, Config{})
	publisher := newKey(t)
	a := dial(t, n, "203.0.113.1").login()
	a.update("203.0.113.1:4000")
	a.join(publisher, object, 0)
	n.expire(n.cfg.Now().Add(4 * time.Minute))
	if _, members := n.dir.Size(); members != 1 {
		t.Fatalf("%d members, want 1", members)
	}
	n.expire(n.cfg.Now().Add(6 * time.Minute))
	if _, members := n.dir.Size(); members != 0 {
		t.Fatalf("%d members after they ran out", members)
	}
	// A grant that ends sooner ends the membership.
	a.send(wire.Message{Type: wire.MsgJoin, Join: &wire.Join{Object: object, Grant: a.grant(publisher, object, time.Now().Add(-time.Minute)), Total: 1}})
	a.want(wire.MsgPeers)
	n.expire(n.cfg.Now().Add(2 * time.Minute))
	if _, members := n.dir.Size(); members != 0 {
		t.Fatalf("%d members after their grants ran out", members)
	}
}

func TestGoneSessionLeaves(t *testing.T) {
	n := start(t, Config{})
	a := dial(t, n, "").login()
	a.join(newKey(t), object, 0)
	a.ws.CloseNow()
	eventually(t, "the directory is empty", func() bool { _, m := n.dir.Size(); return m == 0 })
}

func TestNewerSessionReplaces(t *testing.T) {
	n := start(t, Config{})
	publisher := newKey(t)
	a := dial(t, n, "").login()
	a.join(publisher, object, 0)
	b := dial(t, n, "")
	b.installation, b.session = a.installation, a.session
	b.login()
	if _, err := a.read(); websocket.CloseStatus(err) != closeReplaced {
		t.Fatalf("the older session got %v", err)
	}
	b.join(publisher, object, 0)
	eventually(t, "one session is left", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.entered == 1 })
	if _, members := n.dir.Size(); members != 1 {
		t.Fatalf("%d members, want the newer session", members)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never true: %s", what)
		}
	}
}

func TestGrantRules(t *testing.T) {
	publisher := newKey(t)
	n := start(t, Config{Publishers: []ed25519.PublicKey{publisher.Public().(ed25519.PublicKey)}})
	c := dial(t, n, "").login()
	now := time.Now()
	stranger := newKey(t)
	claim := grant.Claims{Object: object, Key: public(c.session), Expires: now.Add(time.Hour), Publisher: public(publisher)}
	posing, err := grant.Sign(claim, stranger, now)
	if err != nil {
		t.Fatal(err)
	}
	byControl, err := grant.Sign(claim, n.key.private, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		grant string
		ok    bool
	}{
		"good":                       {c.grant(publisher, object, now.Add(time.Hour)), true},
		"by control":                 {byControl, true},
		"for a publisher not theirs": {posing, false},
		"publisher not served":       {c.grant(stranger, object, now.Add(time.Hour)), false},
		"another object":             {c.grant(publisher, manifest.ObjectID{9}, now.Add(time.Hour)), false},
		"another key":                {(&client{t: t, session: stranger}).grant(publisher, object, now.Add(time.Hour)), false},
		"expired":                    {c.grant(publisher, object, now.Add(-time.Hour)), false},
		"garbage":                    {"a.b.c", false},
	} {
		c.send(wire.Message{Type: wire.MsgJoin, Join: &wire.Join{Object: object, Grant: x.grant, Total: 1}})
		m, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if ok := m.Type == wire.MsgPeers; ok != x.ok || !ok && (m.Error.Code != wire.CodeBadGrant || *m.Error.Object != object) {
			t.Errorf("%s: answer %s %+v", name, m.Type, m.Error)
		}
	}
}

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

func TestStopClosesCleanly(t *testing.T) {
	n := start(t, Config{})
	c := dial(t, n, "").login()
	closed := make(chan error, 1)
	go func() { _, err := c.read(); closed <- err }()
	n.stop()
	if err := <-closed; websocket.CloseStatus(err) != closeRestart {
		t.Errorf("the session ended with %v", err)
	}
}

func TestNewErrors(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no data directory: no error")
	}
	if _, err := New(Config{Data: t.TempDir(), NoSTUN: true, CountryDB: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("no country database: no error")
	}
	if _, err := New(Config{Data: t.TempDir(), STUN: []string{"192.0.2.1:1"}}); err == nil {
		t.Error("foreign STUN address: no error")
	}
}
