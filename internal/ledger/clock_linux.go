package ledger

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// passedSince is the time since the machine was started, sleep included.
func passedSince(start time.Time) func() time.Duration {
	return func() time.Duration {
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
			return time.Since(start)
		}
		return time.Duration(ts.Nano())
	}
}

// bootID names the time from one start of the machine to the next.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" is not known
	return strings.TrimSpace(string(b))
}
