package transport

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// keyOf is the session key of a name, the same in every run.
func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// ordered returns two keys, the first of which controls.
func ordered() (ed25519.PrivateKey, ed25519.PrivateKey) {
	a, b := keyOf("a"), keyOf("b")
	if !controls(publicOf(a), publicOf(b)) {
		a, b = b, a
	}
	return a, b
}

func publicOf(k ed25519.PrivateKey) wire.Key { return wire.KeyOf(k.Public().(ed25519.PublicKey)) }

func listen(t testing.TB, cfg Config) *Endpoint {
	t.Helper()
	if cfg.ListenTCP == "" {
		cfg.ListenTCP = "127.0.0.1:0"
	}
	if cfg.ListenUDP == "" {
		cfg.ListenUDP = "127.0.0.1:0"
	}
	e, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.Addrs(loopback)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// candidate is what control would say of an endpoint, with the kinds of address
// named, or all.
func candidate(e *Endpoint, nets ...string) wire.Candidate {
	c := wire.Candidate{Key: e.Key(), Uploads: true}
	for _, a := range e.Addrs(loopback) {
		if len(nets) == 0 || slices.Contains(nets, a.Net) {
			c.Addrs = append(c.Addrs, a)
		}
	}
	return c
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// link runs Connect on both sides at once. The side that comes late gets the
// link from Accept.
func link(t testing.TB, a, b *Endpoint, toA, toB wire.Candidate) (atA, atB *Conn) {
	t.Helper()
	ctx := testContext(t)
	connect := func(e *Endpoint, peer wire.Candidate) *Conn {
		c, err := e.Connect(ctx, peer)
		if errors.Is(err, ErrLinked) {
			c, err = e.Accept(ctx)
		}
		if err != nil {
			t.Error(err)
		}
		return c
	}
	var wg sync.WaitGroup
	wg.Go(func() { atA = connect(a, toB) })
	wg.Go(func() { atB = connect(b, toA) })
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return atA, atB
}

// checkSame checks that two links are the two ends of one connection and carry
// bytes both ways, to the end.
func checkSame(t testing.TB, a, b *Conn) {
	t.Helper()
	if a.Kind() != b.Kind() {
		t.Fatalf("one side has %s, the other %s", a.Kind(), b.Kind())
	}
	if a.Controlling() == b.Controlling() {
		t.Fatal("both sides control, or none")
	}
	var wg sync.WaitGroup
	for i, c := range []*Conn{a, b} {
		sent := bytes.Repeat([]byte{byte(i + 1)}, 100_000)
		wg.Go(func() {
			if _, err := c.Write(sent); err != nil {
				t.Errorf("write: %v", err)
			}
		})
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte(2 - i)}, 100_000)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read: wrong bytes, %v", err)
			}
		})
	}
	wg.Wait()
	if _, err := a.Write([]byte("bye")); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(b); err != nil || string(got) != "bye" {
		t.Errorf("the last words are %q, %v", got, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestBothSidesConnect(t *testing.T) {
	for _, nets := range [][]string{{"tcp"}, {"udp"}, nil} {
		t.Run(fmt.Sprint(nets), func(t *testing.T) {
			a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
			atA, atB := link(t, a, b, candidate(a, nets...), candidate(b, nets...))
			if atA.Peer() != b.Key() || atB.Peer() != a.Key() {
				t.Error("links name the wrong peers")
			}
			want := KindTCP
			if slices.Equal(nets, []string{"udp"}) {
				want = KindQUIC
			}
			if atA.Kind() != want {
				t.Errorf("kind %s, want %s", atA.Kind(), want)
			}
			checkSame(t, atA, atB)
		})
	}
}

func TestIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	} else {
		l.Close()
	}
	for _, network := range []string{"tcp", "udp"} {
		// One socket for both families.
		a, b := listen(t, Config{Key: keyOf("a"), ListenTCP: ":0", ListenUDP: ":0"}), listen(t, Config{Key: keyOf("b"), ListenTCP: ":0", ListenUDP: ":0"})
		toA, toB := wire.Candidate{Key: a.Key()}, wire.Candidate{Key: b.Key()}
		for e, c := range map[*Endpoint]*wire.Candidate{a: &toA, b: &toB} {
			for _, addr := range e.Addrs(netip.IPv6Loopback()) {
				if at := netip.MustParseAddrPort(addr.Addr); at.Addr().IsLoopback() && addr.Net == network {
					c.Addrs = append(c.Addrs, addr)
				}
			}
		}
		atA, atB := link(t, a, b, toA, toB)
		if !atA.RemoteAddr().Addr().Is6() {
			t.Errorf("linked to %s", atA.RemoteAddr())
		}
		checkSame(t, atA, atB)
	}
}

// Control's message reaches one side only; that may be the side that does not
// control.
func TestOneSideConnects(t *testing.T) {
	smaller, larger := ordered()
	for _, network := range []string{"tcp", "udp"} {
		for _, controlled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/controlled=%v", network, controlled), func(t *testing.T) {
				a, b := listen(t, Config{Key: smaller}), listen(t, Config{Key: larger})
				if controlled {
					a, b = b, a
				}
				ctx := testContext(t)
				atA, err := a.Connect(ctx, candidate(b, network))
				if err != nil {
					t.Fatal(err)
				}
				atB, err := b.Accept(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if atA.RTT() == 0 && network == "udp" {
					t.Error("no round trip known")
				}
				if _, err := a.Connect(ctx, candidate(b, network)); !errors.Is(err, ErrLinked) {
					t.Errorf("second connect: %v", err)
				}
				checkSame(t, atA, atB)
			})
		}
	}
}

func TestRacePicksOneLink(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	for range rounds {
		atA, atB := link(t, a, b, candidate(a), candidate(b))
		checkSame(t, atA, atB)
		waitFor(t, func() bool { return quiet(a) && quiet(b) })
	}
	for _, e := range []*Endpoint{a, b} {
		if n := len(e.accepted); n > 0 {
			t.Errorf("%d more links were made", n)
		}
	}
}

// STUN servers that do not answer tell of the NAT only while nothing is known of it.
func TestGatherKeepsKind(t *testing.T) {
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	for _, c := range []struct{ known, want wire.NAT }{{"", wire.NATBlocked}, {wire.NATCone, wire.NATCone}} {
		e := listen(t, Config{Key: keyOf("a")})
		if c.known != "" {
			e.kind.Store(c.known)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, _, err := e.Gather(ctx, []string{nobody.LocalAddr().String()})
		cancel()
		if got := e.planner().nat; err == nil || got != c.want {
			t.Errorf("%q: then %q, error %v", c.known, got, err)
		}
	}
}

// A connection of a race that was decided may come in when its link is over already: it
// is not taken for one of the next race, whose own are.
func TestLeftoverOfLinkThatIsOver(t *testing.T) {
	small, large := ordered()
	a, b := listen(t, Config{Key: small}), listen(t, Config{Key: large})
	began := time.Now()
	atA, atB := link(t, a, b, candidate(a), candidate(b))
	checkSame(t, atA, atB)
	waitFor(t, func() bool { return quiet(a) && quiet(b) })
	for _, c := range []struct {
		began time.Time
		want  bool
	}{{began, true}, {time.Now(), false}} {
		a.mu.Lock()
		got := a.leftover(&Conn{self: a.Key(), peer: b.Key(), began: c.began})
		a.mu.Unlock()
		if got != c.want {
			t.Errorf("leftover: %v, want %v", got, c.want)
		}
	}
}

// quiet says whether an endpoint has no link and no race.
func quiet(e *Endpoint) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.pairs) == 0 && len(e.links) == 0
}

// waitFor polls until something holds.
func waitFor(t testing.TB, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("does not come about in 20 s")
		}
	}
}

func TestManyEndpoints(t *testing.T) {
	const n = 6
	type end struct{ self, peer wire.Key }
	found := make(chan *Conn)
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var es []*Endpoint
	for i := range n {
		e := listen(t, Config{Key: keyOf(fmt.Sprint("peer ", i))})
		es = append(es, e)
		wg.Go(func() {
			for {
				c, err := e.Accept(ctx)
				if err != nil {
					return
				}
				found <- c
			}
		})
	}
	for _, e := range es {
		for _, other := range es {
			if e == other {
				continue
			}
			wg.Go(func() {
				c, err := e.Connect(ctx, candidate(other))
				if errors.Is(err, ErrLinked) {
					return // Accept has it
				}
				if err != nil {
					t.Error(err)
				}
				found <- c
			})
		}
	}
	links := make(map[end]*Conn)
	for range n * (n - 1) {
		c := <-found
		if c == nil {
			t.FailNow()
		}
		if _, twice := links[end{c.self, c.peer}]; twice {
			t.Fatal("two links with one peer")
		}
		links[end{c.self, c.peer}] = c
	}
	for at, c := range links {
		if c.Controlling() {
			checkSame(t, c, links[end{at.peer, at.self}])
		}
	}
}

func TestWrongKey(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	ctx, cancel := context.WithTimeout(testContext(t), time.Second)
	defer cancel()
	c := candidate(b)
	c.Key = publicOf(keyOf("somebody else"))
	if _, err := a.Connect(ctx, c); !errors.Is(err, errKey) {
		t.Errorf("connect to another key: %v", err)
	}
	c = candidate(a)
	c.Key = b.Key()
	ctx, cancel = context.WithTimeout(testContext(t), time.Second)
	defer cancel()
	if _, err := a.Connect(ctx, c); !errors.Is(err, errSelf) {
		t.Errorf("connect to myself under another name: %v", err)
	}
	if _, err := a.Connect(ctx, candidate(a)); !errors.Is(err, errSelf) {
		t.Errorf("connect to myself: %v", err)
	}
	waitFor(t, func() bool { return quiet(a) && quiet(b) })
}

func TestDeadlinesAndClose(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
			atA, atB := link(t, a, b, candidate(a, network), candidate(b, network))
			if err := atA.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 10)
			if _, err := atA.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
			if err := atA.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if _, err := atB.Write([]byte("late")); err != nil {
				t.Fatal(err)
			}
			if n, err := atA.Read(buf); err != nil || string(buf[:n]) != "late" {
				t.Errorf("read %q, %v", buf[:n], err)
			}
			// Close interrupts a writer whose peer does not read.
			done := make(chan error)
			var written atomic.Int64
			go func() {
				var err error
				for chunk := make([]byte, 16<<10); err == nil; written.Add(1) {
					_, err = atB.Write(chunk)
				}
				done <- err
			}()
			waitForStall(t, &written)
			if err := atB.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("write after close: %v", err)
			}
			// The peer is told.
			if _, err := io.Copy(io.Discard, atA); err != nil && network == "udp" {
				t.Errorf("read to the end: %v", err)
			}
			_ = atA.Close()
			waitFor(t, func() bool { return quiet(a) && quiet(b) })
		})
	}
}

// waitForStall returns when a counter has stood still for a while.
func waitForStall(t testing.TB, counter *atomic.Int64) {
	t.Helper()
	last, still := int64(0), 0
	waitFor(t, func() bool {
		if now := counter.Load(); now != last || now == 0 {
			last, still = now, 0
		}
		still++
		return still > 50
	})
}

func TestCloseEndpointEndsEverything(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	atA, atB := link(t, a, b, candidate(a, "udp"), candidate(b, "udp"))
	done := make(chan error)
	go func() { _, err := atA.Read(make([]byte, 1)); done <- err }()
	go func() { _, err := a.Accept(context.Background()); done <- err }()
	go func() {
		c := candidate(b)
		c.Key, c.Addrs = publicOf(keyOf("nobody")), nil
		_, err := a.Connect(context.Background(), c)
		done <- err
	}()
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := <-done; err == nil {
			t.Error("something goes on after the end")
		}
	}
	if _, err := io.ReadAll(atB); err != nil {
		t.Errorf("the peer is not told: %v", err)
	}
}
