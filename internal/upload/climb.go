package upload

import "time"

// climb finds out whether more turns at a time would deliver more. Where receivers
// hold up every turn, what is delivered looks like the rate of the uplink, and as
// many turns as that rate asks for deliver no more than that. So some more are given
// now and then for a while; if that is worth it they stay and more are tried.
type climb struct {
	more   int     // turns beside those that the rate asks for
	trying int     // of them, on trial
	had    float64 // delivered before the trial, bytes per second
	next   time.Duration
	pause  time.Duration
	skip   bool // the window in which the trial begins tells nothing
}

const (
	leastPause, mostPause = 6 * time.Second, 48 * time.Second
	// worth is the part of the gain to be expected from which a trial has succeeded.
	worth = 0.4
	// full is the part of what an uplink has delivered before from which on it is full.
	full = 0.95
)

// window takes in a window in which somebody waited all the time and got bytes per
// second were delivered in slots turns at a time.
func (c *climb) window(now time.Duration, got, rate float64, slots int) {
	switch {
	case got < full*rate && slots < mostSlots:
		c.more += max(1, slots/4)
		c.trying, c.next = 0, now+leastPause
		return
	case c.trying == 0 && now < c.next:
		return
	case c.trying > 0 && c.skip:
		c.skip = false
		return
	case c.trying > 0:
		if got < c.had*(1+worth*float64(c.trying)/float64(slots-c.trying)) {
			c.more -= c.trying
			c.trying = 0
			c.pause = min(max(2*c.pause, leastPause), mostPause)
			c.next = now + c.pause
			return
		}
		c.pause = 0
	}
	c.had, c.trying, c.skip = got, max(1, slots/4), true
	c.more += c.trying
}
