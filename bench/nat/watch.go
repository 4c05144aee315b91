//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/tandem-cdn/tandem/test/lab"
)

// servers are the addresses of the lab that are not peers.
const servers = "10.77.1.0/24"

// watch lets the kernel of a host count what arrives from other clients.
func watch(ctx context.Context, h *lab.Host) error {
	_, err := h.Run(ctx, "nft", fmt.Sprintf(`table ip watch {
	counter overtcp {}
	counter overudp {}
	chain in { type filter hook input priority -300; policy accept;
		ip saddr != { %[1]s, 127.0.0.0/8 } meta l4proto tcp counter name overtcp;
		ip saddr != { %[1]s, 127.0.0.0/8 } meta l4proto udp counter name overudp;
	}
}`, servers))
	return err
}

// watched are the bytes counted since [watch].
func watched(ctx context.Context, h *lab.Host) (tcp, udp int64, err error) {
	out, err := h.Run(ctx, "nft", "-j", "list", "counters", "table", "ip", "watch")
	if err != nil {
		return 0, 0, err
	}
	var list struct {
		Nftables []struct {
			Counter struct {
				Name  string
				Bytes int64
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return 0, 0, fmt.Errorf("counters of host %s: %w", h.Name, err)
	}
	for _, e := range list.Nftables {
		switch e.Counter.Name {
		case "overtcp":
			tcp = e.Counter.Bytes
		case "overudp":
			udp = e.Counter.Bytes
		}
	}
	return tcp, udp, nil
}

// firstByte reads from a client's log how many seconds after it was told of peers the
// first of them sent something; 0 where none did.
func firstByte(log string) (float64, error) {
	b, err := os.ReadFile(log)
	if err != nil {
		return 0, fmt.Errorf("time to the first byte: %w", err)
	}
	m := firstBytes.FindSubmatch(b)
	if m == nil {
		return 0, nil
	}
	d, err := time.ParseDuration(string(m[1]))
	if err != nil {
		return 0, fmt.Errorf("time to the first byte: %w", err)
	}
	return d.Seconds(), nil
}

var firstBytes = regexp.MustCompile(`msg="first bytes from a peer".* after=(\S+)`)
