//go:build unix

package e2e

import (
	"os"
	"syscall"
)

// allocated is how many bytes of the disk a file takes, 0 if there is none.
func allocated(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}
