package portmap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// maxRoutes bounds what is read of the routing table, in bytes.
const maxRoutes = 1 << 20

// defaultGateway is the router of the default route with the lowest metric.
func defaultGateway() (netip.Addr, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRoutes))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errNoGateway, err)
	}
	return parseRoutes(b)
}

// parseRoutes reads the table of proc_net(5), whose addresses are in hexadecimal, in
// the byte order of the machine.
func parseRoutes(b []byte) (gateway netip.Addr, err error) {
	const up, viaGateway = 0x1, 0x2
	best := uint64(1) << 32
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		via, errVia := strconv.ParseUint(f[2], 16, 32)
		flags, errFlags := strconv.ParseUint(f[3], 16, 16)
		metric, errMetric := strconv.ParseUint(f[6], 10, 32)
		if errVia != nil || errFlags != nil || errMetric != nil || flags&(up|viaGateway) != up|viaGateway {
			continue
		}
		if via != 0 && metric < best {
			var a [4]byte
			binary.NativeEndian.PutUint32(a[:], uint32(via))
			best, gateway = metric, netip.AddrFrom4(a)
		}
	}
	if !gateway.IsValid() {
		return netip.Addr{}, errNoGateway
	}
	return gateway, nil
}
