package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Errors of [Cache.WaitManifest], and causes in logs and Cache-Status details.
var (
	// ErrNotCacheable: the response may not be stored, so it has no manifest.
	ErrNotCacheable = errors.New("the response is not cacheable")
	// ErrOrigin: the origin could not be reached or broke off.
	ErrOrigin = errors.New("origin failed")
	// ErrTimeout: the origin was too slow. It is also an [ErrOrigin].
	ErrTimeout = fmt.Errorf("%w: timed out", ErrOrigin)
	// ErrChanged: the origin replaced the object while it was being fetched.
	ErrChanged = errors.New("the object changed at the origin")
	// ErrNoSpace: the object does not fit in the cache.
	ErrNoSpace = errors.New("no space in the cache")
	// ErrClosed: the cache was closed.
	ErrClosed = errors.New("cache is closed")
	// ErrBusy: too much of the kind is being made already.
	ErrBusy = errors.New("too many are being made")
	// ErrAbandoned: nobody wanted the rest of the object any more.
	ErrAbandoned = errors.New("fill abandoned")
)

// StatusError is an answer of the origin that is no object.
type StatusError struct{ Code int }

func (e *StatusError) Error() string { return fmt.Sprintf("origin answered %d", e.Code) }

// diskError marks a failure of the local disk, after which bytes are streamed
// past it.
type diskError struct{ err error }

func (e *diskError) Error() string { return "cache disk: " + e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

func isDiskError(err error) bool {
	var d *diskError
	return errors.As(err, &d) || errors.Is(err, ErrNoSpace)
}

// originError gives an error of the transport its kind.
func originError(ctx context.Context, op string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", op, cause)
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("%s: %w: %w", op, ErrTimeout, err)
	}
	return fmt.Errorf("%s: %w: %w", op, ErrOrigin, err)
}

// permanent errors are not mended by asking the origin once more.
func permanent(err error) bool {
	return errors.Is(err, ErrChanged) || errors.Is(err, ErrClosed) || isDiskError(err)
}
