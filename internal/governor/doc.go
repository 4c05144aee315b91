// Package governor decides how fast this machine may upload, so that the person in
// front of it does not feel it: what is sent in the background takes what others
// leave of the uplink, and gives way when the queue in front of it grows.
//
// [Governor] is a pure state machine: samples of delay, bytes sent and the time go
// in, a rate comes out. It works above the transport, on all uploads of a process
// together, since they have one bottleneck, and leaves the repair of losses to TCP
// and QUIC. Its shape is that of LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): a
// target for the time in the queue, slow start that ends at three quarters of it,
// proportional increase below, multiplicative decrease above, and periodic
// slowdowns that let the queue run empty so that the base delay can be seen again.
// It differs in that it sets a rate and not a window. A rate that is corrected by
// itself would swing, since delay is the integral of what is sent too much; so every
// step begins from what the uplink has delivered, which bytes sent and the change of
// the delay tell, as the clock of acknowledgements does for a window.
//
// Two kinds of signal tell the delay. A reference, an echo from a server that
// says when the packet reached it, shows the way out alone: neither this machine's
// downlink nor those of peers are in it, so delay that belongs to a far bottleneck
// throttles nobody here. The round trips of links show more than the uplink, and are
// smoothed; but a queue in front of all of them is in each. So most of them must show
// what the reference does, else it is the reference that is far from us, and without
// one the median counts.
package governor

import "time"

const (
	// Target is the queueing delay that is aimed at: nearly all of the time it is
	// less than the 60 ms that LEDBAT++ aims at on average.
	Target = 50 * time.Millisecond
	// Wary is what is aimed at while somebody uses the machine.
	Wary = Target / 2
	// startUntil is the part of it at which slow start ends.
	startUntil = 0.75
	// firstRate is the rate at which slow start begins, bytes per second.
	firstRate = 1e6 / 8
	// leastRate and leastShare bound the rate from below: the smaller of a rate in
	// bytes per second and a part of what the uplink carries.
	leastRate  = 256e3 / 8
	leastShare = 0.05

	// A step takes place when the delay has been seen anew for half a round trip,
	// within these bounds.
	minStep, maxStep = 50 * time.Millisecond, 200 * time.Millisecond
	// fresh is how old a sample of delay may be.
	fresh = 1500 * time.Millisecond
	// late is by how much, beside its own round trip, an echo may be older than what
	// links show: what they show since it cannot disprove.
	late = 300 * time.Millisecond
	// The reference is doubted when its delay has been doubtBeyond times that of links
	// for doubtAfter.
	doubtBeyond = 2
	doubtAfter  = 3 * time.Second
	// Who waits for the rate asks again within breath and the time of a packet.
	breath, packet = 30 * time.Millisecond, 1500.0
	// pause is how long after an observation nothing can be reckoned from it.
	pause = 2 * time.Second
	// damping is by how many times the time to fill the target exceeds the time
	// in which a change is felt: less would swing.
	damping = 2.5
	// mostGain bounds the part by which the rate exceeds what is delivered while
	// the queue is empty.
	mostGain = 0.25
	// addShare of the least rate is added at every step up to the target: what all
	// gain alike, and lose by what they have, ends evenly between several.
	addShare = 0.25
	// fall is how much steeper the rate falls above the target than it rises
	// below, steepest bounds it.
	fall, steepest = 4.0, 1.0
	// emptyBelow is the part of the target below which the queue counts as empty.
	emptyBelow = 0.25
	// restartBelow is the part of the capacity below which an empty queue begins
	// slow start again.
	restartBelow = 0.5

	// A slowdown sends at slowTo of what was delivered until the queue has run
	// empty and that was seen. The next follows after slowEvery times as long, and
	// leastPause at least: no more than a tenth of the uplink is lost.
	slowTo     = 0.25
	slowEvery  = 9
	leastPause = 20 * time.Second
	firstPause = 2 * time.Second // after slow start
	// drainSlack is what a queue may take to run empty beyond what is reckoned,
	// slowMost bounds a slowdown of which nothing is seen.
	drainSlack = 30 * time.Millisecond
	slowMost   = 3 * time.Second
	// drained is the queueing delay up to which a queue has run empty by itself.
	drained = 5 * time.Millisecond

	// Losses count where at least lossPackets were sent, at least half of the
	// links lost lossExcess more than they ordinarily do, and there is a queue:
	// an uplink with a short buffer drops before the target is reached. lossCut is
	// what is left of the rate, once every lossEvery.
	lossPackets = 200
	lossExcess  = 0.05
	lossCut     = 0.7
	lossEvery   = time.Second
)

// Link is a link at one moment.
type Link struct {
	ID int64 // a number of the caller's, never used again
	// RTT is the smoothed round trip, 0 where it is not known.
	RTT time.Duration
	// Sent and Lost count packets since the link began.
	Sent, Lost int64
}
