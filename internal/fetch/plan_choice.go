package fetch

import (
	"math"
	"time"
)

// owned returns a run of pieces that this client owns, that no neighbour has and
// nobody was asked for: those first in which it is the surest owner.
func (p *Plan) owned(now time.Duration) (first, count int) {
	bestScore := float32(math.Inf(-1))
	e := p.elect
	for s, rank := range e.rank {
		if rank != rankOwner || e.own[s] <= bestScore {
			continue
		}
		if f, c := p.absentRun(s*e.stripe, min((s+1)*e.stripe, p.n)); c > 0 {
			first, count, bestScore = f, c, e.own[s]
		}
	}
	if len(p.peers)+len(p.expected) == 0 && !p.early(now) {
		return 0, 0
	}
	return first, count
}

func (p *Plan) absentRun(from, to int) (first, count int) {
	for i := from; i < to; i++ {
		if !p.open(i) || p.avail[i] > 0 {
			if count > 0 {
				break
			}
			continue
		}
		if count == 0 {
			first = i
		}
		count++
	}
	return first, count
}

// pickEdge chooses a piece for the edge beyond this client's own duty. While
// pieces are absent among the neighbours, the edge's capacity belongs to those
// and to their owners: without need this client waits; with need it takes what
// the owners come to last, first where it is the next to own. When nothing is
// absent it takes the rarest.
func (p *Plan) pickEdge(now time.Duration, free bool) int {
	found, foundRank, least, absent := -1, uint8(rankOther), float32(math.Inf(1)), false
	for i := range p.n {
		if p.have.Has(i) || p.avail[i] > 0 {
			continue
		}
		absent = true
		rank, owner := p.elect.of(i)
		if p.open(i) && (found < 0 || rank < foundRank || rank == foundRank && owner < least) {
			found, foundRank, least = i, rank, owner
		}
	}
	need := free || p.yield.pace > backupPace*p.top.value() && !p.crowded(now)
	switch {
	case !absent:
		return p.rarest(func(int) bool { return true })
	case !need:
		return -1
	case found < 0 && free:
		return p.rarest(func(int) bool { return true })
	}
	return found
}

// crowded reports whether the edge is what everybody waits for: requests to it
// have lately progressed far slower than this client takes in bytes. To ask it
// for more then only takes from those who fetch what nobody has.
func (p *Plan) crowded(now time.Duration) bool {
	e := &p.edge
	return e.perReqAt > 0 && now-e.perReqAt < crowdedFor && e.perReq*float64(p.cfg.MaxEdge) < p.top.value()/2
}

// why names the reason for asking for piece i beyond duty.
func (p *Plan) why(now time.Duration, i int) Why {
	switch rank, _ := p.elect.of(i); {
	case p.burst(now) || p.behind(now):
		return WhyBehind
	case p.avail[i] == 0 && rank == rankBackup:
		return WhyBackup
	default:
		return WhyYield
	}
}

// runFrom is how many pieces from i on make one request that lasts about half a
// second: all missing, unasked, and as absent among the neighbours as i.
func (p *Plan) runFrom(i int, now time.Duration) int {
	most := max(1, int(min(p.edge.rate.rate(now)/2, maxRun)/float64(p.cfg.PieceSize)))
	count := 1
	for j := i + 1; j < p.n && count < most; j++ {
		if !p.open(j) || (p.avail[j] == 0) != (p.avail[i] == 0) {
			break
		}
		count++
	}
	return count
}

// inOrder returns the first run of missing pieces nobody was asked for.
func (p *Plan) inOrder() (first, count int) {
	from := max(p.reader, 0)
	for k := range p.n {
		i := (from + k) % p.n
		if !p.open(i) {
			if count > 0 {
				break
			}
			continue
		}
		if count > 0 && i != first+count {
			break
		}
		if count == 0 {
			first = i
		}
		count++
	}
	return first, count
}
