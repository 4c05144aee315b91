package transport

import (
	"encoding/binary"
	"net"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// groBatch is how many datagrams, merged ones as often as not, one system call
	// takes, and groSize the most that the kernel merges into one.
	groBatch = 4
	groSize  = 64 << 10
	// groOOB holds what the kernel says beside the bytes: destination, traffic class,
	// size of the segments.
	groOOB = 128
)

// groConn is the UDP socket of QUIC with generic receive offload (udp(7), UDP_GRO): the
// kernel hands over a run of packets of one flow as one, which costs it a fraction.
// quic-go reads through a ReadBatch that its connection brings along, and knows nothing
// of the offload. ReadBatch is for one goroutine.
type groConn struct {
	*net.UDPConn
	batch *ipv4.PacketConn
	read  []ipv4.Message // as the kernel gave them
	rest  []ipv4.Message // of read, not handed on yet
	off   int            // bytes of rest[0] that were
}

// withGRO turns the offload on where the kernel has it.
func withGRO(c *net.UDPConn) net.PacketConn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c
	}
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	if err != nil || sockErr != nil {
		return c // kernels before 5.0
	}
	return &groConn{UDPConn: c, batch: ipv4.NewPacketConn(c)}
}

// ReadBatch fills ms with packets, at least one, and returns their number.
func (c *groConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if len(c.rest) == 0 {
		if err := c.fill(flags); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(ms) && len(c.rest) > 0 {
		c.next(&ms[n])
		n++
	}
	return n, nil
}

// fill reads datagrams from the kernel.
func (c *groConn) fill(flags int) error {
	if c.read == nil {
		c.read = make([]ipv4.Message, groBatch)
		for i := range c.read {
			c.read[i].Buffers = [][]byte{make([]byte, groSize)}
			c.read[i].OOB = make([]byte, groOOB)
		}
	}
	n, err := c.batch.ReadBatch(c.read, flags)
	if err != nil {
		return err
	}
	c.rest, c.off = c.read[:n], 0
	return nil
}

// next moves the next packet to m.
func (c *groConn) next(m *ipv4.Message) {
	from := &c.rest[0]
	data := from.Buffers[0][c.off:from.N]
	size := segment(from.OOB[:from.NN])
	if size > 0 && size < len(data) {
		data = data[:size]
	}
	m.N = copy(m.Buffers[0], data)
	m.NN = copy(m.OOB, from.OOB[:from.NN])
	m.Addr, m.Flags = from.Addr, from.Flags
	if m.N < len(data) {
		m.Flags |= unix.MSG_TRUNC
	}
	if c.off += len(data); c.off >= from.N {
		c.rest, c.off = c.rest[1:], 0
	}
}

// segment is the size of the packets that the kernel has merged, the last of which may
// be smaller; 0 where it is a single one.
func segment(oob []byte) int {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(data)))
		}
		oob = rest
	}
	return 0
}
