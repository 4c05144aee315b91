//go:build !linux

package ledger

import "time"

// passedSince counts from start.
func passedSince(start time.Time) func() time.Duration {
	return func() time.Duration { return time.Since(start) }
}

// bootID is not known.
func bootID() string { return "" }
