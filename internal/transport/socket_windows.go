package transport

import (
	"errors"
	"syscall"
)

// sharePort fails: on Windows a port that is shared can be taken over by any program.
func sharePort(syscall.RawConn) error { return errors.ErrUnsupported }
