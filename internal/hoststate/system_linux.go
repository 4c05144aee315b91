package hoststate

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The first attempt to reach a bus that was lost or never there is made again after
// retryFirst, then after twice as long every time, up to lookEvery.
const retryFirst = 500 * time.Millisecond

const powerSupplies = "/sys/class/power_supply"

// system is Linux: the system's bus, and what the kernel knows.
type system struct {
	log   *slog.Logger
	bus   *bus // nil while there is none
	wake  chan struct{}
	retry time.Duration
	mute  bool // that there is no bus was said
}

func newSystem(log *slog.Logger) *system {
	return &system{log: log, wake: make(chan struct{}, 1), retry: retryFirst}
}

func (s *system) close() {
	if s.bus != nil {
		s.bus.close()
	}
}

// stirred has something to receive when something may have changed.
func (s *system) stirred() <-chan struct{} { return s.wake }

func (s *system) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// look takes at most the time that a bus may take. again is when to look next.
func (s *system) look(ctx context.Context) (state State, again time.Duration) {
	again = lookEvery
	if s.connect(ctx) {
		state = s.bus.look(ctx)
		s.retry = retryFirst
	} else {
		again = s.retry
		s.retry = min(2*s.retry, lookEvery)
	}
	if state.Battery == Unknown {
		state.Battery = onBattery(powerSupplies)
	}
	state.VPN = max(state.VPN, throughTunnel(ctx))
	return state, again
}

func (s *system) connect(ctx context.Context) bool {
	if s.bus != nil && s.bus.alive() {
		return true
	}
	s.close()
	var err error
	if s.bus, err = dialBus(ctx, os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), s.stir); err != nil && !s.mute {
		s.log.Debug("no system bus, the state of the machine is known in part", "error", err)
	}
	s.mute = err != nil
	return err == nil
}

// onBattery is what the kernel tells of power supplies. The batteries of mice and
// keyboards do not count.
func onBattery(dir string) Answer {
	supplies, err := os.ReadDir(dir)
	if err != nil {
		return Unknown
	}
	discharging := false
	for _, s := range supplies {
		is := func(file, want string) bool {
			b, _ := os.ReadFile(filepath.Join(dir, s.Name(), file)) // "" is not that
			return strings.TrimSpace(string(b)) == want
		}
		switch {
		case is("scope", "Device"):
		case !is("type", "Battery"):
			if is("online", "1") {
				return No
			}
		case is("status", "Discharging"):
			discharging = true
		}
	}
	return answer(discharging)
}

// tunnelKinds are the kinds of interfaces that VPNs make; PPP is not one of them, for
// it is also how DSL lines are dialled.
var tunnelKinds = map[string]bool{"tun": true, "wireguard": true, "ovpn": true, "xfrm": true, "vti": true, "vti6": true}

// tunnel asks the kernel what an interface is made of.
func tunnel(ifc net.Interface) Answer {
	const infoKind = 1 // IFLA_INFO_KIND, in IFLA_LINKINFO
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return Unknown
	}
	links, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return Unknown
	}
	for i := range links {
		l := &links[i]
		if l.Header.Type != syscall.RTM_NEWLINK || len(l.Data) < syscall.SizeofIfInfomsg || interfaceIndex(l.Data) != ifc.Index {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(l)
		if err != nil {
			return Unknown
		}
		for _, a := range attrs {
			if a.Attr.Type == syscall.IFLA_LINKINFO {
				return answer(tunnelKinds[attribute(a.Value, infoKind)])
			}
		}
		return No // hardware
	}
	return Unknown
}
