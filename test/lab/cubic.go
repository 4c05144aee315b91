//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// allowedPath lists the congestion controls a namespace may choose. It belongs
// to the machine: setCubic leaves it as it was.
const allowedPath = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"

// setCubic makes cubic the congestion control of a namespace, whatever the
// machine's own is. Where cubic is not for every user, the machine's list is
// widened for a moment, under a lock that all labs share. A machine that has no
// cubic keeps what it has: see [Host.CongestionControl].
func setCubic(ctx context.Context, ns string) error {
	set := in(ns, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=cubic")
	if _, err := run(ctx, set[0], set[1:]...); err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	unlock, err := lockMachine()
	if err != nil {
		return err
	}
	defer unlock()
	before, err := os.ReadFile(allowedPath)
	if err != nil {
		return fmt.Errorf("congestion control of the lab: %w", err)
	}
	if slices.Contains(strings.Fields(string(before)), "cubic") {
		return nil // it was allowed: the kernel lacks it
	}
	wider := strings.TrimSpace(string(before)) + " cubic\n"
	if err := os.WriteFile(allowedPath, []byte(wider), 0); err != nil {
		return nil //nolint:nilerr // the kernel has no cubic, or this is a container
	}
	_, _ = run(ctx, set[0], set[1:]...)
	if err := os.WriteFile(allowedPath, before, 0); err != nil {
		return fmt.Errorf("congestion control of the machine: restore the allowed list: %w", err)
	}
	return nil
}

// lockMachine waits for the lock that labs take before they touch anything
// outside their namespaces.
func lockMachine() (unlock func(), err error) {
	f, err := os.OpenFile("/run/"+family+"lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the lab: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock of the lab: %w", fmt.Errorf("%s: %w", f.Name(), err))
	}
	return func() { _ = f.Close() }, nil
}
