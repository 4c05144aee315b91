package sim

import (
	"sync"
	"sync/atomic"
)

const (
	// maxShards bounds the parts of the world that phases run over at once; hosts
	// in a shard are leastHosts at least. Both depend on nothing but the Config, so
	// that results do not depend on the machine.
	maxShards  = 48
	leastHosts = 256
)

// shard is a part of the hosts with what belongs to them.
type shard struct {
	first, end int // hosts
	index      int
	active     []int32        // members that download
	busy       []int32        // hosts that have requests to answer
	soon       [horizon][]ask // on their way, by the quantum in which they arrive
	answers    []answer

	asks [][]ask  // to the members of each shard: requests and what else links carry
	data [][]news // to the same: what was sent

	flows   []flow
	senders []sender
	fromCDN []cdnFlow
	in      [][]inflow // by the shard that receives
	inStart []int32
	inflows []inflow
	offers  []float64
	changed bool

	waiting  []waitingReq // edge requests to be admitted
	left     []int        // admitted ones that have ended, per edge
	cdnSpare []float64
	finished []int32
	drops    []drop

	pieces []int // scratch
	tally  shardTally
}

// drop is a peer that a plan wants no more dealings with.
type drop struct {
	by, peer int32
	reason   string
}

func (w *world) makeShards() {
	n := min(max(1, len(w.hosts)/leastHosts), maxShards)
	w.per = (len(w.hosts) + n - 1) / n
	if w.per == 0 {
		w.per = 1
	}
	w.shards = make([]shard, n)
	for i := range w.shards {
		s := &w.shards[i]
		s.index, s.first, s.end = i, min(i*w.per, len(w.hosts)), min((i+1)*w.per, len(w.hosts))
		s.asks, s.data, s.in = make([][]ask, n), make([][]news, n), make([][]inflow, n)
		s.inStart = make([]int32, s.end-s.first+1)
		s.left, s.cdnSpare = make([]int, len(w.edges)), make([]float64, len(w.edges))
	}
}

// each runs f on every shard, at once as far as there are workers.
func (w *world) each(f func(*shard)) {
	if w.workers == 1 || len(w.shards) == 1 {
		for i := range w.shards {
			f(&w.shards[i])
		}
		return
	}
	var next atomic.Int32
	var wg sync.WaitGroup
	for range min(w.workers, len(w.shards)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(w.shards); i = next.Add(1) - 1 {
				f(&w.shards[i])
			}
		})
	}
	wg.Wait()
}
