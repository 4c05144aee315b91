package fetch

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// fluid is a small model of a network for tests of the policy: access links are
// shared max-min fairly among the flows on them, every client's plan is the real
// one, messages take a fixed time. What a flow leaves that ends within a step goes to
// others in the next: else many short requests would carry less than a long one.
type fluid struct {
	t       testing.TB
	size    int64
	piece   int64
	edges   []*fluidEdge
	delay   time.Duration
	clients []*fluidClient
	edgeTx  float64 // bytes the edge has sent
	slots   int
	trace   int
	events  []fluidEvent
}

// fluidEdge is one server of the object.
type fluidEdge struct {
	id    EdgeID
	up    float64 // bytes per second
	admit int     // requests it answers at once, 0: any number; as many wait for up to a second
	away  bool    // it refuses connections
	tx    float64 // bytes it has sent
	queue []*flow // admitted and waiting
	spare float64 // bytes that a flow has left which ended within the last step
}

// fluidEvent is something that happens to the network.
type fluidEvent struct {
	at time.Duration
	do func()
}

type fluidClient struct {
	id                 int
	up, down           float64
	uploads            bool
	start              time.Duration
	leave              time.Duration // 0: stays
	started            bool
	gone               bool
	plan               *Plan
	done               time.Duration
	fromEdge           int64
	fromPeer           int64
	serve              []*flow // requests of others, in order of arrival
	edge               map[int]*flow
	due                bool    // something has arrived
	spareUp, spareDown float64 // bytes that flows have left which ended within the last step
}

type flow struct {
	src, dst   *fluidClient // src nil: an edge
	edge       *fluidEdge
	refused    bool
	ended      bool
	req        int
	piece, end int
	left       float64
	rate       float64
	ready      time.Duration // first byte not before
	dead       bool
}

func newFluid(t testing.TB, size int64, edgeUp float64, slots int) *fluid {
	return &fluid{t: t, size: size, piece: manifest.PieceSizeFor(size), edges: []*fluidEdge{{up: edgeUp}}, delay: 2 * time.Millisecond, slots: slots, trace: -1}
}

// addEdge adds a mirror that all clients know of from their start on.
func (f *fluid) addEdge(up float64) *fluidEdge {
	e := &fluidEdge{id: EdgeID(len(f.edges)), up: up}
	f.edges = append(f.edges, e)
	return e
}

// after has something happen.
func (f *fluid) after(at time.Duration, do func()) { f.events = append(f.events, fluidEvent{at, do}) }

func (f *fluid) add(up, down float64, uploads bool, start time.Duration) *fluidClient {
	c := &fluidClient{id: len(f.clients), up: up, down: down, uploads: uploads, start: start, edge: map[int]*flow{}}
	f.clients = append(f.clients, c)
	return c
}

func (f *fluid) run(limit time.Duration) {
	const step = 10 * time.Millisecond
	for now := time.Duration(0); now < limit; now += step {
		left := 0
		for i, e := range f.events {
			if e.do != nil && now >= e.at {
				e.do()
				f.events[i].do = nil
			}
		}
		for _, c := range f.clients {
			f.startOrLeave(c, now)
			if !c.gone && c.done == 0 {
				left++
			}
		}
		if left == 0 {
			return
		}
		for _, c := range f.clients {
			if c.started && !c.gone && c.done == 0 && (c.due || (now/step)%5 == 0) {
				c.due = false
				f.act(c, now)
			}
		}
		f.move(now, step)
	}
}

func (f *fluid) startOrLeave(c *fluidClient, now time.Duration) {
	if !c.started && now >= c.start {
		c.started = true
		n := manifest.PieceCount(f.size, f.piece)
		c.plan = NewPlan(Config{
			Size: f.size, PieceSize: f.piece, Have: manifest.NewBitfield(n), Seed: mix(uint64(c.id) + 7),
			Uploads: c.uploads, StreamEnd: n, Rand: rand.New(rand.NewPCG(1, uint64(c.id))),
		})
		for _, e := range f.edges[1:] {
			c.plan.AddEdge(0, e.id, EdgeInfo{})
		}
		c.edge[0] = f.edges[0].take(&flow{dst: c, end: n, left: float64(c.plan.pieceLen(0)), ready: now + f.delay})
		for _, o := range f.clients {
			if o == c || !o.started || o.gone {
				continue
			}
			f.link(now, c, o)
			f.link(now, o, c)
		}
	}
	if c.leave > 0 && now >= c.leave && !c.gone {
		c.gone = true
		for _, o := range f.clients {
			if o.started && o != c {
				o.plan.RemovePeer(PeerID(c.id))
			}
			for _, fl := range o.serve {
				fl.dead = fl.dead || fl.dst == c
			}
		}
	}
}

func (f *fluid) link(now time.Duration, c, o *fluidClient) {
	c.plan.AddPeer(now-c.start, PeerID(o.id), PeerInfo{Seed: mix(uint64(o.id) + 7), Uploads: o.uploads, RTT: f.delay})
	for i := range o.plan.n {
		if o.plan.have.Has(i) {
			c.plan.PeerHas(PeerID(o.id), i)
		}
	}
}

func (f *fluid) act(c *fluidClient, now time.Duration) {
	at := now - c.start
	acts := c.plan.Tick(at)
	if c.id == f.trace {
		p := c.plan
		f.t.Log(at, "left", p.left/65536, "all", int(p.fromAll.rate(at)/1000), "edge", int(p.edge.rate.rate(at)/1000), "full", int(p.edge.full/1000), "best", int(p.pacer.full/1000), "pace", p.pacer.pace/1000, "phase", p.pacer.gives, "behind", p.behind(at), "reqs", len(p.edge.reqs), acts)
	}
	for _, a := range acts {
		switch a := a.(type) {
		case AskPeer:
			o := f.clients[a.Peer]
			o.serve = append(o.serve, &flow{src: o, dst: c, piece: a.Piece, left: float64(c.plan.pieceLen(a.Piece)), ready: now + f.delay})
		case CancelPeer:
			for _, fl := range f.clients[a.Peer].serve {
				fl.dead = fl.dead || fl.dst == c && fl.piece == a.Piece
			}
		case DropPeer:
			c.plan.RemovePeer(a.Peer)
		case AskEdge:
			c.edge[a.Req] = f.edges[a.Edge].take(&flow{dst: c, req: a.Req, piece: a.First, end: a.First + a.Count, left: float64(c.plan.pieceLen(a.First)), ready: now + f.delay})
		case TrimEdge:
			if fl := c.edge[a.Req]; fl != nil {
				fl.end = min(fl.end, max(a.End, fl.piece))
				if a.End <= fl.piece {
					f.endEdge(c, fl, now)
				}
			}
		}
	}
}

// take admits a request, has it wait, or refuses it.
func (e *fluidEdge) take(fl *flow) *flow {
	e.queue = slices.DeleteFunc(e.queue, func(q *flow) bool { return q.ended || q.dst.gone || q.dst.done > 0 })
	fl.edge, fl.refused = e, e.admit > 0 && len(e.queue) >= 2*e.admit
	if !fl.refused {
		e.queue = append(e.queue, fl)
	}
	return fl
}

// serves reports whether it is the turn of a request.
func (e *fluidEdge) serves(fl *flow) bool {
	if e.admit == 0 {
		return true
	}
	turn := 0
	for _, q := range e.queue {
		if q == fl {
			return turn < e.admit
		}
		if !q.ended && !q.refused && !q.dst.gone && q.dst.done == 0 {
			turn++
		}
	}
	return false
}

// refuse ends a request that its edge does not answer.
func (f *fluid) refuse(c *fluidClient, fl *flow, now time.Duration) {
	delete(c.edge, fl.req)
	fl.ended = true
	retry := time.Second
	if fl.edge.away {
		retry = 0
	}
	c.plan.EdgeEnds(now-c.start, fl.req, false, retry)
}

func (f *fluid) endEdge(c *fluidClient, fl *flow, now time.Duration) {
	delete(c.edge, fl.req)
	fl.ended = true
	c.plan.EdgeEnds(now-c.start, fl.req, true, 0)
}

// move lets every flow progress by one step.
func (f *fluid) move(now, step time.Duration) {
	var flows []*flow
	for _, c := range f.clients {
		for _, fl := range c.edge {
			switch {
			case now < fl.ready || c.gone:
			case fl.refused || fl.edge.away:
				f.refuse(c, fl, now)
			case !fl.edge.serves(fl):
				fl.refused = now > fl.ready+time.Second
			default:
				flows = append(flows, fl)
			}
		}
		keep := c.serve[:0]
		for _, fl := range c.serve {
			if !fl.dead && !c.gone && fl.dst.done == 0 {
				keep = append(keep, fl)
			}
		}
		c.serve = keep
		seen, active := map[*fluidClient]bool{}, 0
		for _, fl := range c.serve {
			if active < f.slots && now >= fl.ready && !seen[fl.dst] {
				seen[fl.dst] = true
				active++
				flows = append(flows, fl)
			}
		}
	}
	maxMin(flows, step)
	for _, e := range f.edges {
		e.spare = 0
	}
	for _, c := range f.clients {
		c.spareUp, c.spareDown = 0, 0
	}
	for _, fl := range flows {
		f.progress(fl, fl.rate*step.Seconds(), now)
	}
}

func (f *fluid) progress(fl *flow, n float64, now time.Duration) {
	c := fl.dst
	t := now - c.start
	if fl.dead || c.done > 0 {
		return
	}
	more := n - fl.left
	if n = min(n, fl.left); n == 0 {
		return
	}
	fl.left -= n
	if fl.src == nil {
		f.edgeTx += n
		fl.edge.tx += n
		c.plan.EdgeBytes(t, fl.req, int64(n))
	} else {
		c.plan.PeerBytes(t, PeerID(fl.src.id), fl.piece, int64(n))
	}
	if fl.left > 0.5 {
		return
	}
	isNew := false
	c.due = true
	size := c.plan.pieceLen(fl.piece)
	if fl.src == nil {
		if isNew = c.plan.EdgePiece(fl.req, fl.piece); isNew {
			c.fromEdge += size
		}
	} else {
		fl.dead = true
		fl.src.spareUp += max(more, 0)
		c.spareDown += max(more, 0)
		if isNew = c.plan.PeerPiece(PeerID(fl.src.id), fl.piece, true); isNew {
			c.fromPeer += size
		}
	}
	if isNew {
		for _, o := range f.clients {
			if o.started && o != c && !o.gone && o.done == 0 {
				o.plan.PeerHas(PeerID(c.id), fl.piece)
				o.due = true
			}
		}
	}
	if fl.src == nil {
		if fl.piece++; fl.piece >= fl.end {
			f.endEdge(c, fl, now)
			fl.edge.spare += max(more, 0)
			c.spareDown += max(more, 0)
		} else {
			fl.left = float64(c.plan.pieceLen(fl.piece))
			if more > 0 {
				f.progress(fl, more, now)
			}
		}
	}
	if c.plan.Done() && c.done == 0 {
		c.done = now - c.start
	}
}

// maxMin sets the rates of flows for one step by progressive filling over access links.
func maxMin(flows []*flow, step time.Duration) {
	type link struct {
		free  float64
		flows []*flow
	}
	links := map[any]*link{}
	on := func(key any, capacity float64, fl *flow) {
		l := links[key]
		if l == nil {
			l = &link{free: capacity}
			links[key] = l
		}
		l.flows = append(l.flows, fl)
	}
	type downKey struct{ c *fluidClient }
	for _, fl := range flows {
		fl.rate = -1
		if fl.src == nil {
			on(fl.edge, fl.edge.up+fl.edge.spare/step.Seconds(), fl)
		} else {
			on(fl.src, fl.src.up+fl.src.spareUp/step.Seconds(), fl)
		}
		on(downKey{fl.dst}, fl.dst.down+fl.dst.spareDown/step.Seconds(), fl)
	}
	for {
		var tight *link
		share := math.Inf(1)
		for _, l := range links {
			n := 0
			for _, fl := range l.flows {
				if fl.rate < 0 {
					n++
				}
			}
			if n > 0 && l.free/float64(n) < share {
				tight, share = l, max(l.free/float64(n), 0)
			}
		}
		if tight == nil {
			return
		}
		for _, fl := range tight.flows {
			if fl.rate >= 0 {
				continue
			}
			fl.rate = share
			if fl.src == nil {
				links[fl.edge].free -= share
			} else {
				links[fl.src].free -= share
			}
			links[downKey{fl.dst}].free -= share
		}
	}
}

const mbit = 1e6 / 8

func (f *fluid) report() (last time.Duration, copies, peers float64) {
	var fe, fp int64
	for _, c := range f.clients {
		last = max(last, c.done)
		fe += c.fromEdge
		fp += c.fromPeer
	}
	return last, f.edgeTx / float64(f.size), float64(fp) / float64(fe+fp)
}

func TestFlashCrowd(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		n                    int
		size                 int64
		up, down, edge       float64 // Mbit/s
		worst, copies, peers float64
	}{
		{"symmetric links, slow edge", 16, 32 << 20, 20, 20, 20, 1.25, 1.25, 0.9},
		{"slow uplinks", 16, 32 << 20, 5, 40, 40, 1.1, 6, 0.6},
		{"fast edge", 12, 250e6, 50, 50, 10000, 1.05, 1.5, 0.85},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFluid(t, tc.size, tc.edge*mbit, 15)
			for range tc.n {
				f.add(tc.up*mbit, tc.down*mbit, true, 0)
			}
			f.run(10 * time.Minute)
			F := float64(tc.size)
			bound := max(F/(tc.edge*mbit), F/(tc.down*mbit), float64(tc.n)*F/((tc.edge+float64(tc.n)*tc.up)*mbit))
			last, copies, peers := f.report()
			ratio := last.Seconds() / bound
			t.Logf("bound %.1f s, last %.1f s = %.2f, %.2f copies, %.1f %% from peers", bound, last.Seconds(), ratio, copies, peers*100)
			for _, c := range f.clients {
				if c.done == 0 {
					t.Fatalf("client %d has not finished", c.id)
				}
			}
			if ratio > tc.worst || copies > tc.copies || peers < tc.peers {
				t.Errorf("want at most %.2f, %.2f copies, at least %.0f %% from peers", tc.worst, tc.copies, tc.peers*100)
			}
		})
	}
}
