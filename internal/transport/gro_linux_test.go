package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// TestGRO sends runs of packets that the kernel merges, and single ones, and has them
// read as they were sent, into few and small buffers.
func TestGRO(t *testing.T) {
	to, from := udp(t), udp(t)
	c, ok := withGRO(to).(*groConn)
	if !ok {
		t.Skip("the kernel has no UDP_GRO")
	}
	var want []string
	send := func(b []byte, size int) {
		var oob []byte
		if size > 0 {
			oob = control(unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
		}
		if _, _, err := from.WriteMsgUDP(b, oob, to.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		for size > 0 && len(b) > size {
			want = append(want, string(b[:size]))
			b = b[size:]
		}
		want = append(want, string(b))
	}
	for i := range 6 {
		send(bytes.Repeat([]byte{byte('a' + i)}, 11*1000+i), 1000)
		send([]byte(fmt.Sprint("alone ", i)), 0)
	}
	if err := to.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	ms := make([]ipv4.Message, 3)
	merged := false
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1452)}, make([]byte, 128)
	}
	for len(want) > 0 {
		n, err := c.ReadBatch(ms, 0)
		if err != nil || n == 0 {
			t.Fatalf("%d packets, %v, with %d to come", n, err, len(want))
		}
		merged = merged || len(c.rest) > 0 && c.off > 0
		for _, m := range ms[:n] {
			if got := string(m.Buffers[0][:m.N]); got != want[0] {
				t.Fatalf("packet of %d bytes %.10q…, want %d bytes %.10q…", len(got), got, len(want[0]), want[0])
			}
			if m.Addr.String() != from.LocalAddr().String() || m.Flags&unix.MSG_TRUNC != 0 {
				t.Fatalf("from %v, flags %#x", m.Addr, m.Flags)
			}
			want = want[1:]
		}
	}
	if !merged {
		t.Error("nothing was merged")
	}
}

// A datagram that is too long for a buffer is cut, as the kernel would cut it.
func TestGROCutsWhatIsTooLong(t *testing.T) {
	to, from := udp(t), udp(t)
	c, ok := withGRO(to).(*groConn)
	if !ok {
		t.Skip("the kernel has no UDP_GRO")
	}
	if _, err := from.WriteTo(make([]byte, 3000), to.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, 128)}}
	if n, err := c.ReadBatch(ms, 0); n != 1 || err != nil || ms[0].N != 1452 || ms[0].Flags&unix.MSG_TRUNC == 0 {
		t.Errorf("%d packets, %v, %d bytes, flags %#x", n, err, ms[0].N, ms[0].Flags)
	}
	if len(c.rest) != 0 {
		t.Error("the rest of it comes as a packet")
	}
}

func TestSegment(t *testing.T) {
	size := control(unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, 1200))
	for name, c := range map[string]struct {
		oob  []byte
		want int
	}{
		"none":     {nil, 0},
		"size":     {size, 1200},
		"behind":   {append(control(unix.UDP_SEGMENT, []byte{1, 0}), size...), 1200},
		"cut":      {size[:len(size)-6], 0},
		"negative": {control(unix.UDP_GRO, []byte{255, 255, 255, 255}), -1},
	} {
		if got := segment(c.oob); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func udp(t *testing.T) *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// control is a control message of UDP.
func control(kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}
