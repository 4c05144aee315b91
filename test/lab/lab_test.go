//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	done := func(role func(args []string)) func([]string) error {
		return func(args []string) error { role(args); return nil }
	}
	Main(m, map[string]func([]string) error{
		"mirror": done(mirror),
		"ask":    done(ask),
		"punch":  done(func(args []string) { punch(args[0]) }),
		"sink":   done(func(args []string) { sink(args[0]) }),
		"send":   done(func(args []string) { send(args[0], args[1]) }),
	})
}

// helper starts the test binary in a role on a host.
func helper(t *testing.T, h *Host, role string, args ...string) *exec.Cmd {
	t.Helper()
	return h.As(t.Context(), role, args...)
}

// start starts a helper that prints a line when it is ready.
func start(t *testing.T, h *Host, role string, args ...string) {
	t.Helper()
	cmd := helper(t, h, role, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Cancel(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatalf("%s on %s: %v", role, h.Name, err)
	}
}

func output(t *testing.T, h *Host, role string, args ...string) string {
	t.Helper()
	out, err := helper(t, h, role, args...).Output()
	if err != nil {
		t.Fatalf("%s on %s: %v", role, h.Name, err)
	}
	return strings.TrimSpace(string(out))
}

// mirror answers each datagram with the address it came from, on every address
// given, until killed.
func mirror(addrs []string) {
	for _, a := range addrs {
		pc, err := net.ListenPacket("udp4", a)
		if err != nil {
			panic(err)
		}
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := pc.ReadFrom(b)
				if err != nil {
					panic(err)
				}
				_, _ = pc.WriteTo([]byte(from.String()), from)
			}
		}()
	}
	fmt.Println("ready")
	select {}
}

// ask prints what mirrors see of one socket, or "silence" for each that does not
// answer. A first argument "from=ADDR" binds the socket.
func ask(mirrors []string) {
	bind := ":0"
	if a, ok := strings.CutPrefix(mirrors[0], "from="); ok {
		bind, mirrors = a, mirrors[1:]
	}
	pc, err := net.ListenPacket("udp4", bind)
	if err != nil {
		panic(err)
	}
	for _, m := range mirrors {
		fmt.Println(askOne(pc, m))
	}
}

// askOne asks three times, for longer each time: on a busy machine a mirror may have to
// wait for its turn. What another mirror says late is not taken for this one's answer.
func askOne(pc net.PacketConn, mirror string) string {
	to := netip.MustParseAddrPort(mirror)
	b := make([]byte, 64)
	for wait := 300 * time.Millisecond; wait < 2*time.Second; wait *= 2 {
		_, _ = pc.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(to))
		_ = pc.SetReadDeadline(time.Now().Add(wait))
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				break
			}
			if from.(*net.UDPAddr).AddrPort() == to {
				return string(b[:n])
			}
		}
	}
	return "silence"
}

// punch sends from port 5000 to a peer that does the same, and prints whether
// anything came back within two seconds.
func punch(peer string) {
	pc, err := net.ListenPacket("udp4", ":5000")
	if err != nil {
		panic(err)
	}
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(peer))
	heard := "silence"
	for range 20 {
		_, _ = pc.WriteTo([]byte("!"), to)
		_ = pc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err := pc.ReadFrom(make([]byte, 64)); err == nil {
			heard = "through"
		}
	}
	fmt.Println(heard)
}

// sink takes one connection after the other and reads each to its end.
func sink(addr string) {
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	b := make([]byte, 1<<16)
	for {
		c, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		for err == nil {
			_, err = c.Read(b)
		}
		_ = c.Close()
	}
}

// send sends size bytes to a sink, waits until the other side has had them, and
// prints the seconds that took, or "refused".
func send(addr, size string) {
	n, _ := strconv.Atoi(size)
	t0 := time.Now()
	c, err := net.DialTimeout("tcp4", addr, time.Second)
	if err != nil {
		fmt.Println("refused")
		return
	}
	_, err = c.Write(make([]byte, n))
	_ = c.(*net.TCPConn).CloseWrite()
	_, end := c.Read(make([]byte, 1)) // EOF when the sink has closed
	if err != nil || end == nil {
		panic(errors.Join(err, end))
	}
	fmt.Println(time.Since(t0).Seconds())
}

func TestShapesBothDirectionsApart(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	server := must(l.Server(ctx, Link{}))(t)
	client := must(l.Client(ctx, Link{Up: 8 * Mbit, Down: 32 * Mbit}, Open))(t)
	start(t, server, "sink", "10.77.1.1:7000")
	start(t, client, "sink", "10.77.2.1:7000")
	const size = 2 << 20
	before := must(client.Counters(ctx))(t)
	up := must(strconv.ParseFloat(output(t, client, "send", "10.77.1.1:7000", strconv.Itoa(size)), 64))(t)
	sent := must(client.Counters(ctx))(t).Sent - before.Sent
	down := must(strconv.ParseFloat(output(t, server, "send", "10.77.2.1:7000", strconv.Itoa(size)), 64))(t)
	t.Logf("2 MiB: %.2f s up, %.2f s down, %d bytes on the wire", up, down, sent)
	// The bucket's 128 KiB pass at once; a busy machine may take longer.
	within(t, "seconds up", up, float64(size-128<<10)*8/8e6, 4)
	within(t, "seconds down", down, float64(size-128<<10)*8/32e6, 2)
	within(t, "bytes sent", float64(sent), size, size*1.1)
	if cc := must(client.CongestionControl(ctx))(t); cc != "cubic" {
		t.Errorf("congestion control %q, want cubic", cc)
	}
}

// A delay holds up each direction, and does not slow a link that is faster than it
// needs be.
func TestDelay(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	server := must(l.Server(ctx, Link{}))(t)
	far := must(l.Client(ctx, Link{Up: 32 * Mbit, Down: 32 * Mbit, Delay: 50 * time.Millisecond}, Cone))(t)
	near := must(l.Client(ctx, Link{}, Open))(t)
	start(t, server, "sink", "10.77.1.1:7000")
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("ping is not installed")
	}
	rtt := func(h *Host) float64 {
		out := must(h.Run(ctx, "ping", "-q", "-c", "5", "-i", "0.05", "10.77.1.1"))(t)
		m := regexp.MustCompile(`= ([\d.]+)/`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("ping says %q", out)
		}
		return number(m[1])
	}
	within(t, "milliseconds there and back", rtt(far), 100, 115)
	within(t, "milliseconds to a near one", rtt(near), 0, 20)
	const size = 8 << 20
	took := must(strconv.ParseFloat(output(t, far, "send", "10.77.1.1:7000", strconv.Itoa(size)), 64))(t)
	within(t, "seconds", took, float64(size-128<<10)*8/32e6, 6)
}

// A link can be slowed and cut while it is used.
func TestThrottleAndBlackhole(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	server := must(l.Server(ctx, Link{Up: 32 * Mbit}))(t)
	client := must(l.Client(ctx, Link{}, Open))(t)
	start(t, client, "sink", "10.77.2.1:7000")
	const size = 1 << 20
	if err := server.Throttle(ctx, 8*Mbit); err != nil {
		t.Fatal(err)
	}
	took := must(strconv.ParseFloat(output(t, server, "send", "10.77.2.1:7000", strconv.Itoa(size)), 64))(t)
	within(t, "seconds", took, float64(size-128<<10)*8/8e6, 4)
	if _, err := client.Run(ctx, "ping", "-c", "1", "-W", "2", server.IP.String()); err != nil {
		t.Fatal(err)
	}
	if err := server.Blackhole(ctx); err != nil {
		t.Fatal(err)
	}
	if out, err := client.Run(ctx, "ping", "-c", "1", "-W", "1", server.IP.String()); err == nil {
		t.Errorf("answered from a black hole: %s", out)
	}
}

func TestLeavesTheMachineAlone(t *testing.T) {
	const path = "/proc/sys/net/ipv4/tcp_congestion_control"
	before := must(os.ReadFile(path))(t)
	allowed := must(os.ReadFile(allowedPath))(t)
	l := ForTest(t)
	h := must(l.Client(t.Context(), Link{}, Open))(t)
	if now := must(os.ReadFile(path))(t); !bytes.Equal(now, before) {
		t.Errorf("congestion control of the machine: was %q, is %q", before, now)
	}
	if now := must(os.ReadFile(allowedPath))(t); !bytes.Equal(now, allowed) {
		t.Errorf("allowed congestion controls of the machine: were %q, are %q", allowed, now)
	}
	start(t, h, "mirror", "10.77.2.1:7000")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if out := must(run(t.Context(), "ip", "netns", "list"))(t); bytes.Contains(out, []byte(l.prefix)) {
		t.Errorf("namespaces left behind: %s", out)
	}
}

func TestKindsOfNAT(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	server := must(l.Server(ctx, Link{}))(t)
	start(t, server, "mirror", "10.77.1.1:3478", "10.77.1.1:3479")
	start(t, server, "sink", "10.77.1.1:7000")
	for _, tt := range []struct {
		kind     NAT
		mappings int  // different addresses that two mirrors see, 0: none answers
		inbound  bool // a stranger reaches the host over TCP and UDP
	}{
		{Open, 1, true}, {Cone, 1, false}, {Renumbered, 1, false}, {Symmetric, 2, false}, {Firewalled, 0, false},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			h := must(l.Client(ctx, Link{}, tt.kind))(t)
			seen := strings.Fields(output(t, h, "ask", "10.77.1.1:3478", "10.77.1.1:3479"))
			if got := mappings(seen); got != tt.mappings {
				t.Errorf("mirrors saw %v: %d mappings, want %d", seen, got, tt.mappings)
			}
			if out := output(t, h, "send", "10.77.1.1:7000", "1000"); out == "refused" {
				t.Error("TCP from inside does not pass")
			}
			start(t, h, "mirror", "0.0.0.0:5000")
			start(t, h, "sink", "0.0.0.0:5000")
			at := netip.AddrPortFrom(h.Public, 5000).String()
			if in := output(t, server, "ask", at) != "silence"; in != tt.inbound {
				t.Errorf("UDP from a stranger passes: %v", in)
			}
			if in := output(t, server, "send", at, "1000") != "refused"; in != tt.inbound {
				t.Errorf("TCP from a stranger passes: %v", in)
			}
		})
	}
}

// Hosts behind two cones reach each other when both send, whoever is first; a
// symmetric NAT shows another port than the one it was asked at.
func TestHolePunching(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	for _, tt := range []struct {
		a, b NAT
		want string
	}{{Cone, Cone, "through"}, {Cone, Symmetric, "silence"}, {Cone, Firewalled, "silence"}} {
		t.Run(fmt.Sprintf("%s-%s", tt.a, tt.b), func(t *testing.T) {
			a, b := must(l.Client(ctx, Link{}, tt.a))(t), must(l.Client(ctx, Link{}, tt.b))(t)
			other := helper(t, b, "punch", a.Public.String()+":5000")
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			if got := output(t, a, "punch", b.Public.String()+":5000"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if err := other.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLANSharesOneAddress(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	server := must(l.Server(ctx, Link{}))(t)
	hosts := must(l.LAN(ctx, Link{Up: 4 * Mbit, Down: 4 * Mbit}, 2))(t)
	start(t, server, "mirror", "10.77.1.1:3478")
	start(t, hosts[0], "sink", ":7000")
	for _, h := range hosts {
		if out := output(t, h, "ask", "10.77.1.1:3478"); !strings.HasPrefix(out, "10.77.2.1:") {
			t.Errorf("%s is seen as %s", h.Name, out)
		}
	}
	took := must(strconv.ParseFloat(output(t, hosts[1], "send", hosts[0].IP.String()+":7000", "4000000"), 64))(t)
	if took > 2 {
		t.Errorf("4 MB within the local network took %.1f s: is it shaped?", took)
	}
}

func TestLoss(t *testing.T) {
	l := ForTest(t)
	ctx := t.Context()
	server := must(l.Server(ctx, Link{}))(t)
	client := must(l.Client(ctx, Link{Loss: 0.5}, Open))(t)
	start(t, server, "mirror", "10.77.1.1:3478")
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("ping is not installed")
	}
	// Once it knows the address it asks for none, which would be lost as well.
	once := []string{"-q", "-c", "1", "-W", "1", "10.77.1.1"}
	for tries := 1; ; tries++ {
		if _, err := client.Run(ctx, "ping", once...); err == nil {
			break
		} else if tries == 100 { // ARP is lost as well
			t.Fatalf("no answer in %d tries: %v", tries, err)
		}
	}
	out, err := client.Run(ctx, "ping", "-q", "-i", "0.01", "-c", "200", "-W", "1", "10.77.1.1")
	if err != nil {
		t.Fatal(err)
	}
	// Those that found no address for the loss of ARP were never sent: "+24 errors".
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received(?:, \+(\d+) errors)?`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("ping says %q", out)
	}
	sent, received, errs := number(m[1]), number(m[2]), number(m[3])
	within(t, "percent lost", 100*(1-received/max(sent-errs, 1)), 60, 90) // 1 − ½·½ = 75 %
}

func number(b []byte) float64 {
	n, _ := strconv.ParseFloat(string(b), 64) // empty: none
	return n
}

func TestCommandEndsWithItsContext(t *testing.T) {
	l := ForTest(t)
	h := must(l.Client(t.Context(), Link{}, Open))(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := h.Command(ctx, "sh", "-c", "sleep 1000 & echo; wait")
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	must(out.Read(make([]byte, 1)))(t)
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("the command ended well although it was killed")
	}
}

func TestOwnerOfNamespace(t *testing.T) {
	for name, want := range map[string]int{
		family + "123-00ff-c1": 123, family + "x-1-c1": 0, "other-123-c1": 0, family: 0, family + "-5-c1": 0,
	} {
		if pid, ok := owner(name); (ok && pid != want) || ok != (want != 0) {
			t.Errorf("owner(%q) = %d, %v, want %d", name, pid, ok, want)
		}
	}
}

func TestSweepsLabsOfDeadProcesses(t *testing.T) {
	Skip(t)
	dead := exec.CommandContext(t.Context(), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	stale := fmt.Sprintf("%s%d-0000-c1", family, dead.Process.Pid)
	must(run(t.Context(), "ip", "netns", "add", stale))(t)
	ForTest(t)
	if out := must(run(t.Context(), "ip", "netns", "list"))(t); bytes.Contains(out, []byte(stale)) {
		t.Errorf("%s is still there", stale)
	}
}

func mappings(seen []string) int {
	set := map[string]bool{}
	for _, s := range seen {
		if s != "silence" {
			set[s] = true
		}
	}
	return len(set)
}

func within(t *testing.T, what string, got, low, high float64) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %.2f outside %.2f..%.2f", what, got, low, high)
	}
}

// must unwraps a result whose error ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
