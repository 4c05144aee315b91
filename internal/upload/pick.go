package upload

import (
	"math"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// pick chooses who of those who wait gets the next turn, and charges it. Somebody
// who was hardly served goes first; then, unless something is urgent, requests
// that have begun, since only whole pieces can be passed on; then by deficit.
func (a *Allocator) pick(now time.Duration) *Requester {
	if r := a.favour(now); r != nil {
		return r // for free
	}
	urgent, begun := false, -1
	for i, r := range a.waiting {
		q := &r.queue[0]
		urgent = urgent || q.Urgency == wire.UrgencyReader
		if q.begun && begun < 0 {
			begun = i
		}
	}
	if begun >= 0 && !urgent {
		r := a.waiting[begun]
		r.deficit -= float64(a.cost(r))
		return r
	}
	return a.byDeficit(now)
}

// byDeficit is deficit round robin with a quantum that tends to nothing: as many
// rounds go by at once as the first one needs to afford its turn. In each,
// everybody who has something queued beside its turn gains by its weight.
func (a *Allocator) byDeficit(now time.Duration) *Requester {
	var first *Requester
	rounds := math.Inf(1)
	left := a.meanLeft()
	for _, r := range a.waiting {
		r.gain = r.weight(now) * need(float64(r.queue[0].Left), left)
		need := (float64(a.cost(r)) - r.deficit) / r.gain
		if need < rounds || need == rounds && r.since < first.since {
			first, rounds = r, need
		}
	}
	rounds = max(rounds, 0)
	for _, r := range a.waiting {
		r.deficit += rounds * r.gain
	}
	for _, r := range a.sending {
		if len(r.queue) > 1 || int64(r.queue[0].Length) > r.left {
			// One requester has one turn at a time: what it cannot use is lost.
			r.deficit = min(r.deficit+rounds*r.gain, float64(a.cfg.Turn))
		}
	}
	first.deficit -= float64(a.cost(first))
	return first
}

// favour returns the one whom the rotating slot belongs to, if it waits. In every
// period that is who had least of late of those who ask, if it had hardly anything.
func (a *Allocator) favour(now time.Duration) *Requester {
	if a.cfg.Rotate < 0 {
		return nil
	}
	if p := int64(now / a.cfg.Rotate); p != a.period {
		a.period, a.favoured = p, nil
		var least int64 = math.MaxInt64
		var chosen *Requester
		for _, list := range [2][]*Requester{a.waiting, a.refused} {
			for _, r := range list {
				if s := r.served(now); s < least {
					chosen, least = r, s
				}
			}
		}
		if chosen != nil && a.hardlyServed(now, chosen) {
			a.favoured = chosen
		}
	}
	if r := a.favoured; r != nil && !r.sending && len(r.queue) > 0 {
		return r
	}
	return nil
}

// served is what r was sent of late, in bytes; it halves with every period.
func (r *Requester) served(now time.Duration) int64 {
	if p := int32(now / rotateEvery); p > r.period {
		r.recent >>= min(p-r.period, 62)
		r.period = p
	}
	return r.recent
}

// near is how much r may have against one from far away.
func (r *Requester) near() float64 { return nearWeights[min(r.Near, wire.Nearest)] }

// hardlyServed reports whether r was sent much less of late than those who ask.
func (a *Allocator) hardlyServed(now time.Duration, r *Requester) bool {
	sum, n := int64(0), 0
	for _, list := range [2][]*Requester{a.waiting, a.sending} {
		for _, o := range list {
			sum += o.served(now)
			n++
		}
	}
	return float64(r.served(now)) < hardly*float64(sum)/float64(max(n, 1))
}

// weight is how much of the uplink r gets against others.
func (r *Requester) weight(now time.Duration) float64 {
	q := &r.queue[0]
	w := [...]float64{wire.UrgencyNormal: 1, wire.UrgencyReader: 4, wire.UrgencyRelay: 3, wire.UrgencyBackground: 0.5}[known(q.Urgency)]
	if q.Rare {
		w *= 2
	}
	w *= r.near()
	w *= r.contribution()
	if wait := now - r.since; wait > ageAfter && !r.sending {
		w += ageGain * wait.Seconds() * wait.Seconds()
	}
	return w
}

// meanLeft is what those who wait lack, in the mean.
func (a *Allocator) meanLeft() float64 {
	sum := 0.0
	for _, r := range a.waiting {
		sum += float64(r.queue[0].Left)
	}
	return sum / float64(len(a.waiting))
}

// need is the weight of one that lacks more than others, or less: those who begin
// together are to be done together, since the last of them has nobody else's
// uplink to make good with.
func need(left, mean float64) float64 {
	if left == 0 || mean == 0 {
		return 1
	}
	x := left / mean
	return min(max(x*x*x*x, leastNeed), mostNeed)
}

// rank is the order in which the requests of one requester are served.
func rank(u wire.Urgency) int {
	return [...]int{wire.UrgencyNormal: 2, wire.UrgencyReader: 0, wire.UrgencyRelay: 1, wire.UrgencyBackground: 3}[known(u)]
}

func known(u wire.Urgency) wire.Urgency {
	if u > wire.UrgencyBackground {
		return wire.UrgencyNormal
	}
	return u
}

// contribution is 0.75 for somebody who takes and gives nothing, 1.25 for one who
// gives and takes nothing, 1 for those of whom little is known.
func (r *Requester) contribution() float64 {
	const little = 4 << 20
	return 0.75 + 0.5*float64(r.had+little)/float64(r.had+r.sent+2*little)
}

// Had records n verified bytes had from the requester.
func (r *Requester) Had(n int) { r.had += int64(n) }

// mayHurry reports whether r may have n more bytes as urgent now.
func (r *Requester) mayHurry(now time.Duration, n float64) bool {
	if r.filmAt == 0 {
		r.film = filmBurst
	}
	r.film = min(filmBurst, r.film+filmRate*(now-r.filmAt).Seconds())
	r.filmAt = max(now, 1)
	return r.film >= n
}

// busy is what a refused requester is told: half of what is queued will be gone
// when it comes back.
func (a *Allocator) busy() Busy {
	return Busy{
		Retry: min(max(seconds(float64(a.queued)/a.room()*queueTime.Seconds()/2), minRetry), maxRetry),
		Rate:  a.Rate() / float64(len(a.waiting)+len(a.sending)+1),
	}
}
