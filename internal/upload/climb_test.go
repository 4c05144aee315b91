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

// An uplink that receivers hold up is filled by more turns at a time, once it is known
// what it can carry.
func TestHeldUpByReceivers(t *testing.T) {
	const rate, step, length = 8e6, 10 * time.Millisecond, 256 << 10
	a := New(Config{})
	rs := make([]Requester, 80)
	id := uint32(0)
	sent := func(from, to time.Duration, takes float64) (all int) {
		for now := from; now < to; now += step {
			for i := range rs {
				for len(rs[i].queue) < 2 {
					if id++; !askOne(a, now, &rs[i], id, length) {
						break
					}
				}
			}
			for a.Next(now) != nil {
			}
			n := int(min(takes, rate/float64(max(len(a.sending), 1))) * step.Seconds())
			for _, r := range slices.Clone(a.sending) {
				all += n
				a.Sent(now, r, r.queue[0].ID, n)
			}
		}
		return all
	}
	sent(0, 30*time.Second, rate)
	sent(30*time.Second, 90*time.Second, rate/40)
	if got := float64(sent(90*time.Second, 100*time.Second, rate/40)) / 10; got < 0.85*rate {
		t.Errorf("%.1f MB/s of %.1f, with %d turns at a time", got/1e6, rate/1e6, a.slots())
	}
}

func askOne(a *Allocator, now time.Duration, r *Requester, id, length uint32) bool {
	_, ok := a.Ask(now, r, Request{Request: wire.Request{ID: id, Length: length}})
	return ok
}

// A trial counts the turns that there are: near their most it is judged by those few
// that were added, and at the most fewer are tried.
func TestClimbNearTheMost(t *testing.T) {
	c := climb{more: 24}
	base := mostSlots - 8 - c.more
	slots := func() int { return min(base+c.more, mostSlots) }
	at := time.Duration(0)
	window := func(got float64) {
		at += leastPause
		c.window(at, got, 8e6, slots())
	}
	window(4e6) // half of what it has been seen to carry
	if c.trying != 8 {
		t.Fatalf("%d more are tried, want 8", c.trying)
	}
	window(4.8e6)
	window(4.8e6) // a fifth more, for a fifth more turns
	if c.more != 32 {
		t.Errorf("%d more turns are kept, want 32", c.more)
	}
	at += mostPause
	window(8e6)
	window(8e6)
	if slots() >= mostSlots {
		t.Errorf("%d turns at a full uplink, none fewer is tried", slots())
	}
}
