// Package bound has what no scheduler can beat: the least time in which a crowd
// can have an object, and the least an edge must send for it. The figures of
// simulations and benchmarks are quoted over these.
//
// Everything here is fluid: bytes are divisible at will, everybody may send to
// everybody, nothing takes time to begin. Rates are in bytes per second and
// times in seconds. A rate of 0 for an edge stands for one that is never the
// bottleneck.
package bound

import (
	"math"
	"slices"
)

// ClientServer is the time in which n clients have an object of size bytes from
// the edge alone: size · max(n/edge, 1/dmin).
//
// Source: the textbook form, e.g. Kurose and Ross, Computer Networking, §2.5.
func ClientServer(size float64, n int, edge, dmin float64) float64 {
	return size * max(over(float64(n), edge), over(1, dmin))
}

// KumarRoss is the least time in which n clients, who all begin at once, can
// have an object of size bytes from an edge and each other:
//
//	T* = size · max( 1/edge, 1/dmin, n/(edge+up) )
//
// up is the sum of all uplinks that give. A fluid schedule attains it.
//
// Source: R. Kumar, K. W. Ross, Peer-Assisted File Distribution: The Minimum
// Distribution Time, IEEE HOTWEB 2006.
func KumarRoss(size float64, n int, edge, dmin, up float64) float64 {
	t := max(over(1, edge), over(1, dmin))
	if edge > 0 {
		t = max(t, float64(n)/(edge+up))
	}
	return size * t
}

// Rounds is the least time in which n clients with uplinks of rate up, and an
// edge of the same, can have an object cut into pieces that are passed on only
// when whole: size/up · (1 + ⌊log2 n⌋/pieces).
//
// Source: J. Mundinger, R. Weber, G. Weiss, Optimal scheduling of peer-to-peer
// file dissemination, Journal of Scheduling 11 (2008); arXiv:cs/0606110.
func Rounds(size, up float64, n, pieces int) float64 {
	return size / up * (1 + math.Floor(math.Log2(float64(n)))/float64(pieces))
}

// EdgeBytes is the least an edge must send so that n clients, who all begin at
// once and of whom none has anything, have an object of size bytes within t:
// max( size, n·size − t·up ). It follows from counting bytes.
func EdgeBytes(size float64, n int, up, t float64) float64 {
	return max(size, float64(n)*size-t*up)
}

// Offload is the share of the bytes that peers can give under the conditions of
// [EdgeBytes], for a crowd whose uplinks are rho times the rate that it demands
// and which may take slack longer than from the edge alone (0: not at all):
// min( 1 − 1/n, rho·(1+slack) ).
func Offload(n int, rho, slack float64) float64 {
	return max(0, min(1-1/float64(n), rho*(1+slack)))
}

// Sparse is the share of the bytes that peers can give to clients who come one
// by one, as a Poisson process, and of whom load are there on the average:
// E[(n−1)⁺]/E[n] = 1 − (1−e^−load)/load, if their uplinks suffice.
func Sparse(load float64) float64 {
	if load <= 0 {
		return 0
	}
	// expm1, since the difference of nearly equal numbers would be lost.
	return 1 + math.Expm1(-load)/load
}

// over is a/rate, 0 where the rate has no limit.
func over(a, rate float64) float64 {
	if rate <= 0 {
		return 0
	}
	return a / rate
}

// Want is one download of a trace.
type Want struct {
	Object   int
	At       float64 // when it begins
	Duration float64 // what it takes from the edge alone
	Slack    float64 // what it may take beyond
	Down, Up float64 // Up is 0 of a client that does not give
	Stays    float64 // how long it gives after it is done
}

// Copy is a whole copy that is there to be given.
type Copy struct {
	Object   int
	From, To float64
	Up       float64
}

// Makespan is the least time after which the last of wants can be done: none
// before its own downlink allows, every object once through the edge, and all
// bytes through the uplinks that have come by then. For wants that begin at once
// it is [KumarRoss].
func Makespan(sizes []float64, edge float64, wants []Want, copies []Copy) float64 {
	var end, demand, once float64
	held, wanted := there(len(sizes), wants, copies), make([]bool, len(sizes))
	first := math.Inf(1)
	ups := make([]step, 0, len(wants)+len(copies))
	for _, w := range wants {
		end = max(end, w.At+over(sizes[w.Object], w.Down))
		demand += sizes[w.Object]
		first = min(first, w.At)
		ups = append(ups, step{w.At, w.Up})
		if !held[w.Object] && !wanted[w.Object] {
			once += sizes[w.Object]
		}
		wanted[w.Object] = true
	}
	if edge <= 0 || len(wants) == 0 {
		return end
	}
	for _, c := range copies {
		if wanted[c.Object] {
			ups = append(ups, step{max(c.From, first), c.Up})
		}
	}
	ups = append(ups, step{first, edge})
	return max(end, first+once/edge, filled(ups, demand))
}

// there says of which objects there is a copy before anybody wants them.
func there(objects int, wants []Want, copies []Copy) []bool {
	first := make([]float64, objects)
	for i := range first {
		first[i] = math.Inf(1)
	}
	for _, w := range wants {
		first[w.Object] = min(first[w.Object], w.At)
	}
	held := make([]bool, objects)
	for _, c := range copies {
		held[c.Object] = held[c.Object] || c.From <= first[c.Object]
	}
	return held
}

type step struct{ at, rate float64 }

// filled is when rates that come one after another have moved so many bytes.
func filled(rates []step, bytes float64) float64 {
	slices.SortFunc(rates, func(a, b step) int { return cmpFloat(a.at, b.at) })
	var now, rate float64
	for _, s := range rates {
		moved := rate * (s.at - now)
		if rate > 0 && moved >= bytes {
			break
		}
		bytes -= moved
		now, rate = s.at, rate+s.rate
	}
	return now + over(bytes, rate)
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
