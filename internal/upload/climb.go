package upload

import "time"

// climb finds out how many turns at a time deliver most. Where receivers hold up every
// turn, what is delivered looks like the rate of the uplink, and as many turns as that
// rate asks for deliver no more than that. So some more are tried now and then for a
// while, at once where the uplink has been seen to carry more; if that is worth it they
// stay and more are tried. In between fewer are tried, and stay if they deliver as much:
// an uplink that is full needs no more turns than keep it so.
type climb struct {
	more   int     // turns beside those that the rate asks for
	trying int     // of them, on trial; less than 0: so many fewer
	had    float64 // delivered before the trial, bytes per second
	next   time.Duration
	ended  time.Duration // the last trial
	pause  time.Duration
	fewer  bool // are to be tried next
	skip   bool // the window in which the trial begins tells nothing
}

const (
	leastPause, mostPause = 6 * time.Second, 48 * time.Second
	// worth is the part of the gain to be expected from which a trial of more has
	// succeeded, asMuch the part of what was delivered from which one of fewer has.
	worth, asMuch = 0.4, 0.98
	// full is the part of the best of the last minutes from which on an uplink is full.
	full = 0.95
)

// window takes in a window in which somebody waited all the time and got bytes per
// second were delivered in slots turns at a time, best in one of the last minutes.
func (c *climb) window(now time.Duration, got, best float64, slots int) {
	switch {
	case c.trying != 0 && c.skip:
		c.skip = false
		return
	case c.trying != 0 && !c.judge(now, got, slots):
		return
	}
	short := got < full*best
	if now < c.next && (!short || now < c.ended+leastPause) {
		return
	}
	more := max(1, slots/4)
	if short {
		more = max(more, min(slots, int(float64(slots)*(best/max(got, 1)-1)))) // as many as would fill it
	}
	c.trying = min(more, mostSlots-slots)
	if (c.fewer || c.trying == 0) && !short {
		c.trying = -min(c.more, max(1, slots/8))
	}
	c.had, c.skip = got, true
	c.more += c.trying
}

// judge ends a trial and reports whether the next may begin at once.
func (c *climb) judge(now time.Duration, got float64, slots int) bool {
	tried := c.trying
	wanted := c.had * asMuch
	if tried > 0 {
		wanted = c.had * (1 + worth*float64(tried)/float64(slots-tried))
	}
	c.trying, c.ended, c.fewer = 0, now, tried > 0
	if got >= wanted {
		c.pause = 0
		return true
	}
	c.more -= tried
	c.pause = min(max(2*c.pause, leastPause), mostPause)
	c.next = now + c.pause
	return false
}
