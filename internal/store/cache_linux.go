package store

import (
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// memory is how much the machine has, in bytes.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return math.MaxUint64
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // 32 bits wide elsewhere
}

// dropWritten has the kernel begin to write what is dirty of f and drop from the
// page cache what is on the disk. It waits for nothing but room in the queue of the
// disk. That it is of no use somewhere does no harm.
func dropWritten(f *os.File) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) })
}
