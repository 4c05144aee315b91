//go:build linux

// Package lab builds a real network on one machine: hosts in network
// namespaces, links shaped apart in each direction, and kernel NAT.
//
// Every host hangs on one core, a router in a namespace of its own: on a switch
// each of n hosts would have n neighbours, and the kernel has one table of 1024
// for all namespaces. Servers are 10.77.1.K, clients 10.77.2.K; a client behind a
// NAT has 192.168.K.2, and 10.77.2.K is the address of its router, or 11.77.2.K where
// that has to look public. Links are token buckets with 100 ms of queue, an ordinary
// home router's buffer, unless said otherwise, and TCP runs cubic, so that figures of
// two machines compare. Delay is made in user space: netem is missing from many
// kernels.
//
// A lab needs root, ip, nft and tc. Everything it makes carries the name of the
// process that made it; [New] clears away what dead processes left.
package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Lab is a core and the hosts plugged into it. Its methods may be called from
// several goroutines.
type Lab struct {
	prefix string

	mu      sync.Mutex
	spaces  []string // namespaces, in the order they were made
	servers int
	clients int
	ports   int // ports of the core in use
	delayer *delayer
	portOf  map[netip.Addr]string // of the core, by public address
}

// closeWithin bounds the cleaning up of a lab.
const closeWithin = 30 * time.Second

// Available returns nil where a lab can be built, or what is missing.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "tc", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not installed (Debian: iproute2, nftables, procps)", tool)
		}
	}
	return nil
}

// Skip skips a test, naming the reason, where no lab can be built.
func Skip(t testing.TB) {
	t.Helper()
	if err := Available(); err != nil {
		t.Skipf("no network lab: %v", err)
	}
}

// ForTest is a lab that lasts as long as the test; the test is skipped where
// none can be built. An interrupt cleans up too.
func ForTest(t testing.TB) *Lab {
	t.Helper()
	Skip(t)
	l, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop := l.closeOnSignal()
	t.Cleanup(func() {
		stop()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// New makes a lab with a core and no hosts. The caller closes it.
func New(ctx context.Context) (*Lab, error) {
	if err := Available(); err != nil {
		return nil, fmt.Errorf("network lab: %w", err)
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	l := &Lab{portOf: map[netip.Addr]string{}, prefix: fmt.Sprintf("%s%d-%04x-", family, os.Getpid(), rand.IntN(1<<16))}
	if err := l.addCore(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) addCore(ctx context.Context) error {
	ns, err := l.addNamespace(ctx, "core")
	if err != nil {
		return err
	}
	return runAll(ctx, in(ns, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
}

func (l *Lab) coreNS() string { return l.prefix + "core" }

// addNamespace makes the namespace of host name, with loopback up.
func (l *Lab) addNamespace(ctx context.Context, name string) (string, error) {
	ns := l.prefix + name
	if _, err := run(ctx, "ip", "netns", "add", ns); err != nil {
		return "", err
	}
	l.mu.Lock()
	l.spaces = append(l.spaces, ns)
	l.mu.Unlock()
	_, err := run(ctx, "ip", "-n", ns, "link", "set", "lo", "up")
	return ns, err
}

// Close kills every process on the hosts and removes the network.
func (l *Lab) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	l.mu.Lock()
	spaces := l.spaces
	l.spaces = nil
	delayer := l.delayer
	l.delayer = nil
	l.mu.Unlock()
	if delayer != nil {
		delayer.close()
	}
	return remove(ctx, spaces)
}

// closeOnSignal closes the lab when the process is interrupted, then lets the
// signal have its ordinary effect.
func (l *Lab) closeOnSignal() (stop func()) {
	ch := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case sig := <-ch:
			if err := l.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			signal.Reset(sig)
			if s, ok := sig.(syscall.Signal); ok {
				_ = syscall.Kill(os.Getpid(), s)
			}
		case <-done:
		}
	}()
	return func() {
		signal.Stop(ch)
		close(done)
	}
}

// family begins the name of every namespace of every lab; the process id follows.
const family = "tandem-lab-"

// sweep removes the labs of processes that are no more.
func sweep(ctx context.Context) error {
	out, err := run(ctx, "ip", "netns", "list")
	if err != nil {
		return err
	}
	var stale []string
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if pid, ok := owner(name); ok && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			stale = append(stale, name)
		}
	}
	return remove(ctx, stale)
}

// owner is the process that made the namespace, if a lab did.
func owner(namespace string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(namespace, family)
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(digits)
	return pid, err == nil && pid > 0
}

// remove kills what runs in the namespaces and deletes them.
func remove(ctx context.Context, spaces []string) error {
	var errs []error
	for _, ns := range spaces {
		out, err := run(ctx, "ip", "netns", "pids", ns)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for field := range strings.FieldsSeq(string(out)) {
			if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
			}
		}
	}
	for _, ns := range spaces {
		_, err := run(ctx, "ip", "netns", "del", ns)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
