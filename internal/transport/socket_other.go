//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"
)

func controlTCP(_, _ string, _ syscall.RawConn) error { return nil }

func tcpRTT(*net.TCPConn) time.Duration { return 0 }

func tcpPackets(*net.TCPConn) (sent, lost int64) { return 0, 0 }

func tcpLosses(*net.TCPConn) (losses, bool) { return losses{}, false }

func tcpByRate(*net.TCPConn) {}
