//go:build !unix

package e2e

import (
	"os"
	"os/exec"
)

// allocated is how many bytes a file has, 0 if there is none.
func allocated(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

func ownGroup(*exec.Cmd) {}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() } // it may have ended
