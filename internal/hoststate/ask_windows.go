package hoststate

import (
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// idleAfter is how long nobody must have touched anything for the machine to be idle.
const idleAfter = 5 * time.Minute

var (
	powerStatus = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemPowerStatus")
	lastInput   = windows.NewLazySystemDLL("user32.dll").NewProc("GetLastInputInfo")
	tickCount   = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetTickCount")
)

// ask knows nothing of metered links: only the Windows Runtime tells of them.
func ask() (s State) {
	var power struct {
		ac, flag, percent, saver byte
		life, full               uint32
	}
	if ok, _, _ := powerStatus.Call(uintptr(unsafe.Pointer(&power))); ok != 0 {
		switch power.ac {
		case 0:
			s.Battery = Yes
		case 1:
			s.Battery = No
		}
	}
	last := struct{ size, ticks uint32 }{size: 8}
	if ok, _, _ := lastInput.Call(uintptr(unsafe.Pointer(&last))); ok != 0 {
		now, _, _ := tickCount.Call()
		s.Idle = answer(time.Duration(uint32(now)-last.ticks)*time.Millisecond > idleAfter)
	}
	return s
}

// tunnel goes by the type of the adapter: PPP is Windows' own VPNs, and the rare line
// that is dialled. OpenVPN's older driver claims to be Ethernet.
func tunnel(ifc net.Interface) Answer {
	const propVirtual = 53 // IF_TYPE_PROP_VIRTUAL: Wintun, and WireGuard with it
	row := windows.MibIfRow{Index: uint32(ifc.Index)}
	if windows.GetIfEntry(&row) != nil {
		return Unknown
	}
	return answer(row.Type == windows.IF_TYPE_TUNNEL || row.Type == windows.IF_TYPE_PPP || row.Type == propVirtual)
}
