// Package upload decides whom a member of swarms serves next: which of those who
// ask, and how many at a time.
//
// [Allocator] is a pure state machine. Time is an argument, counted from any
// moment; there is no goroutine, no lock, no clock, and no allocation for a
// request once queues have their size. Package swarm runs it for the links of a
// process, the simulator for each of its hosts.
//
// A few requesters are served at a time, each one request after the other, so
// that pieces go out at nearly the full rate of the uplink and can soon be passed
// on. Whose turn it is follows from deficit round robin (Shreedhar and Varghese,
// 1995) by weights: what is urgent, rare, near, or asked for by somebody who gives
// comes more often, and nobody waits for ever. What would wait for long is
// refused at once with the time to come back.
package upload

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// defaultTurn is the most that one turn sends, unless configured, in bytes:
	// what is urgent waits no longer than that.
	defaultTurn = 256 << 10

	// slotRate is the uplink that one requester served at a time is reckoned at,
	// bytes per second; minSlots and maxSlots bound their number, unknownSlots is
	// the number while the uplink is not known. What is asked for should take no
	// longer than slowTime to be sent once it has begun: on a slow uplink there are
	// fewer than minSlots turns for that, down to one.
	slotRate     = 3e6 / 8
	turnsTime    = 200 * time.Millisecond
	slowTime     = time.Second
	minSlots     = 4
	maxSlots     = 16
	mostSlots    = 48
	unknownSlots = 16
	// A turn that takes longer than slotSlack times what the uplink alone would
	// need is held up by its receiver: it stops counting, and another begins, so
	// that the uplink is never idle for want of a turn.
	slotSlack   = 1.5
	slotLeast   = 150 * time.Millisecond
	slotMost    = 3 * time.Second
	slotUnknown = 150 * time.Millisecond
	// slotStalled is how long a turn counts among those served at all while the
	// uplink is not known.
	slotStalled = 2 * time.Second

	// queueTime is how much one requester may have queued, in time at the rate of
	// the uplink; all together may have queuesInAll times that, and longQueue times as
	// much again for those refused. With more, a crowd is served so evenly that nobody
	// is done soon.
	queueTime   = 2 * time.Second
	queuesInAll = 1.5
	longQueue   = 1.5
	// guessRate is the uplink in bytes per second that queues are measured by
	// while it is not known.
	guessRate = 10e6 / 8
	// Bounds of the time after which a refused requester may ask again.
	minRetry, maxRetry = 100 * time.Millisecond, 4 * time.Second
	// backWithin is how long after that it is expected.
	backWithin = 500 * time.Millisecond

	// ageAfter is the wait from which on a requester gains weight, ageGain how much,
	// by the square of the seconds: little at first, since all wait where uplinks are
	// scarce, and soon more than any other weight.
	ageAfter = time.Second
	ageGain  = 0.1
	// rotateEvery is how long one slot goes first to somebody who was hardly
	// served, and the time in which half of what was served is forgotten.
	rotateEvery = 20 * time.Second
	// hardly is the part of the mean that such a requester has had at most.
	hardly = 0.2
	// soonWeight is what it counts when it asks to be let in, of what the nearest do.
	soonWeight = 0.6

	// Bounds of the weight by what a requester lacks against others.
	leastNeed, mostNeed = 0.25, 4

	// filmRate and filmBurst bound what is served to one requester as urgent, enough
	// for any film, in bytes per second and bytes; all together have half of an uplink
	// at most.
	filmRate  = 25e6 / 8
	filmBurst = 8 << 20
)

// nearWeights are by how near a requester is. Where uplinks are scarce queues are
// always full, and who may queue decides more than whose turn it is: it goes by the
// same measure, so that bytes stay near where they cost least.
var nearWeights = [wire.Nearest + 1]float64{0: 1, wire.NearCountry: 1.5, wire.NearAS: 5, wire.NearNet: 5, wire.Nearest: 5}

// Config is what an Allocator goes by.
type Config struct {
	// Rate is the uplink in bytes per second where it is set; 0: it is measured.
	Rate float64
	// Turn is the most bytes sent in one turn; 0 is 256 KiB.
	Turn int64
	// Rotate is how long a slot belongs to somebody who was hardly served; 0 is 20
	// seconds, less is never.
	Rotate time.Duration
}

// Request is one that is queued. As it is sent, Begin moves on and Length is what
// is left.
type Request struct {
	wire.Request
	// Rare says that few copies of the piece are known.
	Rare bool
	// Left is the part of the object that the requester lacks, 0 to 1; 0 is not known.
	Left  float32
	begun bool
}

// Requester is one who asks: a link, with all its swarms. The zero value is one
// that has asked for nothing. It belongs to one Allocator, which alone changes it.
type Requester struct {
	// Owner is the caller's.
	Owner any
	// Near is how near the requester is, see [wire.Candidate].
	Near uint8

	sending bool
	place   int32         // in the list it is in
	queue   []Request     // what a turn is for, or what is most urgent, is first
	few     [2]Request    // where queue begins: a simulation has millions of them
	since   time.Duration // it waits, or has its turn, since then
	until   time.Duration // the turn counts until then
	left    int64         // of the turn, bytes
	queued  int64         // bytes
	deficit float64       // bytes it may have sent before others, or owes them
	gain    float64       // weight when it was weighed last

	had, sent int64 // bytes, ever
	recent    int64 // sent of late, as of period
	period    int32
	refused   time.Duration // for the first time since it had something queued; 0: it was not
	due       time.Duration // it is expected back until then
	lacks     float32       // as in what it asked for
	film      float64       // what may still be urgent, bytes
	filmAt    time.Duration
}

// Busy says when a refused requester should ask again, and the rate in bytes per
// second that it could then count on.
type Busy struct {
	Retry time.Duration
	Rate  float64
}
