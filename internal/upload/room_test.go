package upload

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

func TestMeter(t *testing.T) {
	for _, c := range []struct {
		name string
		feed func(m *meter) // an uplink of 1 MB/s
		want float64
		sure bool
	}{
		{"nothing", func(*meter) {}, 0, false},
		{"a moment", func(m *meter) { m.resume(0); feed(m, 0, 500*time.Millisecond, 1e6, true) }, 0, false},
		{"always asked", func(m *meter) { m.resume(0); feed(m, 0, 30*time.Second, 1e6, true) }, 1e6, true},
		{"now and then", func(m *meter) {
			for at := time.Duration(0); at < time.Minute; at += 10 * time.Second {
				m.resume(at)
				feed(m, at, at+1500*time.Millisecond, 1e6, false)
			}
		}, 1e6, false},
		{"asked less later", func(m *meter) {
			m.resume(0)
			feed(m, 0, 10*time.Second, 1e6, true)
			feed(m, 10*time.Second, 60*time.Second, 1e5, false)
		}, 1e6, true},
		{"slower later", func(m *meter) {
			m.resume(0)
			feed(m, 0, 10*time.Second, 1e6, true)
			feed(m, 10*time.Second, 100*time.Second, 5e5, true)
		}, 5e5, true},
	} {
		var m meter
		c.feed(&m)
		if math.Abs(m.rate-c.want) > 0.05*c.want || m.sure != c.sure {
			t.Errorf("%s: %.0f (sure: %v), want %.0f (%v)", c.name, m.rate, m.sure, c.want, c.sure)
		}
	}
}

func feed(m *meter, from, to time.Duration, rate float64, more bool) {
	const step = 10 * time.Millisecond
	for at := from + step; at <= to; at += step {
		m.add(at, int64(rate*step.Seconds()), more)
	}
}

// held is an uplink of rate bytes per second that receivers hold up: each takes no more
// than takes. It tells whether it is full where tell says so.
type held struct {
	alloc *Allocator
	rs    []Requester
	id    uint32
	rate  float64
	tell  bool
}

// send has everybody ask all the time, and returns what is delivered, bytes per second.
func (h *held) send(from, to time.Duration, takes float64) float64 {
	const step, length = 10 * time.Millisecond, 256 << 10
	all := 0
	for now := from; now < to; now += step {
		for i := range h.rs {
			for len(h.rs[i].queue) < 2 {
				if h.id++; !askOne(h.alloc, now, &h.rs[i], h.id, length) {
					break
				}
			}
		}
		for h.alloc.Next(now) != nil {
		}
		share := h.rate / float64(max(len(h.alloc.sending), 1))
		if h.tell {
			h.alloc.Full(now, share < takes)
		}
		n := int(min(takes, share) * step.Seconds())
		for _, r := range slices.Clone(h.alloc.sending) {
			all += n
			h.alloc.Sent(now, r, r.queue[0].ID, n)
		}
	}
	return float64(all) / (to - from).Seconds()
}

// An uplink that receivers hold up is filled by more turns at a time within seconds,
// once it tells that it has room, and has fewer again when they take more.
func TestHeldUpByReceivers(t *testing.T) {
	const rate = 8e6
	h := &held{alloc: New(Config{}), rs: make([]Requester, 80), rate: rate, tell: true}
	h.send(0, 10*time.Second, rate)
	few := h.alloc.slots()
	h.send(10*time.Second, 13*time.Second, rate/40)
	if got := h.send(13*time.Second, 20*time.Second, rate/40); got < 0.97*rate {
		t.Errorf("%.1f MB/s of %.1f, with %d turns at a time", got/1e6, rate/1e6, h.alloc.slots())
	}
	if n := h.alloc.slots(); n > 42 {
		t.Errorf("%d turns at a time where 40 fill the uplink", n)
	}
	h.send(20*time.Second, 40*time.Second, rate)
	if n := h.alloc.slots(); n != few {
		t.Errorf("%d turns at a time, %d before", n, few)
	}
	mute := &held{alloc: New(Config{}), rs: make([]Requester, 80), rate: rate}
	mute.send(0, 10*time.Second, rate)
	mute.send(10*time.Second, 20*time.Second, rate/40)
	if n := mute.alloc.slots(); n > maxSlots {
		t.Errorf("%d turns at an uplink that does not tell", n)
	}
}

// However much room there is, there are mostSlots turns at most, and a moment's room
// does not count before the uplink is known.
func TestMostTurns(t *testing.T) {
	h := &held{alloc: New(Config{}), rs: make([]Requester, 400), rate: 8e6, tell: true}
	h.send(0, 500*time.Millisecond, 1e3)
	if h.alloc.more != 0 {
		t.Errorf("%d more turns at an uplink that is not known", h.alloc.more)
	}
	h.send(500*time.Millisecond, 20*time.Second, 8e4)
	if n := h.alloc.slots(); n != mostSlots {
		t.Errorf("%d turns, want %d", n, mostSlots)
	}
}

func askOne(a *Allocator, now time.Duration, r *Requester, id, length uint32) bool {
	_, ok := a.Ask(now, r, Request{Request: wire.Request{ID: id, Length: length}})
	return ok
}
