package transport

import (
	"net"
	"time"
)

const (
	// judgeEvery is how often at most the kernel is asked about losses, while something
	// is written.
	judgeEvery = 100 * time.Millisecond
	// strayRTT is the least round trip at which it matters: TCP that halves its rate for
	// every loss is back soon on shorter paths.
	strayRTT = 15 * time.Millisecond
	// enoughStray is how often packets must have been lost without a queue, and
	// strayShare how many times as often as with one.
	enoughStray = 3
	strayShare  = 3
)

// losses is what the kernel tells of a connection's packets and round trips.
type losses struct {
	lost        int64         // packets sent again
	rtt, minRTT time.Duration // smoothed, and the least
}

// judge tells losses of a full queue from those of the path itself, such as of radio. A
// queue is seen in the round trip; only losses without one are stray. Cubic and Reno take
// all for congestion: on a path of 100 ms and 0.1 % of loss a connection of theirs gets
// 5 Mbit/s, however much room there is (Mathis et al. 1997).
type judge struct {
	seen          losses
	stray, queued int
}

// see takes in what was lost since the last time, which counts once: losses come in
// bursts. It reports whether most were stray.
func (j *judge) see(now losses) bool {
	more := now.lost > j.seen.lost
	j.seen = now
	if !more || now.minRTT < strayRTT {
		return false
	}
	if now.rtt-now.minRTT > now.minRTT/4 {
		j.queued++
	} else {
		j.stray++
	}
	return j.stray >= enoughStray && j.stray >= strayShare*j.queued
}

// straying is a TCP connection that is given a congestion control which goes by the rate
// that arrives, once losses turn out to be stray, and no sooner: where queues overflow
// the ordinary one shares better with others.
type straying struct {
	tcp   *net.TCPConn
	judge judge
	asked time.Time
	done  bool
}

// wrote is called after a write.
func (s *straying) wrote() {
	now := time.Now()
	if s.done || now.Sub(s.asked) < judgeEvery {
		return
	}
	s.asked = now
	l, ok := tcpLosses(s.tcp)
	if s.done = !ok; ok && s.judge.see(l) {
		s.done = true
		tcpByRate(s.tcp)
	}
}
