//go:build !linux && !darwin && !windows

package portmap

import (
	"fmt"
	"net/netip"
	"runtime"
)

func defaultGateway() (netip.Addr, error) {
	return netip.Addr{}, fmt.Errorf("%w: not looked for on %s", errNoGateway, runtime.GOOS)
}
