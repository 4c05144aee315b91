package fetch

import "time"

// owned returns a run of pieces that this client owns, that no neighbour has and
// nobody was asked for. Stripes are due in an order that is the same for all: where
// many own few each, those further on than the swarm has come wait for their turn,
// or the edge would be at all of them at once and done with none.
func (p *Plan) owned(now time.Duration) (first, count int) {
	e := p.elect
	due, from := len(e.ranks), 0
	if len(p.turn)+len(p.expected) == 0 {
		if !p.early(now) {
			return 0, 0
		}
		from = int(p.cfg.Seed % uint64(max(1, len(e.mine)))) // nobody knows of anybody yet
	} else if p.slowEdge(now) {
		due = p.present() + max(leastDue, p.inFlight(now))
	}
	for k := range e.mine {
		s := int(e.mine[(from+k)%len(e.mine)])
		if due < len(e.ranks) && e.place(s) >= due {
			break
		}
		if f, c := p.absentRun(s); c > 0 {
			return f, c
		}
	}
	return 0, 0
}

// present is how many stripes there are in the swarm, as far as this client sees.
func (p *Plan) present() int { return (p.n - p.absent) / p.elect.stripe }

// inFlight is how many stripes those who own them should be fetching together: by
// Little's law as many as arrive in the time that one should take. When they take
// less time the number grows, and when they take more it falls.
func (p *Plan) inFlight(now time.Duration) int {
	if n := p.present(); n > p.seen {
		p.growth.add(now, int64(n-p.seen))
		p.seen = n
	}
	wait := flightTime
	if p.elect.duty.Of > 0 {
		wait += spreadTime
	}
	return int(p.growth.rate(now) * wait.Seconds())
}

const (
	// leastDue is the least number of stripes that owners fetch at once.
	leastDue = 6
	// flightTime is how long a stripe should take from the edge, and spreadTime how
	// long word of it takes through a large swarm.
	flightTime, spreadTime = 1500 * time.Millisecond, 3 * time.Second
	// slowRate is the rate of a request, in bytes per second, below which the edge
	// seems to be everybody's bottleneck rather than this client's downlink.
	slowRate = 3e6 / 8
)

// slowEdge reports whether requests to the edge take long, or nothing is known of
// them.
func (p *Plan) slowEdge(now time.Duration) bool {
	rate, known := p.edge.perRequest(now)
	if !known {
		rate = p.edge.rate.rate(now)
	}
	return rate < slowRate
}

// absentRun returns the first run of pieces of stripe s that no neighbour has and
// nobody was asked for.
func (p *Plan) absentRun(s int) (first, count int) {
	for i := s * p.elect.stripe; i < min((s+1)*p.elect.stripe, p.n); i++ {
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
	found := -1
	if p.absent > 0 {
		if i := p.stepIn(now); i >= 0 {
			return i
		}
		found = p.leastSure()
	}
	need := free || p.pacer.pace > backupPace*p.top.value() && !p.crowded(now)
	switch {
	case p.cfg.Ablate.Order:
		if first, count := p.inOrder(); count > 0 {
			return first
		}
		return -1
	case p.absent == 0 && p.elastic(now):
		return p.longest(p.pieces(p.edge.rate.rate(now) * longRun))
	case p.absent == 0 && (free || p.timely(now) && !(p.contended(now) && p.lead() > clearLead)):
		return p.rarest(nil)
	case p.absent == 0 || !need:
		return -1
	case found < 0 && free:
		return p.rarest(nil)
	}
	return found
}

// stepIn returns a piece of a stripe that this client is the next to own, and that
// its owner comes to last of several: whoever is done with its own duty, where the
// edge is what everybody waits for, helps those who are not. −1 where there is none.
func (p *Plan) stepIn(now time.Duration) int {
	e := p.elect
	if e.duty.Of > 0 || !p.cfg.Uploads || p.running(now) > 0 || !p.contended(now) {
		return -1
	}
	todo := make([]int, len(e.seeds)) // stripes, by owner
	for s := range e.ranks {
		if _, n := p.absentRun(s); n > 0 && !e.owns(s) {
			todo[e.standing(s).who]++
		}
	}
	found, last := -1, -1
	for s := range e.ranks {
		if e.place(s) < last || todo[e.standing(s).who] <= p.cfg.MaxEdge || e.rank(s) != rankBackup {
			continue
		}
		if i, n := p.absentRun(s); n > 0 {
			found, last = i, e.place(s)
		}
	}
	return found
}

// timely reports whether a piece asked of the edge now comes before the download
// ends without it. Where nothing shows that, one is tried: what was seen of requests
// that shared the downlink with many peers, or were in a crowd that has gone, would
// else be believed to the end. In a large swarm those who clearly trail try.
func (p *Plan) timely(now time.Duration) bool {
	rate, known := p.edge.perRequest(now)
	if !known {
		return !p.swarming(now) || p.elect.duty.Of == 0 || p.lead() < -clearLead
	}
	return float64(p.cfg.PieceSize)*p.fromAll.rate(now) < rate*float64(p.left)
}

// lead is how much more of the object this client has than its neighbours in the mean,
// as a part of it. What an edge gives that is everybody's bottleneck is not for those
// who clearly lead, and worth a try for who clearly trails: else who has most peers is
// done first, and the last has nobody left to share with. In a small swarm everybody
// has the same peers, and it is 0.
func (p *Plan) lead() float64 {
	if p.elect.duty.Of == 0 {
		return 0
	}
	theirs := 0
	for _, q := range p.turn {
		theirs += q.count
	}
	mean := float64(theirs) / float64(max(len(p.turn), 1)*p.n)
	return float64(p.cfg.Size-p.left)/float64(p.cfg.Size) - mean
}

// clearLead is what counts as clear.
const clearLead = 0.02

// swarming reports whether this client is one of many in a download that takes its
// time.
func (p *Plan) swarming(now time.Duration) bool {
	return len(p.turn) >= crowd && float64(p.cfg.Size) > max(p.top.value(), p.fromAll.rate(now))*swarmTime.Seconds()
}

// leastSure returns the open piece that no neighbour holds and whose owner comes to
// it last, first where this client is the next to own.
func (p *Plan) leastSure() int {
	found, foundRank, least := -1, uint8(rankOther), uint32(0)
	p.todo.all(nil, 0, func(i int) bool {
		if p.avail[i] == 0 && p.inWindow(i) {
			rank, owner := p.elect.of(i)
			if found < 0 || rank < foundRank || rank == foundRank && owner < least {
				found, foundRank, least = i, rank, owner
			}
		}
		return true
	})
	return found
}

// crowded reports whether requests to the edge progress far slower than this client
// takes in bytes. To ask it for more then only takes from those who fetch what nobody
// has. In a crowd that is assumed until something is known.
func (p *Plan) crowded(now time.Duration) bool {
	if p.elastic(now) {
		return false
	}
	rate, known := p.edge.perRequest(now)
	if p.swarming(now) && (!known || p.slowEdge(now)) {
		return true
	}
	return known && rate*float64(p.cfg.MaxEdge) < p.top.value()/2
}

// contended reports whether the edge is what a whole crowd waits for.
func (p *Plan) contended(now time.Duration) bool { return p.swarming(now) && p.crowded(now) }

// elastic reports whether the edge alone gives about as much as edge and peers
// together: then it fills what peers leave of the downlink, or the download takes
// longer than it would without them.
func (p *Plan) elastic(now time.Duration) bool {
	full := p.edge.full
	return full > slowRate && full > elasticShare*p.pacer.full && p.fromP2P.rate(now) < full/elasticShare
}

// elasticShare is the part of the total from which on the edge alone gives as much.
const elasticShare = 0.9

// why names the reason for asking for piece i beyond duty.
func (p *Plan) why(now time.Duration, i int) Why {
	switch rank, _ := p.elect.of(i); {
	case p.burst(now) || p.short(now):
		return WhyBehind
	case p.avail[i] == 0 && rank == rankBackup:
		return WhyBackup
	default:
		return WhyYield
	}
}

// longRun is how many seconds a request lasts where gaps between them cost time.
const longRun = 2

// longest returns the beginning of the longest run of open pieces, or of one of at
// least enough pieces, from a random piece on; −1 if none is open.
func (p *Plan) longest(enough int) int {
	found, most, run, last := -1, 0, 0, -1
	p.todo.all(nil, int(p.cfg.Rand.Uint64()%uint64(p.n)), func(i int) bool {
		if !p.inWindow(i) {
			return true
		}
		if run++; i != last+1 {
			run = 1
		}
		last = i
		if run > most {
			found, most = i-run+1, run
		}
		return most < enough
	})
	return found
}

// runFrom is how many pieces from i on make one request that lasts about half a
// second, or two where there is no time to lose: all missing, unasked, and as absent among the neighbours as i.
func (p *Plan) runFrom(i int, now time.Duration) int {
	lasts := 0.5
	if p.short(now) || p.elastic(now) { // gaps between requests cost time
		lasts = longRun
	}
	most := p.pieces(min(p.edge.rate.rate(now)*lasts, maxRun))
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
