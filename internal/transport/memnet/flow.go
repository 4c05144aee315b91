package memnet

import (
	"io"
	"net"
	"os"
	"time"
)

// quantum is the most bytes that travel as one packet.
const quantum = 8 << 10

// packet is a run of bytes on its way, or the end of the flow.
type packet struct {
	flow *flow
	data []byte
	end  bool
}

// flow is one direction of a link: bytes go from the writer's buffer through the
// sender's uplink, over the wire, through the receiver's downlink into the
// reader's buffer. Every field is guarded by the lock of the clock.
type flow struct {
	clock   *clock
	up      *uplink
	down    *downlink
	latency time.Duration
	buffer  int // bytes the writer may be ahead of the uplink
	window  int // bytes past the uplink that the reader has not taken

	unsent      []packet
	unsentBytes int
	flight      int // bytes past the uplink, reader's buffer included
	arrived     [][]byte
	ended       bool // the writer has closed
	eof         bool // the end has arrived
	deaf        bool // the reader has closed: bytes are thrown away
	err         error
	stalled     bool

	queued         bool          // in the uplink's round
	changed        chan struct{} // closed when any of the above changes
	readBy, writBy time.Time     // deadlines
}

// wake tells those who wait that something changed.
func (f *flow) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// ready says whether the flow has something the uplink may take now.
func (f *flow) ready() bool {
	return len(f.unsent) > 0 && !f.stalled && f.err == nil &&
		(f.flight < f.window || f.unsent[0].end)
}

// take hands the first packet to the uplink.
func (f *flow) take() packet {
	p := f.unsent[0]
	f.unsent[0] = packet{}
	f.unsent = f.unsent[1:]
	f.unsentBytes -= len(p.data)
	f.flight += len(p.data)
	f.wake()
	return p
}

// deliver puts a packet that came through the downlink into the reader's buffer.
func (f *flow) deliver(p packet) {
	switch {
	case f.err != nil:
		return
	case p.end:
		f.eof = true
	case f.deaf:
		f.flight -= len(p.data)
		f.up.kick(f)
	default:
		f.arrived = append(f.arrived, p.data)
	}
	f.wake()
}

// abort ends the flow at once for both sides.
func (f *flow) abort(err error) {
	if f.err != nil {
		return
	}
	f.err = err
	f.unsent, f.arrived, f.unsentBytes, f.flight = nil, nil, 0, 0
	f.wake()
}

func (f *flow) write(b []byte) (n int, err error) {
	f.clock.lock()
	defer f.clock.unlock()
	for {
		switch {
		case f.ended:
			return n, net.ErrClosed
		case f.err != nil:
			return n, f.err
		case len(b) == 0:
			return n, nil
		case expired(f.writBy):
			return n, os.ErrDeadlineExceeded
		}
		if room := f.buffer - f.unsentBytes; room > 0 {
			k := min(room, len(b), quantum)
			f.unsent = append(f.unsent, packet{flow: f, data: append([]byte(nil), b[:k]...)})
			f.unsentBytes += k
			n, b = n+k, b[k:]
			f.up.kick(f)
			f.clock.drain()
			continue
		}
		f.wait(f.writBy)
	}
}

func (f *flow) read(b []byte) (int, error) {
	f.clock.lock()
	defer f.clock.unlock()
	for {
		switch {
		case f.deaf:
			return 0, net.ErrClosed
		case expired(f.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(f.arrived) > 0:
			return f.consume(b), nil
		case f.err != nil:
			return 0, f.err
		case f.eof:
			return 0, io.EOF
		}
		f.wait(f.readBy)
	}
}

// consume moves arrived bytes to the reader and lets the sender go on.
func (f *flow) consume(b []byte) int {
	n := 0
	for n < len(b) && len(f.arrived) > 0 {
		k := copy(b[n:], f.arrived[0])
		if k == len(f.arrived[0]) {
			f.arrived[0] = nil
			f.arrived = f.arrived[1:]
		} else {
			f.arrived[0] = f.arrived[0][k:]
		}
		n += k
	}
	f.flight -= n
	f.up.kick(f)
	return n
}

// closeWrite sends the end of the flow behind what was written.
func (f *flow) closeWrite() {
	if f.ended || f.err != nil {
		return
	}
	f.ended = true
	f.unsent = append(f.unsent, packet{flow: f, end: true})
	f.up.kick(f)
	f.wake()
}

// closeRead throws away what arrived and what will.
func (f *flow) closeRead() {
	if f.deaf {
		return
	}
	f.deaf = true
	for _, b := range f.arrived {
		f.flight -= len(b)
	}
	f.arrived = nil
	f.up.kick(f)
	f.wake()
}

// wait gives the lock up until something changes or the deadline passes.
func (f *flow) wait(by time.Time) {
	var expire <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		expire = t.C
	}
	changed := f.changed
	f.clock.unlock()
	select {
	case <-changed:
	case <-expire:
	}
	f.clock.lock()
}

func expired(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }
