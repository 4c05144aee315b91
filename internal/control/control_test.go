package control

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
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
