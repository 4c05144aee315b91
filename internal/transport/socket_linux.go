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

// tcpRTT is the kernel's smoothed round trip, 0 when not known.
func tcpRTT(c *net.TCPConn) (rtt time.Duration) {
	tcpInfo(c, func(i *unix.TCPInfo) { rtt = time.Duration(i.Rtt) * time.Microsecond })
	return rtt
}

// tcpPackets are those sent with data, and those sent again.
func tcpPackets(c *net.TCPConn) (sent, lost int64) {
	tcpInfo(c, func(i *unix.TCPInfo) { sent, lost = int64(i.Data_segs_out), int64(i.Total_retrans) })
	return sent, lost
}

// tcpLosses is what the kernel knows of losses, if it tells.
func tcpLosses(c *net.TCPConn) (l losses, ok bool) {
	tcpInfo(c, func(i *unix.TCPInfo) {
		l = losses{
			lost: int64(i.Total_retrans),
			rtt:  time.Duration(i.Rtt) * time.Microsecond, minRTT: time.Duration(i.Min_rtt) * time.Microsecond,
		}
		ok = true
	})
	return l, ok
}

// tcpByRate makes BBR the congestion control, where the kernel has it loaded; then any
// user may choose it.
func tcpByRate(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
	})
}

// tcpInfo shows what the kernel knows of a connection (TCP_INFO), if it tells.
func tcpInfo(c *net.TCPConn, show func(*unix.TCPInfo)) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			show(info)
		}
	})
}
