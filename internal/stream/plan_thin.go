package stream

import (
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// relieve has peers bring what the edge was asked for and would bring much later than they:
// it has other clients to serve, or its link is thin. They take over from the end of a
// request, so that what the edge sends next is still missing, and it ends where all the
// rest has come. Until then whoever is first counts, as long as waste allows it.
func (p *Plan) relieve(now time.Duration) {
	twice := p.twice()
	for _, r := range p.edge.order {
		if !p.thin(r.s) || r.s.readers == 0 && r.duty { // others want it of this client
			continue
		}
		for i := r.end - 1; i > r.next; i-- {
			c, n := &r.t.cells[i], r.s.pieceLen(i)
			if c.have || c.ask != nil || c.holders == 0 {
				continue
			}
			q := p.best(now, zoned{t: r.t, s: r.s}, i)
			if q == nil || reliefTimes*q.takes(q.queued()+n)+p.guard() > p.edge.brings(r, i) || !p.spare(twice+n) {
				break
			}
			twice += n
			p.ask(now, q, r.t, i, wire.UrgencyReader)
		}
	}
}

// twice is what is asked of the edge and of peers, in bytes.
func (p *Plan) twice() (n int64) {
	for _, r := range p.edge.order {
		for i := r.next; i < r.end; i++ {
			if r.t.cells[i].ask != nil {
				n += r.s.pieceLen(i)
			}
		}
	}
	return n
}

// brings is how long the edge needs until a request has brought a piece, while it serves
// all that it was asked for evenly.
func (e *edge) brings(r *edgeReq, piece int) time.Duration {
	n := -r.got
	for i := r.next; i <= piece; i++ {
		n += r.s.pieceLen(i)
	}
	return seconds(float64(n) * float64(len(e.order)) / e.alone.rate())
}

// thin reports whether the edge gives too little to play from it: where it serves many who
// all lack the same, to ask it for everything in time has everybody wait for the same bytes.
// What it gives while peers send too tells nothing: they may share a link; nor does what
// came in a moment, which the way there and back was most of.
func (p *Plan) thin(s *segment) bool {
	rate := p.edge.alone.rate()
	return p.edge.alone.busy >= thinSure.Seconds() && rate > 0 && len(p.order) > 0 && !s.Init && thinShare*float64(s.Manifest.Size) > s.Duration.Seconds()*rate
}

// askThin asks a thin edge for a little at a time: first for what this client owns, of all
// that is in the zone, so that the edge sends everything to somebody before it sends
// anything twice; then for what readers wait for and nobody else brings, or not nearly as
// soon as it.
func (p *Plan) askThin(now time.Duration, zone []zoned) {
	p.askLittle(now, zone, func(z zoned, piece int) bool {
		c := &z.t.cells[piece]
		return c.ask == nil && c.holders == 0 && p.owns(z, piece)
	})
	p.askLittle(now, zone, func(z zoned, piece int) bool {
		c := &z.t.cells[piece]
		switch {
		case z.s.readers == 0:
			return false
		case c.ask != nil:
			return p.tarries(now, c.ask)
		case c.holders > 0:
			q := p.best(now, z, piece)
			return q == nil || p.slower(q.takes(q.queued()+z.s.pieceLen(piece)), z.s.pieceLen(piece))
		}
		rank, _ := p.rank(z, piece)
		step := max(handoff, seconds(2*float64(z.s.pieceLen(piece))/p.edge.pace.rate()))
		return now >= z.s.wanted+time.Duration(min(rank, lastRank))*step
	})
}

// askLittle asks a thin edge for what f picks of what it is not asked for, as long as little
// is on its way.
func (p *Plan) askLittle(now time.Duration, zone []zoned, f func(z zoned, piece int) bool) {
	most := int64(p.edge.pace.rate() * thinAhead.Seconds())
	for _, z := range zone {
		if !p.thin(z.s) {
			continue
		}
		for i := z.s.first; i < z.s.first+z.s.pieces; i++ {
			if p.edge.queue() > most || !p.edgeReady(now, z.s) {
				break
			}
			c := &z.t.cells[i]
			if c.have || p.edge.asked(z.t, i) != nil || !f(z, i) {
				continue
			}
			if c.ask != nil && (c.ask.begun == 0 || !p.spare(p.twice()+z.s.pieceLen(i))) {
				p.cancelPeer(z.t, i)
			}
			p.askEdge(now, z, i, i+1, false)
		}
	}
}

func (p *Plan) owns(z zoned, piece int) bool {
	rank, _ := p.rank(z, piece)
	return rank == 0
}

// slower reports whether peers bring much later what takes them so long than a thin edge
// would if it were asked now.
func (p *Plan) slower(takes time.Duration, n int64) bool {
	return takes > reliefTimes*p.edgeTakes(n)+p.guard()
}

// tarries reports whether a peer brings much later what it was asked for than a thin edge
// would, as far as that can be told.
func (p *Plan) tarries(now time.Duration, a *asking) bool {
	takes := max(a.remaining(now), now-a.since)
	if a.begun > 0 && !p.spare(p.twice()+a.n) { // what has come is lost
		takes /= 2
	}
	return p.slower(takes, a.n)
}
