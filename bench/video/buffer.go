//go:build linux

package main

import "time"

// buffer is what a player has ahead of what it shows. Times are those since the player
// began.
type buffer struct {
	playing bool
	began   bool          // has shown something
	ahead   time.Duration // media, at the time at
	at      time.Duration
	since   time.Duration // of the present stall

	startup time.Duration
	stalls  int
	stalled time.Duration
}

// advance shows what there is until now.
func (b *buffer) advance(now time.Duration) {
	if b.playing {
		b.ahead -= now - b.at
		if b.ahead < 0 {
			b.playing, b.since, b.ahead = false, now+b.ahead, 0
			b.stalls++
		}
	}
	b.at = now
}

// add puts media into the buffer. With enough of it the player begins, or goes on.
func (b *buffer) add(now, media, enough time.Duration) {
	b.advance(now)
	b.ahead += media
	if b.playing || b.ahead < enough {
		return
	}
	if !b.began {
		b.began, b.startup = true, now
	} else {
		b.stalled += now - b.since
	}
	b.playing = true
}

// end has the player show the rest: running dry is no stall any more.
func (b *buffer) end(now time.Duration) {
	b.advance(now)
	if b.began && !b.playing {
		b.stalled += now - b.since
	}
}

// room is how long until there is room for media in a buffer of size most.
func (b *buffer) room(media, most time.Duration) time.Duration {
	return max(0, b.ahead+media-most)
}
