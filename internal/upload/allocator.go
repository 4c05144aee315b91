package upload

import (
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Allocator hands out turns to send. It is not safe for concurrent use.
type Allocator struct {
	cfg     Config
	meter   meter
	more    int           // turns beside those that the rate asks for
	moreAt  time.Duration // that may change
	bound   float64       // on the uplink, bytes per second; 0 is none
	length  int64         // of the last request, bytes
	waiting []*Requester  // have something queued and no turn
	sending []*Requester  // have a turn
	refused []*Requester  // are to come back
	hurry   float64       // what urgent requests may have before others as of hurryAt, bytes
	hurryAt time.Duration
	queued  int64 // bytes
	// favoured was hardly served and goes first during period.
	favoured *Requester
	period   int64
}

// New returns an Allocator that nobody has asked.
func New(cfg Config) *Allocator {
	if cfg.Turn <= 0 {
		cfg.Turn = defaultTurn
	}
	if cfg.Rotate == 0 {
		cfg.Rotate = rotateEvery
	}
	return &Allocator{cfg: cfg, period: -1}
}

// Rate is the uplink in bytes per second: what is set, or else the best that was
// delivered of late. 0 is not known.
func (a *Allocator) Rate() float64 {
	if a.cfg.Rate > 0 {
		return a.cfg.Rate
	}
	return a.meter.rate
}

// capacity is the rate to plan with, bytes per second, and whether it is the
// uplink rather than what was asked of it so far.
func (a *Allocator) capacity() (rate float64, sure bool) {
	rate, sure = a.measured()
	if a.bound > 0 && rate > a.bound {
		return a.bound, true
	}
	return rate, sure
}

func (a *Allocator) measured() (rate float64, sure bool) {
	switch {
	case a.cfg.Rate > 0:
		return a.cfg.Rate, true
	case a.meter.sure:
		return a.meter.rate, true
	default:
		return max(a.meter.rate, guessRate), false
	}
}

// Bound sets the most that the uplink carries from now on, in bytes per second, where
// that is known otherwise than by what is delivered; 0 is not.
func (a *Allocator) Bound(rate float64) { a.bound = rate }

// Total is the number of bytes sent ever.
func (a *Allocator) Total() int64 { return a.meter.total }

// Queued is the number of bytes that wait to be sent.
func (a *Allocator) Queued() int64 { return a.queued }

// Ask queues a request, or says that the requester should come back later. After
// it, and after everything else that may free a slot, [Allocator.Next] is to be
// called until it returns nil.
func (a *Allocator) Ask(now time.Duration, r *Requester, q Request) (busy Busy, ok bool) {
	urgent := q.Urgency == wire.UrgencyReader && r.mayHurry(now, float64(q.Length))
	r.lacks = q.Left
	if !a.admits(now, r, int64(q.Length), urgent) {
		busy := a.busy()
		if len(r.queue) == 0 {
			a.refuse(now, r, busy.Retry)
		}
		return busy, false
	}
	a.unrefuse(r)
	if a.queued == 0 {
		a.meter.resume(now)
	}
	switch {
	case urgent:
		r.film -= float64(q.Length)
	case q.Urgency == wire.UrgencyReader:
		q.Urgency = wire.UrgencyNormal
	}
	a.enqueue(now, r, q)
	return Busy{}, true
}

// enqueue puts a request behind those of r that are as urgent.
func (a *Allocator) enqueue(now time.Duration, r *Requester, q Request) {
	first := 0
	if r.sending || len(r.queue) > 0 && r.queue[0].begun && rank(q.Urgency) > 0 {
		first = 1
	}
	i := len(r.queue)
	for i > first && rank(r.queue[i-1].Urgency) > rank(q.Urgency) {
		i--
	}
	if r.queue == nil {
		r.queue = r.few[:0]
	}
	r.queue = slices.Insert(r.queue, i, q)
	a.length = int64(q.Length)
	r.queued += int64(q.Length)
	a.queued += int64(q.Length)
	if len(r.queue) == 1 {
		if now-r.since > ageAfter {
			r.deficit = 0 // debts are not for ever
		}
		r.since = now
		a.enlist(&a.waiting, r)
	}
}

// Next gives a turn to the one who is next and returns it, or nil when nobody
// waits or enough are being served.
func (a *Allocator) Next(now time.Duration) *Requester {
	if len(a.waiting) == 0 || a.counted(now) >= a.slots() || a.spread(now) {
		return nil
	}
	r := a.pick(now)
	a.delist(&a.waiting, r)
	a.enlist(&a.sending, r)
	q := &r.queue[0]
	q.begun = true
	r.sending, r.since = true, now
	r.left = a.cost(r)
	r.until = now + a.slotTime(r.left)
	return r
}

// Wake is when a turn stops counting, so that [Allocator.Next] may have another;
// ok is false when nobody would get it.
func (a *Allocator) Wake(now time.Duration) (at time.Duration, ok bool) {
	if len(a.waiting) == 0 {
		return 0, false
	}
	at = math.MaxInt64
	for _, r := range a.sending {
		for _, t := range [...]time.Duration{r.until, r.since + slotStalled} {
			if t > now {
				at = min(at, t)
			}
		}
	}
	return at, at != math.MaxInt64
}

// Len is the number of requests that r has queued.
func (r *Requester) Len() int { return len(r.queue) }

// Idle reports whether the Allocator has nothing to do with r: it has nothing queued,
// and is not expected back.
func (r *Requester) Idle() bool { return len(r.queue) == 0 && r.refused == 0 }

// Turn is the request that r is to be sent, with what is left of it, while r has
// a turn.
func (r *Requester) Turn() (q Request, ok bool) {
	if !r.sending {
		return Request{}, false
	}
	return r.queue[0], true
}

// Sent records n bytes sent of request id and reports whether the turn goes on.
// When it does not, the request is done, or has been cancelled meanwhile, or it
// goes on in another turn.
func (a *Allocator) Sent(now time.Duration, r *Requester, id uint32, n int) bool {
	a.meter.add(now, int64(n), len(a.waiting) > 0)
	r.sent += int64(n)
	r.recent = r.served(now) + int64(n)
	if !r.sending || r.queue[0].ID != id {
		return false
	}
	q := &r.queue[0]
	n = min(n, int(q.Length))
	q.Begin += uint32(n)
	q.Length -= uint32(n)
	r.queued -= int64(n)
	a.queued -= int64(n)
	r.left -= int64(n)
	if q.Length > 0 && r.left > 0 {
		return true
	}
	if q.Length == 0 {
		r.queue = slices.Delete(r.queue, 0, 1)
	}
	a.end(now, r)
	return false
}

// Cancel takes a request off the queue and reports whether it was there. A turn
// for it ends.
func (a *Allocator) Cancel(now time.Duration, r *Requester, id uint32) bool {
	return a.Drop(now, r, func(q *Request) bool { return q.ID == id }) > 0
}

// Drop takes the requests that match off the queue, all where match is nil, and
// returns their number. A requester that is gone must be dropped.
func (a *Allocator) Drop(now time.Duration, r *Requester, match func(*Request) bool) (dropped int) {
	had := len(r.queue)
	current := false
	keep := r.queue[:0]
	for i := range r.queue {
		q := r.queue[i]
		if match != nil && !match(&q) {
			keep = append(keep, q)
			continue
		}
		current = current || i == 0 && r.sending
		r.queued -= int64(q.Length)
		a.queued -= int64(q.Length)
	}
	r.queue = keep
	switch {
	case current:
		a.end(now, r)
	case had > 0 && len(keep) == 0:
		a.delist(&a.waiting, r)
		r.deficit = min(r.deficit, 0)
	}
	if match == nil {
		a.unrefuse(r)
		if a.favoured == r {
			a.favoured = nil
		}
	}
	return had - len(keep)
}

// end ends a turn. What was not sent of it is given back.
func (a *Allocator) end(now time.Duration, r *Requester) {
	a.delist(&a.sending, r)
	r.sending, r.since = false, now
	r.deficit = min(r.deficit+float64(r.left), float64(a.cfg.Turn))
	r.left = 0
	if len(r.queue) > 0 {
		a.enlist(&a.waiting, r)
		return
	}
	r.deficit = min(r.deficit, 0)
}

func (a *Allocator) enlist(list *[]*Requester, r *Requester) {
	r.place = int32(len(*list))
	*list = append(*list, r)
}

func (a *Allocator) delist(list *[]*Requester, r *Requester) {
	l := *list
	last := len(l) - 1
	l[r.place] = l[last]
	l[r.place].place = r.place
	l[last] = nil
	*list = l[:last]
}

// counted is how many of the turns count.
func (a *Allocator) counted(now time.Duration) int {
	n := 0
	for _, r := range a.sending {
		if r.until > now {
			n++
		}
	}
	return n
}

// spread reports whether as many as ever should be are being served, while the
// uplink is not known: of many who ask at once all would be served so slowly that
// none of them soon has anything to pass on.
func (a *Allocator) spread(now time.Duration) bool {
	if _, sure := a.capacity(); sure {
		return false
	}
	n := 0
	for _, r := range a.sending {
		if r.since+slotStalled > now {
			n++
		}
	}
	return n >= maxSlots
}

// slots is how many turns may count at a time.
func (a *Allocator) slots() int {
	rate, sure := a.capacity()
	if !sure {
		return unknownSlots
	}
	turns := rate / float64(max(a.length, 1)) // a second
	n := max(rate/slotRate, min(turns*turnsTime.Seconds(), maxSlots))
	least := min(max(int(turns*slowTime.Seconds()), 1), minSlots)
	return min(min(max(int(n), least), maxSlots)+a.more, mostSlots)
}

// slotTime is how long a turn of n bytes counts.
func (a *Allocator) slotTime(n int64) time.Duration {
	rate, sure := a.capacity()
	if !sure {
		return slotUnknown
	}
	t := slotSlack * float64(n) * float64(a.slots()) / rate
	return min(max(seconds(t), slotLeast), slotMost)
}

// cost is what the next turn of r sends, in bytes.
func (a *Allocator) cost(r *Requester) int64 { return min(a.cfg.Turn, int64(r.queue[0].Length)) }

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e6) * float64(time.Second))
}
