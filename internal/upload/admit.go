package upload

import (
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// admits says whether n more bytes of r may be queued. A queue that lets in whoever
// asks when there is room is that of those who have just been served: they ask
// then. So those who were refused are expected back: as long as there are any, a
// full queue grows by half for who of them has waited most. What is urgent need not
// have waited, for up to half of the uplink. Where there are nearer ones the queue is
// full sooner, until one has waited longer than they must, or the rotating slot is its
// own.
func (a *Allocator) admits(now time.Duration, r *Requester, n int64, urgent bool) bool {
	room, nearest := a.room(), a.nearest(r)
	queued, turns := float64(a.queued), len(a.waiting)+len(a.sending)
	share := r.near() / nearest
	if r == a.favoured || a.waited(now, r) > nearest*queued/room*queueTime.Seconds() {
		share = 1
	}
	all := queuesInAll * room * share
	free := queued < all || float64(turns) < float64(a.slots())*share || r == a.favoured
	switch {
	case len(r.queue) > 0:
		return float64(r.queued+n) <= room && queued+float64(n) <= all
	case queued >= longQueue*all && turns >= a.slots():
		return false
	case free, urgent && a.hurries(now, n):
		return true
	}
	return a.waitedMost(now, r)
}

// hurries takes n bytes off what urgent requests may have before others, if there is
// as much.
func (a *Allocator) hurries(now time.Duration, n int64) bool {
	rate, _ := a.capacity()
	a.hurry = min(max(a.room()/2, float64(n)), a.hurry+rate/2*(now-a.hurryAt).Seconds())
	a.hurryAt = now
	if a.hurry < float64(n) {
		return false
	}
	a.hurry -= float64(n)
	return true
}

// room is how much one requester may have queued, in bytes. An uplink that has just
// begun to carry much need not be measured for that.
func (a *Allocator) room() float64 {
	rate, _ := a.capacity()
	if a.cfg.Rate == 0 && a.bound == 0 {
		rate = max(rate, a.meter.least())
	}
	return rate * queueTime.Seconds()
}

// expects reports whether somebody who was refused should come back.
func (a *Allocator) expects(now time.Duration) bool {
	a.refused = slices.DeleteFunc(a.refused, func(r *Requester) bool {
		gone := now > r.due
		if gone {
			r.refused = 0
		}
		return gone
	})
	return len(a.refused) > 0
}

// nearest is how near the nearest of all who have something queued is, or r.
func (a *Allocator) nearest(r *Requester) float64 {
	nearest := r.near()
	for _, list := range [2][]*Requester{a.waiting, a.sending} {
		for _, o := range list {
			nearest = max(nearest, o.near())
		}
	}
	return nearest
}

// waitedMost reports whether r was refused and nobody who is expected back has
// waited longer.
func (a *Allocator) waitedMost(now time.Duration, r *Requester) bool {
	if !a.expects(now) || r.refused == 0 {
		return false
	}
	mean := 0.0
	for _, o := range a.refused {
		mean += float64(o.lacks) / float64(len(a.refused))
	}
	own := a.waited(now, r) * need(float64(r.lacks), mean)
	return !slices.ContainsFunc(a.refused, func(o *Requester) bool {
		return a.waited(now, o)*need(float64(o.lacks), mean) > own
	})
}

// waited is how long r has been refused, in seconds of one from far away; one
// that was hardly served counts nearly as the nearest.
func (a *Allocator) waited(now time.Duration, r *Requester) float64 {
	if r.refused == 0 {
		return 0
	}
	weight := r.near()
	if a.hardlyServed(now, r) {
		weight = max(weight, soonWeight*nearWeights[wire.Nearest])
	}
	return weight * (now - r.refused).Seconds()
}

// refuse notes that r, of which nothing is queued, is to come back: those who are
// told the same do so at half to one and a half times that, so as not to come together.
func (a *Allocator) refuse(now time.Duration, r *Requester, retry time.Duration) {
	r.due = now + retry*3/2 + backWithin
	if r.refused == 0 {
		r.refused = max(now, 1)
		a.refused = append(a.refused, r)
	}
}

// unrefuse forgets that r was refused.
func (a *Allocator) unrefuse(r *Requester) {
	if r.refused > 0 {
		r.refused = 0
		a.refused = slices.DeleteFunc(a.refused, func(o *Requester) bool { return o == r })
	}
}
