//go:build linux

package transport_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/nat"
	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
	"github.com/tandem-cdn/tandem/test/lab"
)

func TestMain(m *testing.M) {
	lab.Main(m, map[string]func([]string) error{
		"stun": serveSTUN,
		"peer": func(args []string) error { return runPeer(args[0], args[1], args[2], args[3:]) },
	})
}

// serveSTUN answers STUN requests on all addresses until killed, and tells who connects
// over TCP where from, as control does; connections stay open.
func serveSTUN(addrs []string) error {
	errs := make(chan error)
	for _, a := range addrs {
		l, err := net.Listen("tcp4", a)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					errs <- err
					return
				}
				fmt.Fprintln(c, c.RemoteAddr())
			}
		}()
		pc, err := net.ListenPacket("udp4", a)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					errs <- err
					return
				}
				_, _ = pc.WriteTo(nat.Answer(buf[:n], from.(*net.UDPAddr).AddrPort()), from)
			}
		}()
	}
	fmt.Println("ready")
	return <-errs
}

// outcome is what a peer tells of its race.
type outcome struct {
	Kind   transport.Kind
	Remote string
	Millis int64
	Err    string
}

// runPeer says how it can be reached, reads of its peer, and tells the outcome,
// one line of JSON each. The link is idle for a while before it is used.
func runPeer(local, listenTCP, idle string, stun []string) error {
	ctx := context.Background()
	wait, err := time.ParseDuration(idle)
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	e, err := transport.Listen(transport.Config{Key: key, ListenTCP: listenTCP})
	if err != nil {
		return err
	}
	defer e.Close()
	self := wire.Candidate{Key: e.Key(), Addrs: e.Addrs(netip.MustParseAddr(local))}
	mapped, kind, err := e.Gather(ctx, stun)
	if err != nil && !errors.Is(err, nat.ErrBlocked) {
		return err
	}
	seen, err := seenTCP(ctx, e, stun[0])
	if err != nil {
		return err
	}
	self.Addrs, self.NAT = slices.Concat(self.Addrs, mapped, seen), kind
	go e.Keep(ctx, stun, mapped, func(now []wire.Addr, _ wire.NAT) {
		fmt.Fprintf(os.Stderr, "the mapping has become %v\n", now)
	})
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(self); err != nil {
		return err
	}
	var peer wire.Candidate
	if err := json.NewDecoder(os.Stdin).Decode(&peer); err != nil {
		return err
	}
	start := time.Now()
	c, err := e.Connect(ctx, peer)
	if errors.Is(err, transport.ErrLinked) {
		c, err = e.Accept(ctx)
	}
	result := outcome{Millis: time.Since(start).Milliseconds()}
	if err != nil {
		result.Err = err.Error()
		return out.Encode(result)
	}
	defer c.Close()
	result.Kind, result.Remote = c.Kind(), c.RemoteAddr().String()
	timer := time.NewTimer(wait)
	<-timer.C
	if err := exchange(c, e.Key()); err != nil {
		result.Err = err.Error()
	}
	return out.Encode(result)
}

// seenTCP is how a server sees the port that e takes links on, if it does.
func seenTCP(ctx context.Context, e *transport.Endpoint, server string) ([]wire.Addr, error) {
	d, ok := e.FromListener(net.Dialer{})
	if !ok {
		return nil, nil
	}
	c, err := d.DialContext(ctx, "tcp", server) // stays open, as a session with control does
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return []wire.Addr{{Net: "tcp", Kind: "mapped", Addr: strings.TrimSpace(line)}}, err
}

// exchange sends each side's key to the other.
func exchange(c *transport.Conn, self wire.Key) error {
	if _, err := c.Write(self[:]); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if want := c.Peer(); string(got) != string(want[:]) {
		return fmt.Errorf("got %d wrong bytes", len(got))
	}
	return nil
}

// peerOn is a peer running on a host of the lab.
type peerOn struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
	own wire.Candidate
}

func (p *peerOn) stop() {
	_ = p.cmd.Cancel()
	_ = p.cmd.Wait()
}

func startPeer(ctx context.Context, h *lab.Host, listenTCP string, idle time.Duration) (*peerOn, error) {
	cmd := h.As(ctx, "peer", h.IP.String(), listenTCP, idle.String(), "10.77.1.1:3478", "10.77.1.1:3479")
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		return nil, err
	}
	p := &peerOn{cmd: cmd, in: in, out: bufio.NewReader(out)}
	if err := p.read(&p.own); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *peerOn) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

func (p *peerOn) tell(peer wire.Candidate) error { return json.NewEncoder(p.in).Encode(peer) }

// race is one pair of hosts that are told to link.
type race struct {
	name      string
	a, b      *lab.Host
	listenTCP string
	rest      time.Duration // how long both wait to be told
	idle      time.Duration // how long the link is not used
	skew      time.Duration // how much later the second is told
	want      transport.Kind

	natA, natB wire.NAT
	atA, atB   outcome
	err        error
}

func (r *race) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	peerA, err := startPeer(ctx, r.a, r.listenTCP, r.idle)
	if err != nil {
		return err
	}
	defer peerA.stop()
	peerB, err := startPeer(ctx, r.b, r.listenTCP, r.idle)
	if err != nil {
		return err
	}
	defer peerB.stop()
	r.natA, r.natB = peerA.own.NAT, peerB.own.NAT
	rested := time.NewTimer(r.rest)
	defer rested.Stop()
	<-rested.C
	errA := peerA.tell(peerB.own)
	timer := time.NewTimer(r.skew)
	defer timer.Stop()
	<-timer.C
	return errors.Join(errA, peerB.tell(peerA.own), peerA.read(&r.atA), peerB.read(&r.atB))
}

func (r *race) check(t *testing.T) {
	if r.err != nil {
		t.Fatal(r.err)
	}
	failed := r.want != "" && (r.atA.Err != "" || r.atB.Err != "")
	if failed || r.atA.Kind != r.want || r.atB.Kind != r.want {
		t.Errorf("got %+v and %+v, want %q", r.atA, r.atB, r.want)
	}
	t.Logf("%q after %d and %d ms", r.want, r.atA.Millis, r.atB.Millis)
}

// Which pairs of NATs link, and how. The kernel's NAT filters by address and
// port, so a cone and a symmetric NAT do not.
func TestNATs(t *testing.T) {
	l := lab.ForTest(t)
	startSTUN(t, l)
	kinds := map[lab.NAT]wire.NAT{
		lab.Open: wire.NATOpen, lab.Cone: wire.NATCone, lab.Renumbered: wire.NATCone,
		lab.Symmetric: wire.NATSymmetric, lab.Firewalled: wire.NATBlocked,
	}
	hosts := make(map[lab.NAT][]*lab.Host)
	for kind := range kinds {
		clients, err := l.Clients(t.Context(), 2, lab.Link{}, kind)
		if err != nil {
			t.Fatal(err)
		}
		hosts[kind] = clients
	}
	lan, err := l.LAN(t.Context(), lab.Link{}, 2)
	if err != nil {
		t.Fatal(err)
	}

	far, err := l.Clients(t.Context(), 1, lab.Link{Delay: 100 * time.Millisecond}, lab.Cone)
	if err != nil {
		t.Fatal(err)
	}
	forgetful, err := l.Clients(t.Context(), 2, lab.Link{}, lab.Renumbered)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range forgetful {
		if err := h.ForgetUDP(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}

	const none = transport.Kind("")
	races := []*race{
		{name: "LAN", a: lan[0], b: lan[1], want: transport.KindTCP},
		{name: "LAN without TCP", a: lan[0], b: lan[1], listenTCP: transport.Off, want: transport.KindQUIC},
		{name: "mappings kept", a: forgetful[0], b: forgetful[1], listenTCP: transport.Off, rest: 25 * time.Second, want: transport.KindQUIC},
		{name: "idle link kept", a: forgetful[0], b: forgetful[1], listenTCP: transport.Off, idle: 25 * time.Second, want: transport.KindQUIC},
		{name: "far away", a: far[0], b: hosts[lab.Open][0], want: transport.KindTCP},
		{name: "cone-cone, told apart", a: hosts[lab.Cone][0], b: hosts[lab.Cone][1], skew: 400 * time.Millisecond, want: transport.KindTCP},
		{name: "firewalled-firewalled, told apart", a: hosts[lab.Firewalled][0], b: hosts[lab.Firewalled][1], skew: 400 * time.Millisecond, want: transport.KindTCP},
	}
	for _, c := range []struct {
		a, b      lab.NAT
		want, udp transport.Kind // udp: when nobody listens on TCP
	}{
		{lab.Open, lab.Open, transport.KindTCP, transport.KindQUIC},
		{lab.Open, lab.Cone, transport.KindTCP, transport.KindQUIC},
		{lab.Open, lab.Symmetric, transport.KindTCP, transport.KindQUIC},
		{lab.Open, lab.Firewalled, transport.KindTCP, none},
		{lab.Cone, lab.Cone, transport.KindTCP, transport.KindQUIC},
		{lab.Cone, lab.Renumbered, transport.KindTCP, transport.KindQUIC},
		{lab.Renumbered, lab.Renumbered, transport.KindTCP, transport.KindQUIC},
		{lab.Renumbered, lab.Firewalled, transport.KindTCP, none},
		{lab.Cone, lab.Symmetric, none, none},
		{lab.Cone, lab.Firewalled, transport.KindTCP, none},
		{lab.Symmetric, lab.Symmetric, none, none},
		{lab.Symmetric, lab.Firewalled, none, none},
		{lab.Firewalled, lab.Firewalled, transport.KindTCP, none},
	} {
		name, a, b := fmt.Sprintf("%s-%s", c.a, c.b), hosts[c.a][0], hosts[c.b][1]
		races = append(races, &race{name: name, a: a, b: b, want: c.want})
		if c.want != none {
			races = append(races, &race{name: name + " without TCP", a: a, b: b, listenTCP: transport.Off, want: c.udp})
		}
	}
	var wg sync.WaitGroup
	for _, r := range races {
		// TCP wins if it comes soon after QUIC: a crowd of races would decide that.
		if r.want == transport.KindTCP {
			r.err = r.run(t.Context())
		}
	}
	for _, r := range races {
		if r.want != transport.KindTCP {
			wg.Go(func() { r.err = r.run(t.Context()) })
		}
	}
	wg.Wait()
	for _, r := range races {
		t.Run(r.name, r.check)
	}
	for _, c := range []lab.NAT{lab.Open, lab.Cone, lab.Renumbered, lab.Symmetric, lab.Firewalled} {
		t.Run(fmt.Sprintf("looks %s", c), func(t *testing.T) {
			for _, r := range races {
				if r.a == hosts[c][0] && r.natA != kinds[c] || r.b == hosts[c][1] && r.natB != kinds[c] {
					t.Errorf("%s: NATs look like %q and %q", r.name, r.natA, r.natB)
				}
			}
		})
	}
}

// startSTUN runs a STUN server on two ports of the lab's first server.
func startSTUN(t *testing.T, l *lab.Lab) {
	t.Helper()
	server, err := l.Server(t.Context(), lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	stun := server.As(t.Context(), "stun", "10.77.1.1:3478", "10.77.1.1:3479")
	out, err := stun.StdoutPipe()
	if err := errors.Join(err, stun.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stun.Cancel()
		_ = stun.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
}
