package upload

import "time"

const (
	// moreEvery is how often there may be more turns while an uplink has room, a part
	// of moreShare at a time, and fewerEvery how often there is one less while it is full.
	moreEvery  = 100 * time.Millisecond
	moreShare  = 8
	fewerEvery = 500 * time.Millisecond
)

// Full tells whether the uplink is full, a few times a second while something is sent.
// An uplink of which nothing is told counts as full.
//
// Where receivers hold up every turn, what is delivered looks like the rate of the
// uplink, and as many turns as that rate asks for deliver no more than that. What is sent
// cannot tell the two apart, but what waits in front of the uplink can: so there are more
// turns while it has room and somebody waits, and otherwise as few as keep it full.
func (a *Allocator) Full(now time.Duration, full bool) {
	switch {
	case now < a.moreAt:
	case full:
		a.more, a.moreAt = max(0, a.more-1), now+fewerEvery
	case a.meter.sure && len(a.waiting) > 0:
		n := a.slots()
		a.more, a.moreAt = a.more+min(max(1, n/moreShare), mostSlots-n), now+moreEvery
	}
}
