//go:build linux

package rig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Cost is what a program took from start to end.
type Cost struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"` // user and system (getrusage), of its children too
	// RSS is the most memory that one of its processes had resident, in MB; not less
	// than this program's, in whose memory it begins.
	RSS float64 `json:"rss_mb"`
}

// Measure runs a command to its end. What it prints is part of the error alone.
func Measure(cmd *exec.Cmd) (Cost, error) {
	began := time.Now()
	out, err := cmd.CombinedOutput()
	c := Cost{Seconds: time.Since(began).Seconds()}
	if err != nil {
		return c, fmt.Errorf("%v: %w\n%.2000s", cmd.Args, err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return c, errors.New("the system tells no usage of a process")
	}
	c.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	c.RSS = float64(usage.Maxrss<<10) / 1e6
	return c, nil
}

// Discard removes files and has the disk be done with everything, so that the next
// run begins like the last.
func Discard(paths ...string) error {
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			return fmt.Errorf("remove what a run has left: %w", err)
		}
	}
	syscall.Sync()
	return nil
}

// Group is a process with those that it has started, by the number of their process
// group: what [lab.Host.Command] starts, such as a server with its workers.
type Group int

// Processes are those of the group that run.
func (g Group) Processes() (pids []int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, name := range stats {
		f, err := statOf(name)
		// One whose first thread has ended holds its files until the others have.
		if err == nil && f[2] == strconv.Itoa(int(g)) && (f[0] != "Z" || f[17] > "1") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// statOf are the fields of /proc/PID/stat after the name: state, parent, group, ….
func statOf(name string) ([]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return nil, errors.New("unexpected line in " + name)
	}
	return f, nil
}

// CPU is the time in seconds that the processes have used.
func (g Group) CPU() (sum float64, err error) {
	pids, err := g.Processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		f, err := statOf(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		for _, ticks := range f[11:13] { // user and system, in hundredths
			n, err := strconv.ParseFloat(ticks, 64)
			if err != nil {
				return 0, err
			}
			sum += n / 100
		}
	}
	return sum, nil
}

// Memory is what they have resident in MB now, and had at most.
func (g Group) Memory() (now, most float64, err error) {
	pids, err := g.Processes()
	if err != nil {
		return 0, 0, err
	}
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		now += kilobytes(b, "VmRSS") / 1e3
		most += kilobytes(b, "VmHWM") / 1e3
	}
	return now, most, nil
}

// kilobytes is a value of /proc/PID/status that is told in KiB.
func kilobytes(status []byte, name string) float64 {
	kib, _ := strconv.ParseFloat(strings.TrimSuffix(field(status, name), " kB"), 64)
	return kib * 1.024
}
