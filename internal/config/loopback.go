package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ErrAddress says that other machines could reach an address.
var ErrAddress = errors.New("it must be a loopback address, such as 127.0.0.1:0")

// Loopback refuses addresses that other machines can reach.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w: %w", addr, ErrAddress, err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("address %q: %w", addr, ErrAddress)
	}
	return nil
}
