package memnet

import "time"

// Options say how a link behaves. The zero value is a fast link.
type Options struct {
	// Rate is the bandwidth in bytes per second, each way; 0 is no limit. A
	// [Switch] ignores it: there the hosts have rates.
	Rate int64
	// Latency is the time from one side to the other.
	Latency time.Duration
	// Buffer is how many bytes a writer may be ahead of the wire; 0 is 64 KiB.
	Buffer int
	// Window is how many bytes may be on the wire or waiting for the reader;
	// 0 is 256 KiB, enough for 20 Mbit/s over a round trip of 100 ms.
	Window int
}

func (o Options) withDefaults() Options {
	if o.Buffer == 0 {
		o.Buffer = 64 << 10
	}
	if o.Window == 0 {
		o.Window = 256 << 10
	}
	return o
}

// Pipe makes a link between two hosts of its own, "a" and "b" to [PrivateKey].
func Pipe(o Options) (a, b *Conn) {
	s := NewSwitch(o)
	hostA, hostB := s.Host("a", o.Rate, 0), s.Host("b", o.Rate, 0)
	s.clock.lock()
	defer s.clock.unlock()
	return newLink(hostA, hostB, s.options)
}
