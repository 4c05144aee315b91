package governor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// uplink is a bottleneck with a long buffer, some links over it and a reference. It
// steps in milliseconds.
type uplink struct {
	g        *Governor
	bucket   *Bucket
	capacity float64 // bytes per second
	rtt      time.Duration
	buffer   time.Duration
	now      time.Duration
	queue    *float64 // bytes
	second   bool     // another drains the queue
	// foreign is what others send, bytes per second.
	foreign func(now time.Duration, queue time.Duration) float64
	// far is delay of a link beyond the uplink.
	far     func(link int, now time.Duration) time.Duration
	noRef   bool
	nLinks  int
	noLinks bool
	loss    float64
	queues  []time.Duration // every millisecond
	sent    float64         // ours, bytes
	lost    float64
	echoes  []echo
	drift   float64 // of the reference's clock
	// jitter is what programs and not the uplink delay, of echoes and of links.
	jitter func() time.Duration
}

type echo struct{ sent, out, rtt, due time.Duration }

func newUplink(mbit float64, rtt time.Duration) *uplink {
	return &uplink{g: New(), bucket: NewBucket(firstRate), capacity: mbit * 1e6 / 8, rtt: rtt, buffer: 2 * time.Second, nLinks: 4, queue: new(float64)}
}

func (u *uplink) delay() time.Duration { return seconds(*u.queue / u.capacity) }

// run goes on for d and returns the share of the uplink that our uploads got and the
// p95 of the queueing delay.
func (u *uplink) run(d time.Duration, busy func(now time.Duration) bool) (share float64, p95 time.Duration) {
	from, sent := len(u.queues), u.sent
	for end := u.now + d; u.now < end; u.now += time.Millisecond {
		u.millisecond(busy == nil || busy(u.now))
	}
	queues := slices.Sorted(slices.Values(u.queues[from:]))
	return (u.sent - sent) / (u.capacity * d.Seconds()), queues[len(queues)*95/100]
}

func (u *uplink) millisecond(busy bool) {
	for busy && u.bucket.Wait(u.now) == 0 {
		n := u.bucket.Portion(32 << 10)
		u.bucket.Take(u.now, n)
		u.g.Sent(n)
		u.enqueue(float64(n), true)
	}
	if busy {
		u.g.Limited(u.now)
	}
	if u.foreign != nil {
		u.enqueue(u.foreign(u.now, u.delay())/1000, false)
	}
	if !u.second {
		*u.queue = max(0, *u.queue-u.capacity/1000)
	}
	u.queues = append(u.queues, u.delay())
	every := 200 * time.Millisecond
	if u.g.Restless() {
		every = 100 * time.Millisecond
	}
	if !u.noRef && u.now%every == 0 {
		out := u.delay() + u.rtt/2 + u.noise()
		u.echoes = append(u.echoes, echo{u.now, out + time.Hour + time.Duration(u.drift*float64(u.now)), out + u.rtt/2, u.now + out + u.rtt/2})
	}
	for len(u.echoes) > 0 && u.echoes[0].due <= u.now {
		e := u.echoes[0]
		u.echoes = u.echoes[1:]
		u.g.Echo(u.now, e.sent, e.out, e.rtt)
	}
	if u.now%(50*time.Millisecond) == 0 {
		var links []Link
		for i := range u.nLinks {
			if u.noLinks || !busy {
				break
			}
			rtt := u.rtt + u.met() + u.noise()
			if u.far != nil {
				rtt += u.far(i, u.now)
			}
			links = append(links, Link{ID: int64(i), RTT: rtt, Sent: int64(u.sent / 1448 / float64(u.nLinks)), Lost: int64(u.lost / 1448 / float64(u.nLinks))})
		}
		u.g.Update(u.now, links)
		u.bucket.SetRate(u.now, u.g.Rate())
	}
}

func (u *uplink) noise() time.Duration {
	if u.jitter == nil {
		return 0
	}
	return u.jitter()
}

// met is the queue that those packets met which are acknowledged now.
func (u *uplink) met() time.Duration {
	for i := len(u.queues) - 1; i >= 0; i-- {
		sent := time.Duration(i) * time.Millisecond
		if sent+u.queues[i]+u.rtt <= u.now {
			return u.queues[i]
		}
	}
	return 0
}

func (u *uplink) enqueue(n float64, own bool) {
	room := u.capacity*u.buffer.Seconds() - *u.queue
	in := min(n, room)
	*u.queue += in
	if own {
		u.sent += n
		u.lost += n - in + n*u.loss
	}
}

// While somebody uses the machine the queue is half as long, and the uplink used as well.
func TestWary(t *testing.T) {
	for _, mbit := range []float64{1, 10, 100} {
		for _, rtt := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
			u := newUplink(mbit, rtt)
			u.noLinks = true
			_, wide := u.run(60*time.Second, nil)
			u.g.Aim(Wary)
			u.run(5*time.Second, nil)
			share, p95 := u.run(60*time.Second, nil)
			if share < 0.9 || p95 > 40*time.Millisecond || p95 > wide {
				t.Errorf("%v Mbit/s, %v: share %.3f, p95 of the queue %v, before %v", mbit, rtt, share, p95, wide)
			}
			u.g.Aim(Target)
			u.run(5*time.Second, nil)
			if _, p95 := u.run(30*time.Second, nil); p95 < wide*8/10 {
				t.Errorf("%v Mbit/s, %v: p95 of the queue stays at %v, was %v", mbit, rtt, p95, wide)
			}
		}
	}
}

func TestIdleUplink(t *testing.T) {
	for _, mbit := range []float64{1, 10, 100} {
		for _, rtt := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
			for _, signals := range []string{"both", "reference", "links"} {
				t.Run(fmt.Sprintf("%v mbit, %v, %s", mbit, rtt, signals), func(t *testing.T) {
					u := newUplink(mbit, rtt)
					u.noRef, u.noLinks = signals == "links", signals == "reference"
					u.loss = 0.01
					share, p95 := u.run(60*time.Second, nil)
					t.Logf("share %.3f, p95 %v", share, p95)
					least := 0.95
					if rtt > 100*time.Millisecond {
						least = 0.9 // slow start takes seconds
					}
					if share < least || p95 > 70*time.Millisecond {
						t.Errorf("share %.3f of an idle uplink, p95 of the queue %v", share, p95)
					}
				})
			}
		}
	}
}

// TestBursts: what is sent now and then, as live segments are, tells nothing of what the
// uplink carries, and soon goes out as fast as that.
func TestBursts(t *testing.T) {
	const every = 2 * time.Second
	for _, mbit := range []float64{1, 20, 100} {
		for _, ideal := range []time.Duration{40 * time.Millisecond, 150 * time.Millisecond, 500 * time.Millisecond} {
			t.Run(fmt.Sprintf("%v mbit, %v", mbit, ideal), func(t *testing.T) {
				u := newUplink(mbit, 20*time.Millisecond)
				r := rand.New(rand.NewPCG(1, uint64(mbit)))
				u.jitter = func() time.Duration { return time.Duration(r.ExpFloat64() * float64(5*time.Millisecond)) }
				until, took := 0.0, time.Duration(0)
				busy := func(now time.Duration) bool {
					if now%every == 0 {
						until = u.sent + u.capacity*ideal.Seconds()
					}
					if u.sent >= until {
						return false
					}
					took += time.Millisecond
					return true
				}
				u.run(time.Minute, busy)
				took = 0
				from := len(u.queues)
				u.run(2*time.Minute, busy)
				queues := slices.DeleteFunc(slices.Clone(u.queues[from:]), func(q time.Duration) bool { return q == 0 })
				slices.Sort(queues)
				p95 := queues[len(queues)*95/100]
				took /= 2 * time.Minute / every
				if took > ideal*3/2+50*time.Millisecond || p95 > 70*time.Millisecond {
					t.Errorf("a burst takes %v, p95 of the queue is %v where there is one", took, p95)
				}
				if u.g.Rate() > 2*u.capacity {
					t.Errorf("the rate is %.2f of the uplink's", u.g.Rate()/u.capacity)
				}
			})
		}
	}
}

// greedy fills any buffer, as a sender does that goes by loss alone: it grows until
// the buffer overflows, then halves.
func greedy(capacity float64, buffer time.Duration) func(time.Duration, time.Duration) float64 {
	rate := capacity / 10
	return func(_, queue time.Duration) float64 {
		if queue >= buffer-5*time.Millisecond {
			rate = min(rate, capacity) * 0.7
		}
		rate = min(rate+capacity/2/1000, 1.3*capacity)
		return rate
	}
}

func TestGivesWay(t *testing.T) {
	for _, buffer := range []time.Duration{500 * time.Millisecond, 2 * time.Second} {
		for _, rtt := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
			for _, signals := range []string{"both", "reference", "links"} {
				t.Run(fmt.Sprintf("%v, %v, %s", buffer, rtt, signals), func(t *testing.T) {
					u := newUplink(10, rtt)
					u.buffer = buffer
					u.noRef, u.noLinks = signals == "links", signals == "reference"
					u.run(30*time.Second, nil)
					u.foreign = greedy(u.capacity, u.buffer)
					u.run(2*time.Second, nil)
					share, _ := u.run(60*time.Second, nil)
					t.Logf("share %.3f beside another", share)
					if share > 0.1 {
						t.Errorf("share %.3f of an uplink that somebody else needs", share)
					}
					u.foreign = nil
					u.run(5*time.Second, nil)
					share, p95 := u.run(30*time.Second, nil)
					if share < 0.9 || p95 > 80*time.Millisecond {
						t.Errorf("share %.3f after the other has ended, p95 %v", share, p95)
					}
				})
			}
		}
	}
}

// Delay of links beyond the uplink holds nobody back.
func TestFarBottleneck(t *testing.T) {
	for name, far := range map[string]func(int, time.Duration) time.Duration{
		"one": func(i int, now time.Duration) time.Duration {
			if i == 0 && now > 20*time.Second {
				return 500 * time.Millisecond
			}
			return 0
		},
		"all": func(_ int, now time.Duration) time.Duration { // a reference tells
			if now > 20*time.Second {
				return 300 * time.Millisecond
			}
			return 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUplink(20, 20*time.Millisecond)
			u.far, u.noRef = far, name == "one"
			u.run(25*time.Second, nil)
			if share, p95 := u.run(60*time.Second, nil); share < 0.95 || p95 > 70*time.Millisecond {
				t.Errorf("share %.3f, p95 of the queue %v", share, p95)
			}
		})
	}
}

// A reference whose way is congested elsewhere does not hold back links whose round
// trips stay short.
func TestFarReference(t *testing.T) {
	u := newUplink(20, 20*time.Millisecond)
	u.run(30*time.Second, nil)
	u.noRef = true
	for range 600 {
		u.g.Echo(u.now, u.now-500*time.Millisecond, 400*time.Millisecond+time.Hour, 500*time.Millisecond)
		u.run(100*time.Millisecond, nil)
	}
	if share, p95 := u.run(10*time.Second, nil); share < 0.95 || p95 > 70*time.Millisecond {
		t.Errorf("share %.3f, p95 of the queue %v", share, p95)
	}
}

// Clocks that drift apart make no queue.
func TestDrift(t *testing.T) {
	for _, drift := range []float64{-200e-6, 200e-6} {
		u := newUplink(10, 50*time.Millisecond)
		u.drift, u.noLinks = drift, true
		u.run(10*time.Minute, nil)
		if share, p95 := u.run(5*time.Minute, nil); share < 0.95 || p95 > 80*time.Millisecond {
			t.Errorf("drift %v: share %.3f, p95 of the queue %v", drift, share, p95)
		}
	}
}

// Somebody who begins while another of the same kind keeps the queue at its target
// finds the base all the same, in the other's slowdowns and its own: both get their
// share, and the queue does not grow.
func TestLatecomer(t *testing.T) {
	first, second := newUplink(10, 20*time.Millisecond), newUplink(10, 20*time.Millisecond)
	first.run(30*time.Second, nil)
	second.queue, second.second = first.queue, true
	second.now = first.now
	together := func(d time.Duration) (a, b float64, p95 time.Duration) {
		from, sentA, sentB := len(first.queues), first.sent, second.sent
		for end := first.now + d; first.now < end; {
			second.millisecond(true)
			first.millisecond(true)
			first.now += time.Millisecond
			second.now += time.Millisecond
		}
		queues := slices.Sorted(slices.Values(first.queues[from:]))
		all := first.capacity * d.Seconds()
		return (first.sent - sentA) / all, (second.sent - sentB) / all, queues[len(queues)*95/100]
	}
	together(90 * time.Second)
	a, b, p95 := together(60 * time.Second)
	t.Logf("shares %.3f and %.3f, p95 %v", a, b, p95)
	if min(a, b) < 0.2 || a+b < 0.9 || p95 > 120*time.Millisecond {
		t.Errorf("shares %.3f and %.3f, p95 of the queue %v", a, b, p95)
	}
}

func TestMinimaForget(t *testing.T) {
	var m minima
	m.add(0, 5)
	m.add(3*time.Minute, 7)
	for _, c := range []struct {
		at   time.Duration
		want float64
	}{{9 * time.Minute, 5}, {12 * time.Minute, 7}, {5 * time.Hour, 9}} {
		m.add(c.at, 9)
		if got := m.min(); got != c.want {
			t.Errorf("least at %v: %v, want %v", c.at, got, c.want)
		}
	}
}

// Over any ten seconds a bucket lets through what it should, whatever is asked of it.
func TestBucket(t *testing.T) {
	for _, rate := range []float64{2e3, 20e3, 1e6, 100e6} {
		b := NewBucket(rate)
		type out struct {
			at time.Duration
			n  int
		}
		var outs []out
		for now := time.Duration(0); now < 30*time.Second; now += 100 * time.Microsecond {
			if now > 10*time.Second && now < 15*time.Second {
				continue // what is not used is not saved up
			}
			for b.Wait(now) == 0 {
				n := b.Portion(32 << 10)
				b.Take(now, n)
				outs = append(outs, out{now, n})
			}
		}
		sum, first := 0, 0
		for i, o := range outs {
			for sum += o.n; o.at-outs[first].at > 10*time.Second; first++ {
				sum -= outs[first].n
			}
			if most := 1.05 * 10 * rate; float64(sum) > most+1200 {
				t.Fatalf("%d bytes in ten seconds before output %d, at most %.0f", sum, i, most)
			}
		}
	}
}
