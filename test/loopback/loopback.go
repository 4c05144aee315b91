// Package loopback finds addresses on which servers of tests can listen.
package loopback

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// Ports below those that Linux, macOS and Windows give by themselves: an address that is
// free would else become the near end of somebody's connection before its server listens, or
// while it is started again.
const firstPort, ports = 10_000, 22_000

var next atomic.Uint32

func init() { next.Store(rand.Uint32N(ports)) } // packages are tested side by side

// Addr is an address of 127.0.0.1, with its port, on which nobody listens. No two calls in
// a process get the same one.
func Addr(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	var err error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+int(next.Add(1)%ports)))
		var l net.Listener
		if l, err = lc.Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatalf("no free port on loopback: %v", err)
	return ""
}
