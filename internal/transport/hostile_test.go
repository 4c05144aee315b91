package transport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestAdmission(t *testing.T) {
	ip := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	a := newAdmission(4, 2)
	evicted := make(map[string]bool)
	enter := func(name, addr string) func() {
		release, ok := a.enter(ip(addr), func() { evicted[name] = true })
		if !ok {
			return nil
		}
		return release
	}
	first := enter("first", "192.0.2.1")
	second := enter("second", "192.0.2.1")
	if first == nil || second == nil || enter("third", "192.0.2.1") != nil {
		t.Error("two of one address may enter, not three")
	}
	second()
	second()
	if enter("fourth", "192.0.2.1") == nil {
		t.Error("a place that was left is not free")
	}
	if enter("v6", "2001:db8::1") == nil || enter("v6 too", "2001:db8::2") == nil {
		t.Error("IPv6 hosts are kept out")
	}
	if enter("v6 third", "2001:db8::3") != nil {
		t.Error("one IPv6 network counts as many hosts")
	}
	for i := range 10 {
		if enter(fmt.Sprint("loopback ", i), "127.0.0.1") == nil {
			t.Error("loopback is bounded by address")
		}
	}
	if !evicted["first"] || !evicted["loopback 5"] || evicted["loopback 6"] || a.order.Len() != 4 || !a.busy() {
		t.Errorf("evicted %v, %d are in", evicted, a.order.Len())
	}
	first() // after the eviction
	if len(a.count) != 1 {
		t.Errorf("counts %v", a.count)
	}

	fixed := newAdmission(1, 1)
	if _, ok := fixed.enter(ip("192.0.2.1"), nil); !ok {
		t.Error("an empty house is closed")
	}
	if _, ok := fixed.enter(ip("192.0.2.2"), nil); ok {
		t.Error("somebody was let in where nobody can be put out")
	}
}

// Connections that say nothing are put out for those that come after them.
func TestSlowHandshakes(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	for range maxHandshakes + 20 {
		c, err := net.Dial("tcp", a.tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	ctx := testContext(t)
	atB, err := b.Connect(ctx, candidate(a, "tcp"))
	if err != nil {
		t.Fatal(err)
	}
	atA, err := a.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, atA, atB)
}

func TestGarbage(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	tcp, err := net.Dial("tcp", a.tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	junk := make([]byte, 64<<10)
	_, _ = rand.Read(junk)
	_, _ = tcp.Write(junk)
	if _, err := io.Copy(io.Discard, tcp); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("garbage on TCP: %v", err) // a reset is fine, too
	}
	udp, err := net.Dial("udp", a.udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for i := range 2000 {
		n := 1 + i%1400
		junk[i] = byte(i) // every first byte: QUIC's short and long headers, STUN, none
		_, _ = udp.Write(junk[i : i+n])
	}
	for _, network := range []string{"tcp", "udp"} {
		atA, atB := link(t, a, b, candidate(a, network), candidate(b, network))
		checkSame(t, atA, atB)
		waitFor(t, func() bool { return quiet(a) && quiet(b) })
	}
}

// A storm of authenticated connections that are never chosen, and of connections
// on which nothing follows the handshake, leaves bounded work and links possible.
func TestStorm(t *testing.T) {
	smaller, larger := ordered()
	victim, friend := listen(t, Config{Key: larger}), listen(t, Config{Key: smaller})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var wg sync.WaitGroup
	for i := range 150 {
		// A key that controls the link makes the victim wait to be chosen.
		key := keyOf(fmt.Sprint("storm ", i))
		if !controls(publicOf(key), victim.Key()) {
			continue
		}
		id, err := newIdentity(key)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			d := tls.Dialer{Config: id.config(nil)}
			c, err := d.DialContext(ctx, "tcp", victim.tcp.Addr().String())
			if err != nil {
				return
			}
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			_, _ = io.Copy(io.Discard, c)
		})
	}
	waitFor(t, func() bool { return victim.inboundTCP.busy() })
	atFriend, err := friend.Connect(ctx, candidate(victim))
	if err != nil {
		t.Fatal(err)
	}
	atVictim, err := victim.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, atFriend, atVictim)
	victim.mu.Lock()
	n := len(victim.pairs)
	victim.mu.Unlock()
	if n > maxHandshakes {
		t.Errorf("%d races are open", n)
	}
	cancel()
	wg.Wait()
	waitFor(t, func() bool { return quiet(victim) && !victim.inboundTCP.busy() })
}

// QUIC handshakes that nothing follows fill the house for QUIC, but no more than
// that, and TCP goes on.
func TestQUICStorm(t *testing.T) {
	smaller, larger := ordered()
	victim, friend := listen(t, Config{Key: larger}), listen(t, Config{Key: smaller})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	storm := &quic.Transport{Conn: socket}
	defer storm.Close()
	id, err := newIdentity(keyOf("storm"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	var wg sync.WaitGroup
	for range maxHandshakes + 20 {
		wg.Go(func() {
			_, _ = storm.Dial(ctx, victim.udp.LocalAddr(), id.config(nil), quicConfig(-1))
		})
	}
	wg.Wait()
	victim.inboundQUIC.mu.Lock()
	n := victim.inboundQUIC.order.Len()
	victim.inboundQUIC.mu.Unlock()
	if n < maxHandshakes/2 || n > maxHandshakes {
		t.Errorf("%d handshakes are under way", n)
	}
	atFriend, err := friend.Connect(ctx, candidate(victim))
	if err != nil {
		t.Fatal(err)
	}
	atVictim, err := victim.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, atFriend, atVictim)
}

// A byte other than the selection does not make a link.
func TestWrongSelection(t *testing.T) {
	smaller, larger := ordered()
	e := listen(t, Config{Key: larger})
	id, err := newIdentity(smaller)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.Dial("tcp", e.tcp.Addr().String(), id.config(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{'X'}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Logf("the connection ended with %v", err)
	}
	waitFor(t, func() bool { return quiet(e) })
	if len(e.accepted) > 0 {
		t.Error("it became a link")
	}
}

// A peer without the right ALPN, or without a certificate, is not let in.
func TestStrangers(t *testing.T) {
	e := listen(t, Config{Key: keyOf("a")})
	id, err := newIdentity(keyOf("b"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tls.Config){
		"another protocol": func(c *tls.Config) { c.NextProtos = []string{"h2"} },
		"no protocol":      func(c *tls.Config) { c.NextProtos = nil },
		"no certificate":   func(c *tls.Config) { c.Certificates = nil },
		"TLS 1.2":          func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
	} {
		t.Run(name, func(t *testing.T) {
			config := id.config(nil)
			config.VerifyConnection = nil
			change(config)
			c, err := tls.Dial("tcp", e.tcp.Addr().String(), config)
			if err != nil {
				return
			}
			defer c.Close()
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("read %d bytes", n)
			}
		})
	}
	if !quiet(e) {
		t.Error("a stranger is in a race")
	}
}

// TCP leads nowhere: packets to the address vanish.
func TestFallsBackToQUIC(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b"), ListenTCP: Off})
	toA, toB := candidate(a, "udp"), candidate(b)
	lost := wire.Addr{Net: "tcp", Kind: "host", Addr: "192.0.2.1:9"} // RFC 5737: nobody is there
	toA.Addrs, toB.Addrs = append(toA.Addrs, lost), append(toB.Addrs, lost)
	start := time.Now()
	atA, atB := link(t, a, b, toA, toB)
	if atA.Kind() != KindQUIC {
		t.Errorf("linked over %s", atA.Kind())
	}
	t.Logf("linked after %v", time.Since(start))
	checkSame(t, atA, atB)
}

// The controlled side trusts the newest selection.
func TestNewestSelectionWins(t *testing.T) {
	smaller, larger := ordered()
	e := listen(t, Config{Key: larger})
	id, err := newIdentity(smaller)
	if err != nil {
		t.Fatal(err)
	}
	var links []*Conn
	for range 2 {
		c, err := tls.Dial("tcp", e.tcp.Addr().String(), id.config(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{selection}); err != nil {
			t.Fatal(err)
		}
		l, err := e.Accept(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
	}
	if _, err := links[0].Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the first link goes on: %v", err)
	}
	if err := links[1].Close(); err != nil {
		t.Error(err)
	}
}

// STUN shares the socket with QUIC.
func TestGather(t *testing.T) {
	var servers []string
	for range 2 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		servers = append(servers, pc.LocalAddr().String())
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo(nat.Answer(buf[:n], addrPort(from)), from)
			}
		}()
	}
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	for range 2 {
		addrs, kind, err := a.Gather(testContext(t), servers)
		want := wire.Addr{Net: "udp", Addr: a.udp.LocalAddr().String(), Kind: "mapped"}
		if err != nil || kind != wire.NATOpen || len(addrs) != 1 || addrs[0] != want {
			t.Errorf("gathered %v, %q, %v; want %v", addrs, kind, err, want)
		}
	}
	atA, atB := link(t, a, b, candidate(a, "udp"), candidate(b, "udp"))
	checkSame(t, atA, atB)
	off := listen(t, Config{Key: keyOf("c"), ListenUDP: Off})
	if _, kind, err := off.Gather(testContext(t), servers); kind != wire.NATBlocked || err != nil {
		t.Errorf("without UDP: %q, %v", kind, err)
	}
}

func TestAddrs(t *testing.T) {
	e, err := Listen(Config{Key: keyOf("a")})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if addrPort(e.tcp.Addr()).Port() != addrPort(e.udp.LocalAddr()).Port() {
		t.Log("TCP and UDP have different ports: the port was taken")
	}
	for _, a := range e.Addrs(netip.MustParseAddr("192.0.2.1")) {
		if netip.MustParseAddrPort(a.Addr).Addr().IsLoopback() {
			t.Errorf("address %v without control being on this machine", a)
		}
	}
	addrs := e.Addrs(netip.MustParseAddr("::ffff:127.0.0.1"))
	if len(addrs) < 2 || len(addrs) > maxHostAddrs || addrs[0].Net != "tcp" || addrs[1].Net != "udp" {
		t.Fatalf("addresses %v", addrs)
	}
	if at := netip.MustParseAddrPort(addrs[0].Addr); at.Addr() != loopback || at.Port() == 0 {
		t.Errorf("first is %v", at)
	}
	for _, bad := range []Config{{}, {Key: keyOf("a"), ListenTCP: "nonsense"}, {Key: keyOf("a"), ListenUDP: "nonsense"}} {
		if _, err := Listen(bad); err == nil {
			t.Errorf("listens with %+v", bad)
		}
	}
}
