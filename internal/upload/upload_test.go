package upload

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const piece = 64 << 10

// uplink sends what an Allocator hands out: those who have a turn share the rate,
// a chunk at a time.
type uplink struct {
	*Allocator
	rate float64
	now  time.Duration
	turn int
	// chunk is small against requests, so that all who are served get alike.
	chunk int
	id    uint32
	rand  *rand.Rand
	refused,
	most int64 // bytes queued
	sent map[*Requester]int64
	// served is told of every turn that begins.
	served func(*Requester)
}

func newUplink(cfg Config, rate float64) *uplink {
	return &uplink{Allocator: New(cfg), rate: rate, chunk: 16 << 10, rand: rand.New(rand.NewPCG(1, 2)), sent: map[*Requester]int64{}}
}

// ask reports whether the request was taken.
func (u *uplink) ask(r *Requester, q Request) bool {
	u.id++
	q.ID = u.id
	if q.Length == 0 {
		q.Length = piece
	}
	_, ok := u.Ask(u.now, r, q)
	u.most = max(u.most, u.Queued())
	if !ok {
		u.refused++
	}
	return ok
}

// step sends one chunk, or lets a moment pass when there is none.
func (u *uplink) step() {
	for r := u.Next(u.now); r != nil; r = u.Next(u.now) {
		if u.served != nil {
			u.served(r)
		}
	}
	if len(u.sending) == 0 {
		u.now += time.Millisecond
		return
	}
	u.turn++
	r := u.sending[u.turn%len(u.sending)]
	q, _ := r.Turn()
	n := min(u.chunk, int(q.Length))
	u.now += time.Duration(float64(n) / u.rate * 1e9)
	u.sent[r] += int64(n)
	u.Sent(u.now, r, q.ID, n)
}

// asker keeps requests queued.
type asker struct {
	r     Requester
	q     Request
	depth int
	retry time.Duration
}

// run has everybody ask whenever it may until the given time.
func (u *uplink) run(until time.Duration, askers []*asker) {
	for next := u.now; u.now < until; u.step() {
		if u.now >= next { // not at every chunk
			next = u.now + time.Duration(float64(u.chunk)/u.rate*2e9)
			for _, a := range askers {
				u.fill(a)
			}
		}
	}
}

func (u *uplink) fill(a *asker) {
	for u.now >= a.retry && len(a.r.queue) < a.depth {
		if !u.ask(&a.r, a.q) {
			retry := u.busy().Retry // as a client spreads it, and a round trip
			a.retry = u.now + retry/2 + time.Duration(u.rand.Int64N(int64(retry))) + 50*time.Millisecond
		}
	}
}

func drawAsker(t *rapid.T) *asker {
	a := &asker{depth: rapid.IntRange(3, 5).Draw(t, "depth")}
	a.r.Near = uint8(rapid.IntRange(0, wire.Nearest).Draw(t, "near"))
	a.q.Rare = rapid.Bool().Draw(t, "rare")
	a.q.Urgency = rapid.SampledFrom([]wire.Urgency{wire.UrgencyNormal, wire.UrgencyRelay, wire.UrgencyBackground}).Draw(t, "urgency")
	return a
}

// Whoever always asks gets its weight's share of the uplink.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rate = 25e6 // so much that nobody waits long enough to age
		u := newUplink(Config{Rate: rate, Rotate: -1}, rate)
		u.chunk = piece / 16
		sum := 0.0
		askers := make([]*asker, rapid.IntRange(90, 120).Draw(t, "askers"))
		weights := make([]float64, len(askers))
		for i := range askers {
			a := drawAsker(t)
			a.q.Length = uint32(rapid.IntRange(1, 4).Draw(t, "length")) * piece / 16
			a.r.had = 1 << 50 // all give alike
			askers[i] = a
			a.r.queue = []Request{a.q}
			weights[i] = a.r.weight(0)
			a.r.queue = nil
			sum += weights[i]
		}
		for _, w := range weights {
			if w/sum > 0.7/maxSlots {
				t.Skip("one turn at a time is less than the share")
			}
		}
		u.run(8*time.Second, askers)
		for i, a := range askers {
			got, want := float64(u.sent[&a.r])/float64(u.Total()), weights[i]/sum
			grain := 1.5 * float64(a.q.Length) / float64(u.Total()) // one begun, half of one owed
			if math.Abs(got-want) > max(0.05*want, grain) {
				t.Errorf("weight %.2f of %.2f: share %.4f, want %.4f", weights[i], sum, got, want)
			}
		}
	})
}

// Nobody waits for ever, whatever others ask; queues stay short; the uplink never
// idles while somebody waits.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := math.Exp(rapid.Float64Range(math.Log(100e3), math.Log(20e6)).Draw(t, "log rate"))
		cfg := Config{}
		if rapid.Bool().Draw(t, "limited") {
			cfg.Rate = rate
		}
		u := newUplink(cfg, rate)
		askers := make([]*asker, rapid.IntRange(2, 40).Draw(t, "askers"))
		for i := range askers {
			askers[i] = drawAsker(t)
			if rapid.Bool().Draw(t, "urgent") {
				askers[i].q.Urgency = wire.UrgencyReader
			}
		}
		u.run(60*time.Second, askers) // learn the rate
		u.most = 0
		var worst time.Duration
		last := map[*Requester]time.Duration{}
		for _, a := range askers {
			last[&a.r] = u.now
		}
		u.served = func(r *Requester) {
			worst = max(worst, u.now-last[r])
			last[r] = u.now
		}
		round := seconds(float64(len(askers)*piece) / rate)
		total := u.Total()
		u.run(u.now+20*time.Second+20*round, askers)
		for _, a := range askers {
			worst = max(worst, u.now-last[&a.r])
		}
		if limit := 15*time.Second + 12*round; worst > limit {
			t.Errorf("somebody waited %v, a round takes %v", worst, round)
		}
		want := rate * (20*time.Second + 20*round).Seconds()
		if got := float64(u.Total() - total); got < 0.98*want {
			t.Errorf("%.0f bytes were sent, the uplink carries %.0f", got, want)
		}
		room := u.Rate() * queueTime.Seconds()
		if limit := max(4*room, minSlots*piece) + 2*piece; float64(u.most) > 1.2*limit {
			t.Errorf("%d bytes were queued, the limit is %.0f", u.most, limit)
		}
		if r := u.Rate(); r < 0.8*rate || r > 1.2*rate {
			t.Errorf("uplink measured at %.0f, it is %.0f", r, rate)
		}
	})
}

// A newcomer from far away is served soon although near ones keep the queue full,
// and has its part.
func TestNewcomer(t *testing.T) {
	const rate = 250e3
	u := newUplink(Config{Rate: rate}, rate)
	var askers []*asker
	for range 30 {
		askers = append(askers, &asker{depth: 4, q: Request{Rare: true}, r: Requester{Near: wire.Nearest}})
	}
	u.run(2*time.Minute, askers)
	if u.refused == 0 {
		t.Fatal("nobody was refused: the queue is not full")
	}
	late := &asker{depth: 2, q: Request{Request: wire.Request{Urgency: wire.UrgencyBackground}}}
	joined := u.now
	first := time.Duration(0)
	u.served = func(r *Requester) {
		if r == &late.r && first == 0 {
			first = u.now - joined
		}
	}
	u.run(joined+time.Minute, append(askers, late))
	if first == 0 || first > 20*time.Second {
		t.Errorf("first turn after %v", first)
	}
	if got, fair := float64(u.sent[&late.r]), rate*60.0/31; got < fair/4 {
		t.Errorf("a newcomer had %.0f bytes in a minute, an equal part is %.0f", got, fair)
	}
}

// Where all is asked of an uplink that it has, near ones have most of it, and those
// farther away what they would have of one another's where no one is near.
func TestNearFirst(t *testing.T) {
	const rate = 2.5e6
	u := newUplink(Config{Rate: rate}, rate)
	askers := make([]*asker, 60)
	for i := range askers {
		askers[i] = &asker{depth: 1}
		if i%2 == 0 {
			askers[i].r.Near = wire.NearAS
		}
	}
	u.run(2*time.Minute, askers)
	near, least := int64(0), int64(math.MaxInt64)
	for _, a := range askers {
		if a.r.Near > 0 {
			near += u.sent[&a.r]
		}
		least = min(least, u.sent[&a.r])
	}
	if share := float64(near) / float64(u.Total()); share < 0.75 {
		t.Errorf("%.0f %% went to those near by", 100*share)
	}
	if floor := hardly / 2 * float64(u.Total()) / float64(len(askers)); float64(least) < floor {
		t.Errorf("somebody had %d bytes, the floor is %.0f", least, floor)
	}
}

// Without rotation it is weights alone.
func TestRotationIsAnOption(t *testing.T) {
	had := map[bool]int64{}
	for _, on := range []bool{true, false} {
		cfg := Config{Rate: 1e6}
		if !on {
			cfg.Rotate = -1
		}
		u := newUplink(cfg, 1e6)
		askers := []*asker{{depth: 4, q: Request{Request: wire.Request{Urgency: wire.UrgencyBackground}}}}
		for range 12 {
			askers = append(askers, &asker{depth: 4, q: Request{Rare: true}, r: Requester{Near: wire.Nearest}})
		}
		u.run(2*time.Minute, askers)
		had[on] = u.sent[&askers[0].r]
	}
	if had[true] < had[false]*5/4 {
		t.Errorf("%d bytes with rotation, %d without", had[true], had[false])
	}
}

func TestUrgentFirst(t *testing.T) {
	const rate = 2.5e6
	u := newUplink(Config{Rate: rate}, rate)
	var askers []*asker
	for range 40 {
		askers = append(askers, &asker{depth: 2, q: Request{Request: wire.Request{Length: 1 << 20}}})
	}
	u.run(30*time.Second, askers)
	viewer := &Requester{}
	var worst time.Duration
	for range 20 {
		for !u.ask(viewer, Request{Request: wire.Request{Urgency: wire.UrgencyReader}}) {
			u.step()
		}
		asked := u.now
		for len(viewer.queue) > 0 {
			u.run(u.now+time.Millisecond, askers)
		}
		worst = max(worst, u.now-asked)
	}
	// Turns of 256 KiB that have begun end first, some of them.
	if worst > 2500*time.Millisecond {
		t.Errorf("a piece that a reader waits for took up to %v", worst)
	}
}

// Calling everything urgent gains no more than a film needs.
func TestHurryIsBounded(t *testing.T) {
	const rate = 100e6
	u := newUplink(Config{Rate: rate, Rotate: -1}, rate)
	pushy := &asker{depth: 4, q: Request{Request: wire.Request{Urgency: wire.UrgencyReader}}}
	askers := []*asker{pushy}
	for range 40 {
		askers = append(askers, &asker{depth: 4})
	}
	u.run(20*time.Second, askers)
	mean := float64(u.Total()-u.sent[&pushy.r]) / 40
	if got := float64(u.sent[&pushy.r]); got > 1.2*mean+filmBurst+20*filmRate {
		t.Errorf("%.0f bytes by hurry, others had %.0f", got, mean)
	}
}

func TestGiversComeFirst(t *testing.T) {
	const rate = 100e6
	u := newUplink(Config{Rate: rate, Rotate: -1}, rate)
	var askers []*asker
	for i := range 40 {
		a := &asker{depth: 4}
		if i%2 == 0 {
			a.r.Had(1 << 40)
		}
		askers = append(askers, a)
	}
	u.run(20*time.Second, askers)
	var give, take float64
	for i, a := range askers {
		if i%2 == 0 {
			give += float64(u.sent[&a.r])
		} else {
			take += float64(u.sent[&a.r])
		}
	}
	if r := give / take; r < 1.4 || r > 1.25/0.75+0.05 {
		t.Errorf("givers had %.2f times what takers had", r)
	}
}

// A piece that has begun goes out before others begin.
func TestPiecesAreFinished(t *testing.T) {
	const rate = 1e6
	u := newUplink(Config{Rate: rate, Rotate: -1}, rate)
	var askers []*asker
	for range 20 {
		askers = append(askers, &asker{depth: 1, q: Request{Request: wire.Request{Length: 4 << 20}}})
	}
	for u.now < 5*time.Minute {
		u.run(u.now+time.Second, askers)
		begun := 0
		for _, a := range askers {
			if len(a.r.queue) > 0 && a.r.queue[0].begun {
				begun++
			}
		}
		if begun > u.slots()+1 { // a trial of one more may have ended
			t.Fatalf("%d pieces are on their way at a time", begun)
		}
	}
}

// Receivers that take nothing do not keep the uplink from others.
func TestStalledTurnsStopCounting(t *testing.T) {
	a := New(Config{Rate: 1e6})
	stuck := make([]Requester, 3*maxSlots)
	for i := range stuck {
		a.Ask(0, &stuck[i], Request{Request: wire.Request{ID: 1, Length: 1000}})
	}
	turns := 0
	for now := time.Duration(0); turns < len(stuck); {
		for a.Next(now) != nil {
			turns++
		}
		if turns == len(stuck) {
			break
		}
		at, ok := a.Wake(now)
		if !ok || at <= now || at > now+slotMost {
			t.Fatalf("wake at %v, %v", at, ok)
		}
		now = at
	}
	if at, ok := a.Wake(time.Hour); ok {
		t.Errorf("nobody waits, but there is something to do at %v", at)
	}
}

// The lists and sums stay right whatever happens, and a slot is never left free
// while somebody waits.
func TestStaysWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Turn: int64(rapid.IntRange(1, 3).Draw(t, "turn")) * piece}
		if rapid.Bool().Draw(t, "known") {
			cfg.Rate = 1e6
		}
		a := New(cfg)
		rs := make([]Requester, 24)
		var now time.Duration
		id := uint32(0)
		some := func(t *rapid.T) *Requester { return &rs[rapid.IntRange(0, len(rs)-1).Draw(t, "who")] }
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				id++
				q := drawAsker(t).q
				q.ID, q.Length = id, uint32(rapid.IntRange(1, 8*piece).Draw(t, "length"))
				if busy, ok := a.Ask(now, some(t), q); !ok && (busy.Retry < minRetry || busy.Retry > maxRetry || busy.Rate < 0) {
					t.Fatalf("busy: %+v", busy)
				}
			},
			"send": func(t *rapid.T) {
				r := some(t)
				if q, ok := r.Turn(); ok {
					n := rapid.IntRange(1, int(q.Length)).Draw(t, "n")
					more := a.Sent(now, r, q.ID, n)
					if left, still := r.Turn(); more != still || more && (left.Begin != q.Begin+uint32(n) || left.ID != q.ID) {
						t.Fatalf("%+v became %+v, %v", q, left, more)
					}
				} else if a.Sent(now, r, id, 1) {
					t.Fatal("bytes without a turn made one")
				}
			},
			"cancel": func(t *rapid.T) {
				if r := some(t); len(r.queue) > 0 {
					if !a.Cancel(now, r, r.queue[rapid.IntRange(0, len(r.queue)-1).Draw(t, "which")].ID) {
						t.Fatal("not found")
					}
				}
			},
			"drop": func(t *rapid.T) { a.Drop(now, some(t), nil) },
			"wait": func(t *rapid.T) { now += time.Duration(rapid.Int64Range(0, 3e9).Draw(t, "ns")) },
			"": func(t *rapid.T) {
				for a.Next(now) != nil {
				}
				checkWhole(t, a, rs, now)
			},
		})
	})
}

func checkWhole(t *rapid.T, a *Allocator, rs []Requester, now time.Duration) {
	if len(a.waiting) > 0 && a.counted(now) < a.slots() {
		t.Fatal("a slot is free and somebody waits")
	}
	var all int64
	waiting, sending := 0, 0
	for i := range rs {
		r := &rs[i]
		var sum int64
		for _, q := range r.queue {
			sum += int64(q.Length)
			if q.Length == 0 {
				t.Fatal("an empty request is queued")
			}
		}
		if sum != r.queued || math.Abs(r.deficit) > 64*piece {
			t.Fatalf("%d bytes queued, %d counted, deficit %f", sum, r.queued, r.deficit)
		}
		all += sum
		switch {
		case r.sending:
			sending++
			if a.sending[r.place] != r || r.left <= 0 || len(r.queue) == 0 {
				t.Fatalf("a turn for nothing: %+v", r)
			}
		case len(r.queue) > 0:
			waiting++
			if a.waiting[r.place] != r {
				t.Fatal("not in its place")
			}
		}
	}
	if all != a.queued || waiting != len(a.waiting) || sending != len(a.sending) {
		t.Fatalf("%d of %d bytes, %d of %d wait, %d of %d send", all, a.queued, waiting, len(a.waiting), sending, len(a.sending))
	}
}

func TestNoAllocation(t *testing.T) {
	u := newUplink(Config{Rate: 1e6}, 1e6)
	rs := make([]Requester, 40)
	r := rand.New(rand.NewPCG(1, 1))
	round := func() {
		u.ask(&rs[r.IntN(len(rs))], Request{})
		u.step()
	}
	for range 10_000 {
		round()
	}
	if n := testing.AllocsPerRun(10_000, round); n >= 0.01 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	u := newUplink(Config{Rate: 1e9}, 1e9)
	rs := make([]Requester, 40)
	r := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		u.ask(&rs[r.IntN(len(rs))], Request{Request: wire.Request{Length: 16 << 10}})
		u.step()
	}
}

// Whoever is refused keeps its place until the last moment at which a client comes
// back: at one and a half times what it was told, since clients spread.
func TestRefusedKeepTheirPlace(t *testing.T) {
	const rate = 1.25e6
	u := newUplink(Config{Rate: rate}, rate)
	late := &asker{depth: 1}
	others := make([]*asker, 60)
	for i := range others {
		others[i] = &asker{depth: 4}
	}
	u.run(10*time.Second, others)
	for u.ask(&late.r, late.q) {
		u.step()
	}
	since, back := late.r.refused, u.now+u.busy().Retry*3/2+100*time.Millisecond
	u.run(back, others)
	if u.expects(u.now); late.r.refused != since {
		t.Errorf("refused at %v, it is not expected any more at %v", since, u.now)
	}
}
