//go:build linux

package lab

import (
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// delayer holds packets of the core up in user space, since netem is missing from
// many kernels: what comes from or goes to a host with a delay is routed into a TUN
// device, and comes back out of it when its time has come.
type delayer struct {
	tun *os.File

	mu    sync.Mutex
	of    map[netip.Addr]time.Duration // one way
	queue packets
	first chan struct{} // another packet is the first
	done  chan struct{}
	wg    sync.WaitGroup
}

type packet struct {
	due  time.Time
	seq  int64
	data []byte
}

const (
	delayDev   = "delay"
	delayTable = "77"
)

// delay has packets from and to an address wait, in each direction. The first call
// makes the device.
func (l *Lab) delay(ctx context.Context, addr netip.Addr, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	core := l.coreNS()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.delayer == nil {
		tun, err := openTUN(core, delayDev)
		if err != nil {
			return fmt.Errorf("delay of the lab: %w", err)
		}
		l.delayer = newDelayer(tun)
		err = runAll(ctx,
			in(core, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf."+delayDev+".rp_filter=0"),
			[]string{"ip", "-n", core, "link", "set", delayDev, "txqueuelen", "10000", "up"},
			[]string{"ip", "-n", core, "route", "add", "default", "dev", delayDev, "table", delayTable},
			[]string{"ip", "-n", core, "rule", "add", "iif", delayDev, "lookup", "main", "pref", "10"},
		)
		if err != nil {
			return err
		}
	}
	l.delayer.mu.Lock()
	l.delayer.of[addr] = d
	l.delayer.mu.Unlock()
	return runAll(ctx,
		[]string{"ip", "-n", core, "rule", "add", "from", addr.String(), "lookup", delayTable, "pref", "20"},
		[]string{"ip", "-n", core, "rule", "add", "to", addr.String(), "lookup", delayTable, "pref", "20"},
	)
}

// openTUN makes a TUN device in a namespace. The thread that has entered it ends with
// the goroutine.
func openTUN(ns, name string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	got := make(chan result)
	go func() {
		runtime.LockOSThread() // for ever: it must not run anything else
		f, err := tunIn(ns, name)
		got <- result{f, err}
	}()
	r := <-got
	return r.f, r.err
}

func tunIn(ns, name string) (*os.File, error) {
	n, err := os.Open(filepath.Join("/run/netns", ns))
	if err != nil {
		return nil, err
	}
	defer func() { _ = n.Close() }()
	if err := unix.Setns(int(n.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("TUN device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func newDelayer(tun *os.File) *delayer {
	d := &delayer{tun: tun, of: map[netip.Addr]time.Duration{}, first: make(chan struct{}, 1), done: make(chan struct{})}
	d.wg.Go(d.read)
	d.wg.Go(d.write)
	return d
}

func (d *delayer) close() {
	close(d.done)
	_ = d.tun.Close()
	d.wg.Wait()
}

// read takes packets in until the device is closed.
func (d *delayer) read() {
	buf := make([]byte, 1<<16)
	for seq := int64(0); ; seq++ {
		n, err := d.tun.Read(buf)
		if err != nil {
			return
		}
		from, to, ok := addresses(buf[:n])
		if !ok {
			continue
		}
		p := packet{seq: seq, data: append([]byte(nil), buf[:n]...)}
		d.mu.Lock()
		p.due = time.Now().Add(d.of[from] + d.of[to])
		heap.Push(&d.queue, p)
		isFirst := d.queue[0].seq == seq
		d.mu.Unlock()
		if isFirst {
			select {
			case d.first <- struct{}{}:
			default:
			}
		}
	}
}

// write lets packets go when they are due.
func (d *delayer) write() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d.mu.Lock()
		wait := time.Hour
		var p packet
		if len(d.queue) > 0 {
			if wait = time.Until(d.queue[0].due); wait <= 0 {
				p = heap.Pop(&d.queue).(packet)
			}
		}
		d.mu.Unlock()
		if p.data != nil {
			_, _ = d.tun.Write(p.data) // a full device drops, as a router does
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-d.first:
		case <-d.done:
			return
		}
	}
}

// addresses are the source and destination of an IPv4 packet.
func addresses(b []byte) (from, to netip.Addr, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return from, to, false
	}
	return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), true
}

// packets is a heap by time and order.
type packets []packet

func (p packets) Len() int { return len(p) }

func (p packets) Less(i, j int) bool {
	if p[i].due.Equal(p[j].due) {
		return p[i].seq < p[j].seq
	}
	return p[i].due.Before(p[j].due)
}

func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(packet)) }

func (p *packets) Pop() any {
	old := *p
	last := old[len(old)-1]
	old[len(old)-1] = packet{}
	*p = old[:len(old)-1]
	return last
}
