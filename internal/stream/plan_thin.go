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
			if q == nil || reliefTimes*q.takes(q.queued()+n)+p.guard() > p.edge.brings(r, i) || !p.spare(n) {
				break
			}
			p.ask(now, q, r.t, i, wire.UrgencyReader)
		}
	}
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
// What it gives while peers send too tells nothing: they may share a link.
func (p *Plan) thin(s *segment) bool {
	rate := p.edge.alone.rate()
	return rate > 0 && len(p.order) > 0 && !s.Init && thinShare*float64(s.Manifest.Size) > s.Duration.Seconds()*rate
}

// askThin asks a thin edge for a little at a time: first for what this client owns, of all
// that is in the zone, so that the edge sends everything to somebody before it sends
// anything twice; then for what readers wait for and nobody else brings.
func (p *Plan) askThin(now time.Duration, zone []zoned) {
	most := int64(p.edge.pace.rate() * thinAhead.Seconds())
	ask := func(f func(z zoned, piece int) bool) {
		for _, z := range zone {
			for i := z.s.first; i < z.s.first+z.s.pieces; i++ {
				if p.edge.queue() > most || !p.edgeReady(now, z.s) || !p.thin(z.s) {
					break
				}
				if c := &z.t.cells[i]; !c.have && c.ask == nil && p.edge.asked(z.t, i) == nil && f(z, i) {
					p.askEdge(now, z, i, i+1, false)
				}
			}
		}
	}
	ask(func(z zoned, piece int) bool {
		rank, _ := p.rank(z, piece)
		return rank == 0 && z.t.cells[piece].holders == 0
	})
	ask(func(z zoned, piece int) bool {
		switch {
		case z.s.readers == 0:
			return false
		case z.t.cells[piece].holders > 0:
			return p.best(now, z, piece) == nil
		}
		rank, _ := p.rank(z, piece)
		step := max(handoff, seconds(2*float64(z.s.pieceLen(piece))/p.edge.pace.rate()))
		return now >= z.s.wanted+time.Duration(rank)*step
	})
}
