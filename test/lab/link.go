//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Rate is a speed in bits per second; 0 is as fast as the machine can.
type Rate int64

// Mbit is one million bits per second.
const Mbit Rate = 1e6

// ordinaryBuffer is the queue of a home router of the better sort.
const ordinaryBuffer = 100 * time.Millisecond

// Link is how a host is connected to the core.
type Link struct {
	Up, Down Rate
	// Loss is the share of packets lost in each direction, 0..1.
	Loss float64
	// Delay is added in each direction, in user space.
	Delay time.Duration
	// Buffer is how long the queue upwards is, DownBuffer that downwards, in time at
	// its rate; 0 is 100 ms.
	Buffer, DownBuffer time.Duration
}

// plug connects a namespace to the core by a shaped link.
func (l *Lab) plug(ctx context.Context, ns string, addr netip.Addr, link Link) error {
	l.mu.Lock()
	l.ports++
	port := "p" + strconv.Itoa(l.ports)
	l.portOf[addr] = port
	l.mu.Unlock()
	core, gateway := l.coreNS(), address(0, 1)
	err := runAll(ctx,
		[]string{"ip", "link", "add", uplink, "netns", ns, "type", "veth", "peer", "name", port, "netns", core},
		[]string{"ip", "-n", ns, "addr", "add", addr.String(), "peer", gateway.String(), "dev", uplink},
		[]string{"ip", "-n", core, "addr", "add", gateway.String(), "peer", addr.String(), "dev", port},
		[]string{"ip", "-n", core, "link", "set", port, "up"},
		[]string{"ip", "-n", ns, "link", "set", uplink, "up"},
		[]string{"ip", "-n", ns, "route", "add", "default", "via", gateway.String()},
	)
	if err != nil {
		return err
	}
	for _, end := range []struct {
		ns, dev string
		rate    Rate
		buffer  time.Duration
	}{{ns, uplink, link.Up, link.Buffer}, {core, port, link.Down, link.DownBuffer}} {
		if err := shape(ctx, end.ns, end.dev, end.rate, end.buffer); err != nil {
			return err
		}
		if err := lose(ctx, end.ns, end.dev, link.Loss); err != nil {
			return err
		}
	}
	return l.delay(ctx, addr, link.Delay)
}

// shape limits what leaves by dev. The bucket holds 20 ms, so that an idle link
// gives little for nothing, but a few packets at least; the queue holds buffer. It
// is set in bytes, since tc would add the bucket to a latency. What is larger than
// the bucket is cut into packets.
func shape(ctx context.Context, ns, dev string, rate Rate, buffer time.Duration) error {
	if rate == 0 {
		return nil
	}
	const smallest, largest = 8 << 10, 128 << 10
	second := int64(rate) / 8
	bucket := min(max(second/50, smallest), largest)
	if buffer == 0 {
		buffer = ordinaryBuffer
	}
	queue := max(int64(float64(second)*buffer.Seconds()), 2*bucket)
	_, err := run(ctx, "tc", "-n", ns, "qdisc", "replace", "dev", dev, "root", "tbf",
		"rate", strconv.FormatInt(int64(rate), 10)+"bit", "burst", strconv.FormatInt(bucket, 10), "limit", strconv.FormatInt(queue, 10))
	return err
}

// lose drops a share of what arrives at dev. Packets are cut to the wire's size
// first: else one loss would take 64 KiB of TCP.
func lose(ctx context.Context, ns, dev string, share float64) error {
	if share <= 0 {
		return nil
	}
	const grain = 100_000
	return runAll(ctx,
		[]string{"ip", "-n", ns, "link", "set", dev, "gso_max_segs", "1"},
		in(ns, "nft", "add", "table", "netdev", "loss"),
		in(ns, "nft", fmt.Sprintf("add chain netdev loss %s { type filter hook ingress device %s priority 0; }", dev, dev)),
		in(ns, "nft", fmt.Sprintf("add rule netdev loss %s numgen random mod %d < %d drop", dev, grain, int(share*grain))),
	)
}

// Lose makes the link of a host, which has lost nothing so far, lose a share of packets
// in each direction from now on.
func (l *Lab) Lose(ctx context.Context, h *Host, share float64) error {
	l.mu.Lock()
	port := l.portOf[h.Public]
	l.mu.Unlock()
	if err := lose(ctx, h.wanNS, uplink, share); err != nil {
		return err
	}
	return lose(ctx, l.coreNS(), port, share)
}

// Throttle changes what the host sends at most from now on.
func (h *Host) Throttle(ctx context.Context, up Rate) error {
	return shape(ctx, h.wanNS, uplink, up, 0)
}

// Blackhole makes the link of the host lose all of IP, both ways, from now on, as
// when a router dies: nobody is told.
func (h *Host) Blackhole(ctx context.Context) error {
	chain := func(name, hook string) []string {
		return in(h.wanNS, "nft", fmt.Sprintf("add chain netdev hole %s { type filter hook %s device %s priority 0; }", name, hook, uplink))
	}
	return runAll(ctx,
		in(h.wanNS, "nft", "add", "table", "netdev", "hole"),
		chain("rx", "ingress"), chain("tx", "egress"),
		in(h.wanNS, "nft", "add rule netdev hole rx meta protocol ip drop"),
		in(h.wanNS, "nft", "add rule netdev hole tx meta protocol ip drop"),
	)
}
