package governor

import (
	"math"
	"slices"
	"time"
)

// reference is the path to the server that echoes.
type reference struct {
	out, rtt minima // seconds
	// The last echo: when its packet was sent, when it came back, how long the
	// queue was, and the round trip.
	sent, came time.Duration
	queue      time.Duration
	trip       time.Duration
	known      bool
}

// path is what is known of a link.
type path struct {
	base       minima // of its round trip, seconds
	lossBase   minima // of the part of packets that is lost
	born, seen time.Duration
	rtt        time.Duration
	sent, lost int64   // when loss was reckoned last
	loss       float64 // the part lost beyond the base
}

// queue is by how much the round trip exceeds the shortest.
func (p *path) queue() time.Duration { return p.rtt - seconds(p.base.min()) }

// observation is the length of the queue that a packet sent at a moment met, and the
// round trip without it.
type observation struct {
	at, queue, rtt time.Duration
}

// Echo takes in an answer of the reference: to a packet sent at sent, which took out
// to get there by the difference of two clocks that need not agree, and came back
// after rtt.
func (g *Governor) Echo(now, sent, out, rtt time.Duration) {
	r := &g.ref
	if r.known && sent <= r.sent {
		return // overtaken
	}
	r.out.add(sent, out.Seconds())
	r.rtt.add(sent, rtt.Seconds())
	// The queue of the way out is in both. One suffers from clocks that drift, the
	// other from queues of the way back.
	r.queue = min(out-seconds(r.out.min()), rtt-seconds(r.rtt.min()))
	r.sent, r.came, r.trip, r.known = sent, now, rtt, true
}

// links takes in those that were sent on since the last time.
func (g *Governor) links(now time.Duration, links []Link) {
	for _, l := range links {
		p := g.paths[l.ID]
		if p == nil {
			p = &path{born: now, sent: l.Sent, lost: l.Lost}
			g.paths[l.ID] = p
		}
		p.seen = now
		if l.RTT > 0 {
			p.rtt = l.RTT
			p.base.add(now, l.RTT.Seconds())
		}
		if sent := l.Sent - p.sent; sent >= lossPackets {
			loss := float64(max(l.Lost-p.lost, 0)) / float64(sent)
			p.lossBase.add(now, loss)
			p.loss = loss - p.lossBase.min()
			p.sent, p.lost = l.Sent, l.Lost
		}
	}
	for id, p := range g.paths {
		if now-p.seen > buckets*bucketTime {
			delete(g.paths, id)
		}
	}
}

// observe is the queue in front of the uplink, as far as it is known: by the reference,
// unless that is late, or links have shown for long that its delay is not theirs.
func (g *Governor) observe(now time.Duration) (o observation, ok bool) {
	o, ok = g.median(now)
	g.crowded = o.queue
	r := &g.ref
	switch {
	case !r.known || now-r.came > fresh || ok && o.at-r.sent > late+r.trip:
		return o, ok
	case !ok || r.queue.Seconds() < doubtBeyond*o.queue.Seconds()+drained.Seconds():
		g.doubted = 0
	case g.doubted == 0:
		g.doubted = now
	case now-g.doubted > doubtAfter:
		return o, ok
	}
	return observation{r.sent, r.queue, r.trip - r.queue}, true
}

// median is the link with the median queue. Those count that have lived through an
// empty queue, if there are any: one that began with a full queue takes that for its
// base.
func (g *Governor) median(now time.Duration) (o observation, ok bool) {
	var old, all []observation
	for _, p := range g.paths {
		if now-p.seen > maxStep || p.rtt == 0 {
			continue
		}
		q := p.queue()
		l := observation{now - p.rtt, q, p.rtt - q}
		all = append(all, l)
		if p.born < g.emptyAt {
			old = append(old, l)
		}
	}
	if len(old) == 0 {
		old = all
	}
	if len(old) == 0 {
		return o, false
	}
	slices.SortFunc(old, func(a, b observation) int { return int(a.queue - b.queue) })
	return old[(len(old)-1)/2], true
}

// losing reports whether at least half of the links lose more than they ordinarily do.
func (g *Governor) losing(now time.Duration) bool {
	n, bad := 0, 0
	for _, p := range g.paths {
		if now-p.seen > maxStep {
			continue
		}
		n++
		if p.loss > lossExcess {
			bad++
		}
	}
	return bad > 0 && 2*bad >= n
}

func seconds(s float64) time.Duration {
	if math.IsInf(s, 1) {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}
