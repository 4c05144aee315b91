package sim

import (
	"cmp"
	"slices"
	"time"
)

const (
	// mostSamples is when neighbouring samples are put together.
	mostSamples = 600
	firstSample = time.Second
	// matrixRows is how many autonomous systems are shown by themselves.
	matrixRows = 15
)

// tally counts what happens in the world.
type tally struct {
	samples   []Sample
	every     time.Duration
	next      time.Duration
	capacity  float64 // uplinks of uploading hosts that are members, bytes per second
	possible  float64 // what they could have sent since the last sample
	seeds     int
	completed int
	late      int
	rows      []uint32 // of the matrix: autonomous systems
	row       []uint8  // of each host
	edge      int64    // bytes at the last sample
	peers     int64
}

// shardTally counts what happens in a shard.
type shardTally struct {
	ticks, transfers int64
	polluted         int64
	edges            []int64 // bytes, by edge
	objects          []int64 // bytes from edges, by object
	peers            int64
	matrix           []int64
	segments         []int64 // bytes from edges, by segment, but to those who began with it
	hops             hopTally
}

func newTally(w *world) tally {
	t := tally{every: max(firstSample, w.dt)}
	t.next = t.every
	counts := map[uint32]int{}
	for _, h := range w.cfg.Hosts {
		counts[h.Place.AS]++
	}
	delete(counts, 0)
	for as := range counts {
		t.rows = append(t.rows, as)
	}
	slices.SortFunc(t.rows, func(a, b uint32) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b))
	})
	t.rows = append([]uint32{0}, t.rows[:min(len(t.rows), matrixRows)]...)
	row := map[uint32]uint8{}
	for i, as := range t.rows {
		row[as] = uint8(i)
	}
	t.row = make([]uint8, len(w.hosts))
	for i := range w.hosts {
		t.row[i] = row[w.hosts[i].as]
	}
	for i := range w.shards {
		w.shards[i].tally = shardTally{
			edges: make([]int64, len(w.edges)), objects: make([]int64, len(w.objects)),
			matrix: make([]int64, len(t.rows)*len(t.rows)), segments: make([]int64, w.segments),
		}
	}
	return t
}

// sent counts n bytes from one host to another.
func (t *shardTally) sent(w *world, from, to int32, n int64) {
	t.peers += n
	t.matrix[int(w.tally.row[from])*len(w.tally.rows)+int(w.tally.row[to])] += n
}

// sentCDN counts n bytes of an object from an edge.
func (t *shardTally) sentCDN(edge, object int32, n int64) {
	t.edges[edge] += n
	t.objects[object] += n
}

// uplink counts a host in or out.
func (t *tally) uplink(h *host, sign float64) {
	if h.uploads {
		t.capacity += sign * h.up
	}
}

// advance takes in the quantum that has just gone by.
func (t *tally) advance(w *world) {
	t.possible += t.capacity * w.sec
	if w.now >= t.next {
		t.sample(w)
	}
}

func (t *tally) sample(w *world) {
	var edge, peers int64
	for i := range w.shards {
		s := &w.shards[i].tally
		peers += s.peers
		for _, n := range s.edges {
			edge += n
		}
	}
	t.samples = append(t.samples, Sample{
		At: w.now, Edge: edge - t.edge, Peers: peers - t.peers, Active: w.active,
		Seeds: t.seeds, Uplink: t.possible, Completed: t.completed,
	})
	t.edge, t.peers, t.possible = edge, peers, 0
	t.next += t.every
	if len(t.samples) == mostSamples {
		t.halve()
	}
}

// halve puts every two samples together.
func (t *tally) halve() {
	half := t.samples[:0]
	for i := 0; i+1 < len(t.samples); i += 2 {
		a, b := t.samples[i], t.samples[i+1]
		b.Edge += a.Edge
		b.Peers += a.Peers
		b.Uplink += a.Uplink
		half = append(half, b)
	}
	t.samples = half
	t.every *= 2
	t.next = t.samples[len(t.samples)-1].At + t.every
}

// result sums up.
func (w *world) result(complete bool) *Result {
	for id := range w.outcomes {
		m, o := &w.members[id], &w.outcomes[id]
		o.Wasted = m.received - o.FromEdge - o.FromPeers - o.Corrupt
		if m.state == fetching {
			o.Peers = m.nlinks
		}
	}
	if t := &w.tally; w.now > t.next-t.every {
		t.sample(w)
	}
	r := &Result{
		Seed: w.cfg.Seed, Simulated: w.now, Complete: complete, Violations: w.tally.late, Outcomes: w.outcomes,
		Edges: make([]int64, len(w.edges)), Series: w.tally.samples, Copies: make([]float64, len(w.objects)),
		Matrix: ASMatrix{AS: w.tally.rows},
	}
	if w.segments > 0 {
		r.Views, r.Segments, r.Hops = w.views, make([]int64, w.segments), w.hopsOf()
	}
	n := len(w.tally.rows)
	r.Matrix.Bytes = make([][]int64, n)
	for i := range n {
		r.Matrix.Bytes[i] = make([]int64, n)
	}
	for i := range w.shards {
		s := &w.shards[i].tally
		r.Polluted += s.polluted
		r.Transfers += s.transfers
		r.Events += s.ticks
		for k, b := range s.edges {
			r.Edges[k] += b
		}
		for k, b := range s.objects {
			r.Copies[k] += float64(b) / float64(w.objects[k].size)
		}
		for k, b := range s.segments {
			r.Segments[k] += b
		}
		for k, b := range s.matrix {
			r.Matrix.Bytes[k/n][k%n] += b
		}
	}
	return r
}
