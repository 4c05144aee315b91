package portmap

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/test/lab"
)

func TestMain(m *testing.M) {
	lab.Main(m, map[string]func([]string) error{
		"map":  func([]string) error { return keepMapped() },
		"call": func(args []string) error { return call(args[0], args[1], args[2]) },
	})
}

// keepMapped answers on a TCP and a UDP port, which it keeps mapped until its input
// ends, and prints each status as a line of JSON.
func keepMapped() error {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	pc, err := net.ListenPacket("udp4", ":"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "here")
			_ = c.Close()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte("here"), from)
		}
	}()
	out := json.NewEncoder(os.Stdout)
	m := New(Config{
		Ports:    func(netip.Addr) []Port { return []Port{{TCP, uint16(port)}, {UDP, uint16(port)}} },
		OnChange: func(st Status) { _ = out.Encode(st) },
	})
	m.core.checkEvery = time.Second
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	m.Run(ctx)
	return nil
}

// call says something to a port until it is answered, so many times.
func call(network, at, times string) error {
	n, last := strconv.Atoi(times)
	for range n {
		c, err := net.DialTimeout(network, at, time.Second)
		if err != nil {
			last = err
			continue
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if network == UDP {
			_, _ = c.Write([]byte("there?"))
		}
		buf := make([]byte, 4)
		_, last = io.ReadFull(c, buf)
		_ = c.Close()
		if last == nil {
			return nil
		}
	}
	return last
}

// mapped is a process that keeps ports mapped.
type mapped struct {
	in  io.Closer
	out *bufio.Reader
	cmd *exec.Cmd
}

func startMapped(t *testing.T, h *lab.Host) *mapped {
	t.Helper()
	cmd := h.As(t.Context(), "map")
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	m := &mapped{in, bufio.NewReader(out), cmd}
	t.Cleanup(func() { _ = cmd.Cancel(); _ = cmd.Wait() })
	return m
}

// both waits for a status with both ports mapped.
func (m *mapped) both(t *testing.T) Status {
	t.Helper()
	for {
		line, err := m.out.ReadBytes('\n')
		if err != nil {
			t.Fatalf("no mapping: %v", err)
		}
		var st Status
		if err := json.Unmarshal(line, &st); err != nil {
			t.Fatal(err)
		}
		if len(st.Mappings) == 2 {
			return st
		}
	}
}

// A real router, miniupnpd on the kernel's NAT: the ports can be reached from outside,
// also after it has forgotten everything, and in the end they cannot.
func TestRouter(t *testing.T) {
	lab.NeedPortMapper(t)
	l := lab.ForTest(t)
	caller, err := l.Server(t.Context(), lab.Link{})
	if err != nil {
		t.Fatal(err)
	}
	for speak, want := range map[lab.PortProtocols]Protocol{lab.SpeakAll: PCP, lab.SpeakUPnP: UPnP} {
		t.Run(string(speak), func(t *testing.T) {
			h, err := l.Home(t.Context(), lab.Link{}, lab.Symmetric)
			if err != nil {
				t.Fatal(err)
			}
			serve := func() *exec.Cmd {
				router, err := h.ServePortMapping(t.Context(), t.TempDir(), speak)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = router.Cancel(); _ = router.Wait() })
				return router
			}
			router := serve()
			began := time.Now()
			m := startMapped(t, h)
			st := m.both(t)
			if st.Protocol != want || st.Gateway != h.Router().IP {
				t.Errorf("status %+v", st)
			}
			t.Logf("mapped by %s %v after the start of the process", st.Protocol, time.Since(began).Round(time.Millisecond))
			reach := func(when string, is bool) {
				t.Helper()
				times := "1"
				if is {
					times = "5"
				}
				for _, p := range st.Mappings {
					if p.External.Addr() != h.Public || p.External.Port() != p.Internal {
						t.Errorf("%s: mapping %+v", when, p)
					}
					if err := caller.As(t.Context(), "call", p.Net, p.External.String(), times).Run(); (err == nil) != is {
						t.Errorf("%s: %s at %s: %v", when, p.Net, p.External, err)
					}
				}
			}
			reach("mapped", true)
			// The epoch counts seconds: a restart in the first of them cannot be told.
			<-time.After(5 * time.Second)
			_ = router.Cancel()
			_ = router.Wait()
			serve()
			waitRules(t, h, 2)
			reach("router restarted", true)
			_ = m.in.Close()
			if err := m.cmd.Wait(); err != nil {
				t.Error(err)
			}
			waitRules(t, h, 0)
			reach("ended", false)
		})
	}
}

// waitRules waits until a router has so many mappings.
func waitRules(t *testing.T, h *lab.Host, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		rules, err := h.Router().Run(t.Context(), "nft", "list", "chain", "inet", "miniupnpd", "pre")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(rules), "dnat"); got == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not %d mappings:\n%s", want, rules)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// NAT-PMP at the same router, as if it knew no PCP.
func TestRouterPMP(t *testing.T) {
	lab.NeedPortMapper(t)
	l := lab.ForTest(t)
	h, err := l.Home(t.Context(), lab.Link{}, lab.Cone)
	if err != nil {
		t.Fatal(err)
	}
	router, err := h.ServePortMapping(t.Context(), t.TempDir(), lab.SpeakPMP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = router.Cancel(); _ = router.Wait() })
	// PCP is cut off, and what is left of it answered by nobody.
	if _, err := h.Router().Run(t.Context(), "nft", "add rule ip filter input udp dport 5351 @th,64,8 2 drop"); err != nil {
		t.Fatal(err)
	}
	if st := startMapped(t, h).both(t); st.Protocol != NATPMP || st.Mappings[0].External.Addr() != h.Public {
		t.Errorf("status %+v", st)
	}
}
