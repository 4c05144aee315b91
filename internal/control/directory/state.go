package directory

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// coldBelow is the number of members under which a swarm without a seed has
	// nothing to give: one who joins has the edge.
	coldBelow = 3
	// seedingBelow is the number of copies of each piece, on average and among
	// those who upload, under which the edge must bring the object into the swarm.
	seedingBelow = 2
	// saturatedBelow is the share of bytes that peers brought lately under which
	// more links add nothing: uplinks are full, and a link costs both ends.
	saturatedBelow = 0.2
	// saturatedWant is how many candidates one gets then.
	saturatedWant = 10
	// shareHalf is the time in which half of what was reported is forgotten, and
	// shareLeast how many downloads must have been reported for it to count.
	shareHalf  = 5 * time.Minute
	shareLeast = 3
)

// State names what a swarm is to one who joins it.
type State string

// The states of a swarm, as a flash crowd comes by them.
const (
	Cold      State = "cold"      // nobody has anything to give
	Seeding   State = "seeding"   // the edge brings in the first copies
	Swarming  State = "swarm"     // peers bring what they can
	Saturated State = "saturated" // demand is more than five times the peers' uplinks
)

// shares is what the reports of a swarm said lately, decaying.
type shares struct {
	edge, peers float64 // bytes
	reports     float64
	at          time.Time
}

func (h *shares) add(edge, peers int64, now time.Time) {
	keep := math.Exp2(-float64(max(0, now.Sub(h.at))) / float64(shareHalf))
	h.edge = h.edge*keep + float64(edge)
	h.peers = h.peers*keep + float64(peers)
	h.reports = h.reports*keep + 1
	h.at = now
}

// saturated reports whether the downloads that ended lately had next to nothing
// from peers.
func (s *Swarm) saturated() bool {
	h := &s.shares
	return h.reports >= shareLeast && h.peers < saturatedBelow*(h.edge+h.peers)
}

// Summary is a swarm as an operator sees it.
type Summary struct {
	Scope     Scope
	State     State
	Members   int
	Seeds     int // members that have the whole
	Uploaders int
	Copies    float64 // of each piece on average, among those
}

// summary costs time in proportion to the members.
func (s *Swarm) summary(scope Scope) Summary {
	sum := Summary{Scope: scope, Members: s.Len()}
	for _, m := range s.members {
		if m.Seed() {
			sum.Seeds++
		}
		if m.uploads {
			sum.Uploaders++
			sum.Copies += m.share()
		}
	}
	switch {
	case sum.Members < coldBelow && sum.Copies < 1:
		sum.State = Cold
	case s.saturated():
		sum.State = Saturated
	case sum.Copies < seedingBelow:
		sum.State = Seeding
	default:
		sum.State = Swarming
	}
	return sum
}

// Report takes in that a download of a member ended with so many bytes from the
// edge and from peers. In a small swarm it counts for nothing: who is alone has
// all from the edge, however much uplink there would be.
func (d *Directory) Report(s Scope, edge, peers int64, now time.Time) {
	d.with(s, func(sw *Swarm) {
		if sw.Len() > SmallSwarm {
			sw.shares.add(edge, peers, now)
		}
	})
}

// Largest describes the n swarms with most members, and counts all by state.
func (d *Directory) Largest(n int) ([]Summary, map[State]int) {
	all := []Summary{}
	states := map[State]int{Cold: 0, Seeding: 0, Swarming: 0, Saturated: 0}
	for i := range d.shards {
		all = d.shards[i].largest(all, n, states)
	}
	return all, states
}

// largest merges the swarms of a shard into the n largest so far.
func (sh *shard) largest(so []Summary, n int, states map[State]int) []Summary {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for scope, sw := range sh.swarms {
		s := sw.summary(scope)
		states[s.State]++
		so = append(so, s)
	}
	slices.SortFunc(so, func(a, b Summary) int {
		return cmp.Or(cmp.Compare(b.Members, a.Members), slices.Compare(a.Scope.Object[:], b.Scope.Object[:]), slices.Compare(a.Scope.Publisher[:], b.Scope.Publisher[:]))
	})
	return so[:min(n, len(so))]
}
