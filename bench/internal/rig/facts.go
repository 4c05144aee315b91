//go:build linux

package rig

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Machine is what one must know of a machine to judge its figures. It names
// neither the machine nor its paths.
type Machine struct {
	CPU               string `json:"cpu"`
	Cores             int    `json:"cores"`
	MemoryGiB         int    `json:"memory_gib"`
	OS                string `json:"os"`
	Kernel            string `json:"kernel"`
	Go                string `json:"go"`
	CongestionControl string `json:"congestion_control"` // inside the lab
}

func (m Machine) String() string {
	return fmt.Sprintf("%d × %s, %d GiB, %s, kernel %s, %s, TCP %s",
		m.Cores, m.CPU, m.MemoryGiB, m.OS, m.Kernel, m.Go, m.CongestionControl)
}

// ThisMachine collects the facts.
func ThisMachine(congestionControl string) Machine {
	m := Machine{
		CPU: "unknown", Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), CongestionControl: congestionControl,
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(b, "model name")
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		kib, _, _ := strings.Cut(field(b, "MemTotal"), " ")
		if n, err := strconv.Atoi(kib); err == nil {
			m.MemoryGiB = (n + 1<<19) >> 20
		}
	}
	var u syscall.Utsname
	if syscall.Uname(&u) == nil {
		m.Kernel = kernelVersion(u.Release[:])
	}
	return m
}

// kernelVersion keeps the numbers of a release: what follows them is a name.
func kernelVersion[C int8 | uint8](release []C) string {
	var b strings.Builder
	for _, c := range release {
		if c != '.' && (c < '0' || c > '9') {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// field is the first value of "name : value" in a file of /proc.
func field(b []byte, name string) string {
	for line := range bytes.Lines(b) {
		k, v, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(k)) == name {
			return string(bytes.TrimSpace(v))
		}
	}
	return "unknown"
}
