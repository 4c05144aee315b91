package transport

import (
	"crypto/tls"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Both ends of a TCP link keep little unsent in the kernel, and know the round
// trip.
func TestTCPOptions(t *testing.T) {
	a, b := listen(t, Config{Key: keyOf("a")}), listen(t, Config{Key: keyOf("b")})
	atA, atB := link(t, a, b, candidate(a, "tcp"), candidate(b, "tcp"))
	for _, c := range []*Conn{atA, atB} {
		raw, err := c.stream.(tcpStream).out.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var lowat, nodelay int
		err = raw.Control(func(fd uintptr) {
			lowat, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT)
			nodelay, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY)
		})
		if err != nil || lowat != tcpUnsent || nodelay != 1 {
			t.Errorf("unsent %d, no delay %d, %v", lowat, nodelay, err)
		}
		if c.RTT() <= 0 {
			t.Error("no round trip known")
		}
		if cs := c.stream.(tcpStream).ConnectionState(); cs.Version != tls.VersionTLS13 || cs.DidResume {
			t.Errorf("TLS %x, resumed: %v", cs.Version, cs.DidResume)
		}
	}
	checkSame(t, atA, atB)
}
