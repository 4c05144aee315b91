//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Host is one machine of the lab.
type Host struct {
	Name   string     // e1, e2, … for servers, c1, c2, … for clients
	IP     netip.Addr // the host's own address
	Public netip.Addr // the address others see: of its NAT where it has one

	ns    string // namespace of the host
	wanNS string // namespace with the end of the shaped link: the host's or its router's

	gateway netip.Addr // the router's address on the local network, if there is one
}

// uplink is the name of a host's or router's interface to the core.
const uplink = "eth0"

// Server adds a public host at the next address of 10.77.1.0/24.
func (l *Lab) Server(ctx context.Context, link Link) (*Host, error) {
	l.mu.Lock()
	l.servers++
	n := l.servers
	l.mu.Unlock()
	h := &Host{Name: fmt.Sprintf("e%d", n), IP: address(1, n)}
	h.Public = h.IP
	ns, err := l.addMachine(ctx, h.Name)
	if err != nil {
		return nil, err
	}
	h.ns, h.wanNS = ns, ns
	return h, l.plug(ctx, ns, h.IP, link)
}

// Client adds a host behind a NAT of the given kind, or none. Its public address
// is the next of 10.77.2.0/24.
func (l *Lab) Client(ctx context.Context, link Link, kind NAT) (*Host, error) {
	if kind != Open {
		hosts, err := l.behind(ctx, link, kind, 10, 1)
		if err != nil {
			return nil, err
		}
		return hosts[0], nil
	}
	n := l.nextClient()
	h := &Host{Name: fmt.Sprintf("c%d", n), IP: address(2, n)}
	h.Public = h.IP
	ns, err := l.addMachine(ctx, h.Name)
	if err != nil {
		return nil, err
	}
	h.ns, h.wanNS = ns, ns
	return h, l.plug(ctx, ns, h.IP, link)
}

// Clients adds n hosts like [Lab.Client].
func (l *Lab) Clients(ctx context.Context, n int, link Link, kind NAT) ([]*Host, error) {
	hosts := make([]*Host, n)
	for i := range hosts {
		h, err := l.Client(ctx, link, kind)
		if err != nil {
			return nil, err
		}
		hosts[i] = h
	}
	return hosts, nil
}

// LAN adds n hosts on one unshaped local network that share link behind one
// cone NAT.
func (l *Lab) LAN(ctx context.Context, link Link, n int) ([]*Host, error) {
	return l.behind(ctx, link, Cone, 10, n)
}

// Home adds a host like [Lab.Client] whose router has an address of 11.77.2.0/24. No list
// of private networks has that, so that what is for public addresses alone, such as port
// mapping, works there.
func (l *Lab) Home(ctx context.Context, link Link, kind NAT) (*Host, error) {
	hosts, err := l.behind(ctx, link, kind, 11, 1)
	if err != nil {
		return nil, err
	}
	return hosts[0], nil
}

// Router is the router of a host behind one: the same network, from its other side.
func (h *Host) Router() *Host {
	return &Host{Name: "router of " + h.Name, IP: h.gateway, Public: h.Public, ns: h.wanNS, wanNS: h.wanNS}
}

func (l *Lab) nextClient() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients++
	return l.clients
}

// addMachine makes a namespace whose TCP runs cubic.
func (l *Lab) addMachine(ctx context.Context, name string) (string, error) {
	ns, err := l.addNamespace(ctx, name)
	if err != nil {
		return "", err
	}
	return ns, setCubic(ctx, ns)
}

func address(third, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(third), byte(n)})
}

// Command is a command on the host, in a process group of its own that is killed
// when ctx ends. The caller starts it; what still runs when the lab is closed is
// killed then.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	line := in(h.ns, append([]string{name}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "TANDEM_UPLOAD_ALSO=battery,metered,vpn") // of whatever the lab is on
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs a command on the host and returns what it printed.
func (h *Host) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	line := in(h.ns, append([]string{name}, args...)...)
	return run(ctx, line[0], line[1:]...)
}

// Counters are the bytes that crossed a host's shaped link, all headers counted.
type Counters struct {
	Sent     int64
	Received int64
}

// Counters reads the link of the host, or of the router it is behind.
func (h *Host) Counters(ctx context.Context) (Counters, error) {
	out, err := run(ctx, "ip", "-n", h.wanNS, "-s", "-j", "link", "show", "dev", uplink)
	if err != nil {
		return Counters{}, err
	}
	var links []struct {
		Stats struct {
			TX, RX struct{ Bytes int64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		return Counters{}, fmt.Errorf("counters of host %s: unexpected output of ip: %.100s", h.Name, out)
	}
	s := links[0].Stats
	return Counters{Sent: s.TX.Bytes, Received: s.RX.Bytes}, nil
}

// CongestionControl is what TCP of the host runs.
func (h *Host) CongestionControl(ctx context.Context) (string, error) {
	out, err := h.Run(ctx, "sysctl", "-n", "net.ipv4.tcp_congestion_control")
	return strings.TrimSpace(string(out)), err
}
