package transport

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// controlTCP bounds what the kernel holds unsent, so that data waits where the
// upload scheduler still decides about it.
func controlTCP(_, _ string, raw syscall.RawConn) error {
	// Without the option the link works all the same.
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, tcpUnsent)
	})
}

// tcpRTT is the kernel's smoothed round trip (TCP_INFO), 0 when not known.
func tcpRTT(c *net.TCPConn) time.Duration {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var rtt time.Duration
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			rtt = time.Duration(info.Rtt) * time.Microsecond
		}
	})
	return rtt
}
