package portmap

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

const routesHead = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"

// route is a line of the table.
func route(dst, mask uint32, via string, flags, metric int) string {
	a := netip.MustParseAddr(via).As4()
	return fmt.Sprintf("eth0\t%08X\t%08X\t%04X\t0\t0\t%d\t%08X\t0\t0\t0\n", dst, binary.NativeEndian.Uint32(a[:]), flags, metric, mask)
}

func TestRoutes(t *testing.T) {
	for name, tt := range map[string]struct{ table, want string }{
		"one":          {route(0, 0, "192.168.1.1", 3, 100), "192.168.1.1"},
		"lower metric": {route(0, 0, "10.0.0.1", 3, 600) + route(0, 0, "192.168.1.1", 3, 100) + route(0, 0, "10.0.0.2", 3, 300), "192.168.1.1"},
		"a network":    {route(1, 0xff, "192.168.1.1", 3, 0), ""},
		"half of all":  {route(0, 1, "192.168.1.1", 3, 0), ""},
		"a tunnel":     {route(0, 0, "0.0.0.0", 1, 0), ""},
		"down":         {route(0, 0, "192.168.1.1", 2, 0), ""},
		"nothing":      {"", ""},
		"nonsense":     {"eth0 00000000 xx yy 0 0 zz 00000000\n", ""},
	} {
		got, err := parseRoutes([]byte(routesHead + tt.table))
		if tt.want == "" && err == nil || tt.want != "" && (err != nil || got.String() != tt.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzRoutes(f *testing.F) {
	f.Add(routesHead + route(0, 0, "192.168.1.1", 3, 100))
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseRoutes([]byte(s))
		if (err == nil) != a.IsValid() || a.IsValid() && (a.IsUnspecified() || !strings.Contains(s, "00000000")) {
			t.Errorf("%v, %v", a, err)
		}
	})
}
