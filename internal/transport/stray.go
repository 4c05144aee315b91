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
	// strayQueue is the part of the least round trip, or strayJitter, by which it may be
	// longer while there is no queue.
	strayQueue  = 8
	strayJitter = 5 * time.Millisecond
	// enoughStray is how often in a row packets must have been lost without a queue.
	enoughStray = 2
)

// losses is what the kernel tells of a connection's packets and round trips.
type losses struct {
	at          time.Time
	lost        int64         // packets sent again
	rtt, minRTT time.Duration // smoothed, and the least
}

// judge tells losses of a full queue from those of the path itself, such as of radio. A
// queue is seen in the round trip; only losses without one are stray. Cubic and Reno take
// all for congestion: on a path of 100 ms and 0.1 % of loss a connection of theirs gets
// 5 Mbit/s, however much room there is (Mathis et al. 1997).
type judge struct {
	lost  int64
	last  time.Time
	stray int // in a row
}

// see takes in what was lost since the last time. What is lost within two round trips
// counts once: it is made good in so many. It reports whether losses are stray.
func (j *judge) see(now losses) bool {
	more := now.lost > j.lost
	j.lost = now.lost
	if !more {
		return false
	}
	goesOn := now.at.Sub(j.last) < 2*now.rtt
	j.last = now.at
	switch {
	case goesOn:
	case now.minRTT < strayRTT, now.rtt-now.minRTT > max(now.minRTT/strayQueue, strayJitter):
		j.stray = 0
	default:
		j.stray++
	}
	return j.stray >= enoughStray
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
	l.at = now
	if s.done = !ok; ok && s.judge.see(l) {
		s.done = true
		tcpByRate(s.tcp)
	}
}
