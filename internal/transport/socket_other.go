//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"
)

func controlTCP(_, _ string, _ syscall.RawConn) error { return nil }

func tcpRTT(*net.TCPConn) time.Duration { return 0 }
