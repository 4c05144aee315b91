package session_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/control"
	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/session"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const patience = 20 * time.Second

var object = manifest.ObjectID{1, 2, 3}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(k ed25519.PrivateKey) wire.Key { return wire.KeyOf(k.Public().(ed25519.PublicKey)) }

// runControl serves control on l until ctx ends.
func runControl(ctx context.Context, cfg control.Config, l net.Listener) error {
	c, err := control.New(cfg)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: c.Handler(), ReadHeaderTimeout: time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	err = c.Run(ctx)
	srv.Close()
	wg.Wait()
	if err != nil {
		return err
	}
	return c.Close()
}

// startControl runs a control and returns its address and how to stop it.
func startControl(t *testing.T, addr string, cfg control.Config) (string, func()) {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg.NoSTUN = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runControl(ctx, cfg, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("control: %v", err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// client is a session with what it was told.
type client struct {
	*session.Session
	key     ed25519.PrivateKey
	welcome chan netip.AddrPort
	peers   chan wire.Peers
	errors  chan wire.Error
	acked   chan string
	stop    func()
}

func begin(t *testing.T, addr string) *client {
	t.Helper()
	c := &client{
		key: newKey(t), welcome: make(chan netip.AddrPort, 10), peers: make(chan wire.Peers, 100),
		errors: make(chan wire.Error, 100), acked: make(chan string, 100),
	}
	c.Session = session.New(session.Config{
		URL: "ws://" + addr + "/v1/session", HTTP: &http.Client{}, Installation: newKey(t), Session: c.key,
		OnWelcome: func(_ context.Context, _ wire.Welcome, local netip.AddrPort) { c.welcome <- local },
		OnPeers:   func(p wire.Peers) { c.peers <- p },
		OnError:   func(e wire.Error) { c.errors <- e },
		Acked:     func(id string) { c.acked <- id },
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx) // it ends with ctx
	}()
	c.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(c.stop)
	return c
}

func get[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func (c *client) grant(t *testing.T, publisher ed25519.PrivateKey) string {
	t.Helper()
	s, err := grant.Sign(grant.Claims{Object: object, Key: public(c.key), Expires: time.Now().Add(time.Hour)}, publisher, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *client) enter(t *testing.T, publisher ed25519.PrivateKey, addr string) {
	c.Update(wire.Update{Uploads: true, Addrs: []wire.Addr{{Net: "tcp", Addr: addr, Kind: "host"}}})
	c.Join(wire.Join{Object: object, Grant: c.grant(t, publisher), Total: 10, Want: 40})
}

func (c *client) report(t *testing.T, publisher ed25519.PrivateKey, id string) wire.Report {
	r := wire.Report{ID: id, Object: object, Grant: c.grant(t, publisher), Session: public(c.key), Size: 100, FromEdge: 40, FromPeers: 60}
	r.Signature = ed25519.Sign(c.key, r.SignedBytes())
	return r
}

// told waits until the client was told of a peer.
func (c *client) told(t *testing.T, of *client) wire.Candidate {
	t.Helper()
	for {
		for _, p := range get(t, "peers", c.peers).Peers {
			if p.Key == public(of.key) {
				return p
			}
		}
	}
}

func TestPeersMeetAndMeetAgain(t *testing.T) {
	data := t.TempDir()
	addr, stop := startControl(t, "", control.Config{Data: data})
	publisher := newKey(t)
	a, b := begin(t, addr), begin(t, addr)
	// Said before anyone listens: nothing is lost.
	a.enter(t, publisher, "127.0.0.1:4001")
	if local := get(t, "welcome", a.welcome); !local.Addr().IsLoopback() || local.Port() == 0 {
		t.Errorf("local address %v", local)
	}
	b.enter(t, publisher, "127.0.0.1:4002")
	if got := b.told(t, a).Addrs[0].Addr; got != "127.0.0.1:4001" {
		t.Errorf("b was told %s", got)
	}
	if got := a.told(t, b).Addrs[0].Addr; got != "127.0.0.1:4002" {
		t.Errorf("a was told %s", got)
	}
	if st := a.State(); !st.Connected || st.You == "" {
		t.Errorf("state %+v", st)
	}
	// Control goes and comes back empty: both announce themselves again.
	stop()
	startControl(t, addr, control.Config{Data: data})
	get(t, "second welcome", a.welcome)
	a.told(t, b)
	b.told(t, a)
	// Who leaves is not announced again.
	a.Leave(object)
	a.Find(wire.Find{Object: object, Want: 5})
	if e := get(t, "refusal", a.errors); e.Code != wire.CodeBadGrant {
		t.Errorf("error %+v", e)
	}
}

func TestReportsAreDeliveredOnce(t *testing.T) {
	data := t.TempDir()
	addr, stop := startControl(t, "", control.Config{Data: data})
	publisher := newKey(t)
	c := begin(t, addr)
	get(t, "welcome", c.welcome)
	stop()
	for i := range 20 { // control is away
		c.Report(c.report(t, publisher, fmt.Sprint(i)))
	}
	if st := c.State(); st.Reports != 20 {
		t.Errorf("%d reports wait", st.Reports)
	}
	bad := c.report(t, publisher, "bad")
	bad.FromEdge = 1000
	c.Report(bad)
	startControl(t, addr, control.Config{Data: data})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.Flush(ctx)
	if err := ctx.Err(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 21 {
		seen[get(t, "ack", c.acked)]++
	}
	if len(seen) != 21 || seen["bad"] != 1 {
		t.Errorf("acknowledged %v", seen)
	}
	if got := totals(t, addr); got.Reports != 20 || got.FromPeers != 20*60 {
		t.Errorf("totals %+v", got)
	}
}

func totals(t *testing.T, addr string) control.Totals {
	t.Helper()
	res, err := http.Get("http://" + addr + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var s control.Status
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s.Totals
}

// Control is killed again and again while reports arrive, and counts each once.
func TestKilledControlLosesNothing(t *testing.T) {
	if dir := os.Getenv("CONTROL_KILL_DIR"); dir != "" {
		l, err := net.Listen("tcp", os.Getenv("CONTROL_KILL_ADDR"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("ready", l.Addr())
		if err := runControl(context.Background(), control.Config{Data: dir, NoSTUN: true}, l); err != nil {
			t.Fatal(err)
		}
		return
	}
	data := t.TempDir()
	addr, kill := controlProcess(t, data, "127.0.0.1:0")
	publisher := newKey(t)
	c := begin(t, addr)
	const reports = 60
	acked := map[string]int{}
	for i := range reports {
		c.Report(c.report(t, publisher, fmt.Sprint(i)))
		if i%20 == 10 {
			// At least one is on disk, others are on their way.
			acked[get(t, "ack", c.acked)]++
			kill()
			_, kill = controlProcess(t, data, addr)
		}
	}
	for len(acked) < reports {
		acked[get(t, "ack", c.acked)]++
	}
	for id, n := range acked {
		if n != 1 {
			t.Errorf("report %s was acknowledged %d times", id, n)
		}
	}
	if got := totals(t, addr); got.Reports != reports || got.FromEdge != reports*40 {
		t.Errorf("totals %+v", got)
	}
}

func controlProcess(t *testing.T, data, addr string) (at string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledControlLosesNothing$")
	cmd.Env = append(os.Environ(), "CONTROL_KILL_DIR="+data, "CONTROL_KILL_ADDR="+addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	if _, err := fmt.Fscanf(bufio.NewReader(out), "ready %s\n", &at); err != nil {
		t.Fatalf("control process: %v", err)
	}
	return at, kill
}

// A thousand swarms are announced without control's limits being hit.
func TestManySwarms(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes 4 s at the pace of a session")
	}
	addr, _ := startControl(t, "", control.Config{Data: t.TempDir()})
	publisher := newKey(t)
	c := begin(t, addr)
	const swarms = 300
	for i := range swarms {
		o := manifest.ObjectID{byte(i), byte(i >> 8)}
		g, err := grant.Sign(grant.Claims{Object: o, Key: public(c.key), Expires: time.Now().Add(time.Hour)}, publisher, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c.Join(wire.Join{Object: o, Grant: g, Total: 1})
	}
	for range swarms {
		get(t, "answer", c.peers)
	}
	if len(c.welcome) != 1 {
		t.Errorf("%d logins", len(c.welcome))
	}
}
