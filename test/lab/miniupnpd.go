//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// NeedPortMapper skips a test where there is no program for routers that map ports.
func NeedPortMapper(t testing.TB) {
	t.Helper()
	Skip(t)
	if _, err := exec.LookPath("miniupnpd"); err != nil {
		t.Skip("no router that maps ports: miniupnpd is not installed (Debian: miniupnpd-nftables)")
	}
}

// PortProtocols is what a router that maps ports speaks.
type PortProtocols string

// What routers speak.
const (
	SpeakAll  PortProtocols = "all"  // PCP, NAT-PMP and UPnP
	SpeakUPnP PortProtocols = "upnp" // as most home routers
	SpeakPMP  PortProtocols = "pmp"  // PCP and NAT-PMP
)

// ServePortMapping has the router of a host map ports, with miniupnpd, until ctx ends or
// the lab is closed. Files go into dir. The command that runs is for those who want to
// end it earlier; what it had mapped is gone then.
func (h *Host) ServePortMapping(ctx context.Context, dir string, speak PortProtocols) (*exec.Cmd, error) {
	router := h.Router()
	// A table of its own; a mapping is a rule in each of the chains that are jumped to.
	const table = `table inet miniupnpd { }; delete table inet miniupnpd; table inet miniupnpd {
chain forwarded { }; chain pre { }; chain post { };
chain forward { type filter hook forward priority -1; policy accept; jump forwarded; };
chain prerouting { type nat hook prerouting priority -100; policy accept; jump pre; };
chain postrouting { type nat hook postrouting priority 99; policy accept; jump post; };
};`
	if _, err := router.Run(ctx, "nft", table); err != nil {
		return nil, err
	}
	on := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	conf := strings.Join([]string{
		"ext_ifname=" + uplink, "listening_ip=lan", "port=0",
		"enable_upnp=" + on(speak != SpeakPMP), "enable_natpmp=" + on(speak != SpeakUPnP),
		"secure_mode=yes", "system_uptime=no", "min_lifetime=60", "max_lifetime=86400",
		"uuid=00000000-0000-4000-8000-000000000001",
		"upnp_table_name=miniupnpd", "upnp_nat_table_name=miniupnpd",
		"upnp_forward_chain=forwarded", "upnp_nat_chain=pre", "upnp_nat_postrouting_chain=post",
		"allow 1024-65535 192.168.0.0/16 1024-65535", "deny 0-65535 0.0.0.0/0 0-65535", "",
	}, "\n")
	file := filepath.Join(dir, "miniupnpd.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("router that maps ports: %w", err)
	}
	cmd := router.Command(ctx, "miniupnpd", "-d", "-f", file, "-P", filepath.Join(dir, "pid"))
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, router.hears(ctx, speak)
}

// hears waits until somebody listens on a host where requests go: one that comes sooner is
// turned away, and who asks takes it for a router that does not speak the protocol.
func (h *Host) hears(ctx context.Context, speak PortProtocols) error {
	port := ":14E7 " // 5351
	if speak == SpeakUPnP {
		port = ":076C " // 1900
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		sockets, err := h.Run(ctx, "cat", "/proc/net/udp", "/proc/net/udp6")
		if err != nil {
			return fmt.Errorf("router that maps ports: it does not listen: %w", err)
		}
		if strings.Contains(string(sockets), port) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("router that maps ports: it does not listen: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
