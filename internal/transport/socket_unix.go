//go:build unix

package transport

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sharePort lets further sockets of this user have the port of a socket, each for
// connections of its own. Set on a listener once it listens, it still leaves the port to
// one listener: the next is not told to share when it asks.
func sharePort(raw syscall.RawConn) error {
	var sockErr error
	err := raw.Control(func(fd uintptr) {
		if sockErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); sockErr == nil {
			sockErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	if err != nil {
		return err
	}
	return sockErr
}
