package stream

import (
	"slices"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const mbit = 1e6 / 8 // bytes per second

// fluid is a small model of a network for tests of the policy, in virtual time: access
// links are shared max-min fairly, every client's plan is the real one, and messages take a
// fixed time. A player asks for one segment after the other
// while it has less than its buffer, and plays from the moment at which it has the first.
type fluid struct {
	t       testing.TB
	track   []track.Segment // in the order in which they are published
	segs    []track.Segment // those that players play: all, or the parts of which these are
	no      []int           // of each in the track
	whole   time.Duration   // what players can begin to play at: the duration of a segment
	live    bool
	behind  time.Duration // the source of a live stream, where players begin; 0: three segments
	delay   time.Duration
	apart   bool // nobody knows of others
	edgeUp  float64
	clients []*fluidClient
	events  []fluidEvent
	now     time.Duration
	sent    []int64 // by the edge, of each segment
}

// fluidEvent is something that happens to the network.
type fluidEvent struct {
	at time.Duration
	do func()
}

type fluidClient struct {
	id           int
	up, down     float64
	uploads      bool
	start, leave time.Duration
	begun, gone  bool

	plan  *Plan
	known int // segments
	serve []*flow
	edge  map[int]*flow
	due   bool

	next    int // segment to ask for
	first   int // that it has asked for
	reading bool
	begin   time.Duration // the first segment was here
	had     time.Duration // of the media
	skip    time.Duration // of the first segment, which is not played
	played  time.Duration
	stalled time.Duration

	fromEdge, fromPeers int64
}

type flow struct {
	src, dst   *fluidClient // src nil: the edge
	req        int
	piece, end int
	left, rate float64
	ready      time.Duration
	dead       bool
	begun      bool // a turn ends with its request
	rank       int  // in the uploader's queue
}

// ranks is in which order requests are served, by urgency.
var ranks = map[wire.Urgency]int{wire.UrgencyReader: 0, wire.UrgencyNormal: 1, wire.UrgencyBackground: 2}

const (
	fluidStep = 10 * time.Millisecond
	buffer    = 30 * time.Second
)

// newFluid has n segments of a duration, at a rate in bytes per second.
func newFluid(t testing.TB, n int, duration time.Duration, rate, edgeUp float64) *fluid {
	return newFluidParts(t, n, 1, duration, rate, edgeUp)
}

// newFluidParts has n segments, each of so many parts of a duration, which are published
// before it is, and played; one part is the segment.
func newFluidParts(t testing.TB, n, parts int, duration time.Duration, rate, edgeUp float64) *fluid {
	f := &fluid{t: t, delay: 20 * time.Millisecond, edgeUp: edgeUp, whole: time.Duration(parts) * duration}
	for i := range n * parts {
		s := fluidSegment(time.Duration(i)*duration, duration, rate)
		s.Part = parts > 1
		f.no = append(f.no, len(f.track))
		f.segs, f.track = append(f.segs, s), append(f.track, s)
		if parts > 1 && i%parts == parts-1 {
			f.track = append(f.track, fluidSegment(s.Start+duration-f.whole, f.whole, rate))
		}
	}
	f.sent = make([]int64, len(f.track))
	return f
}

func fluidSegment(start, duration time.Duration, rate float64) track.Segment {
	size := int64(rate * duration.Seconds())
	m := &manifest.Manifest{Size: size, PieceSize: manifest.PieceSizeFor(size)}
	m.Pieces = make([]manifest.Hash, manifest.PieceCount(size, m.PieceSize))
	return track.Segment{Name: "/s", Start: start, Duration: duration, Manifest: m}
}

func (f *fluid) add(up, down float64, uploads bool, start time.Duration) *fluidClient {
	c := &fluidClient{id: len(f.clients), up: up, down: down, uploads: uploads, start: start, edge: map[int]*flow{}}
	f.clients = append(f.clients, c)
	return c
}

func (f *fluid) after(d time.Duration, do func()) {
	f.events = append(f.events, fluidEvent{f.now + d, do})
}

// published is how many segments there are by now.
func (f *fluid) published() int {
	if !f.live {
		return len(f.segs)
	}
	return min(len(f.segs), int(f.now/f.segs[0].Duration))
}

// run runs until every player has played to the end.
func (f *fluid) run(limit time.Duration) {
	for ; f.now < limit; f.now += fluidStep {
		var later []fluidEvent
		happen := f.events
		f.events = nil
		for _, e := range happen {
			if f.now >= e.at {
				e.do()
			} else {
				later = append(later, e)
			}
		}
		f.events = append(f.events, later...)
		busy := false
		for _, c := range f.clients {
			f.comeOrGo(c)
			if c.begun && !c.gone {
				f.play(c)
			}
			busy = busy || !c.gone && (!c.begun || int((c.played+c.skip)/f.segs[0].Duration) < len(f.segs)-c.first)
		}
		if !busy {
			return
		}
		for _, c := range f.clients {
			if c.begun && !c.gone && (c.due || (f.now/fluidStep)%5 == 0) {
				c.due = false
				f.act(c)
			}
		}
		f.move()
	}
}

func (f *fluid) comeOrGo(c *fluidClient) {
	if !c.begun && f.now >= c.start && f.published() > 0 {
		c.begun = true
		c.plan = NewPlan(Config{Seed: uint64(c.id+1) * 0x9e3779b97f4a7c15, Uploads: c.uploads, Live: f.live})
		c.plan.AddTrack(77)
		if f.live {
			c.next = max(0, f.published()-3)
		}
		if f.behind > 0 {
			at := f.now - f.behind
			c.next, c.skip = int(at/f.whole)*int(f.whole/f.segs[0].Duration), at%f.whole
			if f.whole-c.skip < f.whole/8 { // it begins with the next
				c.next, c.skip = c.next+int(f.whole/f.segs[0].Duration), 0
			}
		}
		c.first = c.next
		f.learn(c)
		for _, o := range f.clients {
			if o != c && o.begun && !o.gone && !f.apart {
				f.after(300*time.Millisecond, func() { f.link(c, o); f.link(o, c) })
			}
		}
	}
	if c.leave > 0 && f.now >= c.leave && c.begun && !c.gone {
		c.gone = true
		for _, o := range f.clients {
			if o.begun && o != c {
				o.plan.RemovePeer(PeerID(c.id))
			}
			for _, fl := range o.serve {
				fl.dead = fl.dead || fl.dst == c
			}
		}
	}
}

// learn has a client know of the segments that there are.
func (f *fluid) learn(c *fluidClient) {
	if n := f.published(); n > c.known {
		from, to := 0, len(f.track)
		if c.known > 0 {
			from = f.no[c.known]
		}
		if n < len(f.segs) {
			to = f.no[n]
		}
		c.plan.AddSegments(f.now, 0, f.track[from:to])
		c.known, c.due = n, true
	}
}

func (f *fluid) link(c, o *fluidClient) {
	if c.gone || o.gone {
		return
	}
	c.plan.AddPeer(PeerID(o.id), PeerInfo{Seed: uint64(o.id+1) * 0x9e3779b97f4a7c15, Uploads: o.uploads, RTT: 2 * f.delay})
	c.plan.JoinTrack(PeerID(o.id), 0)
	var has []int
	for i := range o.plan.tracks[0].cells {
		if o.plan.tracks[0].cells[i].have {
			has = append(has, i)
		}
	}
	f.tell(c, o, has)
}

// tell has c hear of pieces of o, of those that it knows.
func (f *fluid) tell(c, o *fluidClient, pieces []int) {
	f.learn(c)
	c.plan.PeerHas(PeerID(o.id), 0, pieces)
	c.due = true
}

// play has the player of c go on.
func (f *fluid) play(c *fluidClient) {
	f.learn(c)
	if c.begin > 0 && c.first+int((c.played+c.skip)/f.segs[0].Duration) < len(f.segs) {
		if c.played+fluidStep <= c.had {
			c.played += fluidStep
		} else {
			c.stalled += fluidStep
		}
	}
	if !c.reading && c.next < c.known && c.had-c.played < buffer {
		c.reading = true
		c.plan.OpenReader(f.now, ReaderID(c.next), 0, f.no[c.next])
		c.due = true
	}
	if c.reading && c.plan.Missing(0, f.no[c.next]) == 0 {
		c.reading = false
		c.plan.Delivered(f.now, ReaderID(c.next))
		c.plan.CloseReader(ReaderID(c.next))
		c.had += f.segs[c.next].Duration
		if c.begin == 0 && c.had > c.skip {
			c.begin = f.now
			c.had -= c.skip
		}
		c.next++
		c.due = true
	}
}

func (f *fluid) act(c *fluidClient) {
	t := c.plan.tracks[0]
	for _, a := range c.plan.Tick(f.now) {
		switch a := a.(type) {
		case AskPeer:
			o := f.clients[a.Peer]
			if n := float64(t.segOf(a.Piece).pieceLen(a.Piece)); !o.gone {
				i := 0 // behind what has begun and what is as urgent
				for i < len(o.serve) && (o.serve[i].begun || o.serve[i].rank <= ranks[a.Urgency]) {
					i++
				}
				o.serve = slices.Insert(o.serve, i, &flow{src: o, dst: c, piece: a.Piece, left: n, ready: f.now + 2*f.delay, rank: ranks[a.Urgency]})
			}
		case CancelPeer:
			for _, fl := range f.clients[a.Peer].serve {
				fl.dead = fl.dead || fl.dst == c && fl.piece == a.Piece
			}
		case DropPeer:
			c.plan.RemovePeer(a.Peer)
		case AskEdge:
			n := float64(t.segOf(a.First).pieceLen(a.First))
			c.edge[a.Req] = &flow{dst: c, req: a.Req, piece: a.First, end: a.First + a.Count, left: n, ready: f.now + 2*f.delay}
		case CancelEdge:
			delete(c.edge, a.Req)
		case Join:
			for i := range t.segs[a.Segment].pieces {
				piece := t.segs[a.Segment].first + i
				c.plan.Stored(0, piece)
				f.spread(c, piece)
			}
		}
	}
}

// slots is to how many an uplink sends pieces of n bytes at once: as in real uploads, to
// fewer where it is slow, so that none takes much longer than a second.
func slots(up, n float64) int { return min(max(int(up/n), 1), 4) }

// move lets every flow progress by one step.
func (f *fluid) move() {
	var flows []*flow
	for _, c := range f.clients {
		for id := 1; c.begun && !c.gone && id <= c.plan.edge.next; id++ { // in the same order every time
			if fl := c.edge[id]; fl != nil && f.now >= fl.ready {
				flows = append(flows, fl)
			}
		}
		keep := c.serve[:0]
		for _, fl := range c.serve {
			if !fl.dead && !c.gone && !fl.dst.gone {
				keep = append(keep, fl)
			}
		}
		c.serve = keep
		seen := map[*fluidClient]bool{}
		for _, fl := range c.serve {
			if len(seen) < slots(c.up, float64(f.track[0].Manifest.PieceSize)) && f.now >= fl.ready && !seen[fl.dst] {
				seen[fl.dst] = true
				fl.begun = true
				flows = append(flows, fl)
			}
		}
	}
	share(flows, f.edgeUp)
	for _, fl := range flows {
		f.progress(fl, fl.rate*fluidStep.Seconds())
	}
}

// share sets the rates of flows, max-min fairly by progressive filling over access links.
func share(flows []*flow, edgeUp float64) {
	type link struct {
		free  float64
		flows []*flow
	}
	links := []*link{{free: edgeUp}}
	ups, downs := map[*fluidClient]*link{nil: links[0]}, map[*fluidClient]*link{}
	for _, fl := range flows {
		fl.rate = -1
		if ups[fl.src] == nil {
			ups[fl.src] = &link{free: fl.src.up}
			links = append(links, ups[fl.src])
		}
		if downs[fl.dst] == nil {
			downs[fl.dst] = &link{free: fl.dst.down}
			links = append(links, downs[fl.dst])
		}
		for _, l := range []*link{ups[fl.src], downs[fl.dst]} {
			l.flows = append(l.flows, fl)
		}
	}
	for left := len(flows); left > 0; {
		var tight *link
		least := 0.0
		for _, l := range links {
			n := 0
			for _, fl := range l.flows {
				if fl.rate < 0 {
					n++
				}
			}
			if r := l.free / float64(n); n > 0 && (tight == nil || r < least) {
				tight, least = l, max(r, 0)
			}
		}
		for _, fl := range tight.flows {
			if fl.rate < 0 {
				fl.rate = least
				ups[fl.src].free -= least
				downs[fl.dst].free -= least
				left--
			}
		}
	}
}

func (f *fluid) progress(fl *flow, n float64) {
	c := fl.dst
	t := c.plan.tracks[0]
	for n > 0 && !fl.dead {
		got := min(n, fl.left)
		fl.left -= got
		n -= got
		s := t.segOf(fl.piece)
		if fl.src == nil {
			f.sent[s.no] += int64(got)
			c.plan.EdgeBytes(f.now, fl.req, int64(got))
		} else {
			c.plan.PeerBytes(f.now, PeerID(fl.src.id), 0, fl.piece, int64(got))
		}
		if fl.left > 0.5 {
			return
		}
		f.arrived(fl, s)
	}
}

// arrived has a whole piece come.
func (f *fluid) arrived(fl *flow, s *segment) {
	c, piece := fl.dst, fl.piece
	isNew := false
	c.due = true
	if fl.src != nil {
		fl.dead = true
		if isNew = c.plan.PeerPiece(PeerID(fl.src.id), 0, piece, true); isNew {
			c.fromPeers += s.pieceLen(piece)
		}
	} else {
		if isNew = c.plan.EdgePiece(fl.req, 0, piece); isNew {
			c.fromEdge += s.pieceLen(piece)
		}
		if fl.piece++; fl.piece < fl.end {
			fl.left = float64(s.pieceLen(fl.piece))
		} else {
			fl.dead = true
			delete(c.edge, fl.req)
			c.plan.EdgeEnds(f.now, fl.req, Outcome{OK: true})
		}
	}
	if isNew {
		f.spread(c, piece)
	}
}

// spread has all others hear of a piece of c.
func (f *fluid) spread(c *fluidClient, piece int) {
	f.after(f.delay, func() {
		for _, o := range f.clients {
			if o.begun && o != c && !o.gone && !c.gone && !f.apart {
				f.tell(o, c, []int{piece})
			}
		}
	})
}

// result is what came of a run.
type result struct {
	offload float64       // share of the bytes of all but the first client that came from peers
	copies  float64       // of the edge, of segments that nobody begins with, the mean
	stalled time.Duration // of all
	begin   time.Duration // the latest
	wasted  float64       // share of what came
}

func (f *fluid) result() (r result) {
	var edge, peers, wasted, all int64
	firsts := map[int]bool{}
	for i, c := range f.clients {
		for i := range min(int(f.whole/f.segs[0].Duration), len(f.no)-c.first) {
			firsts[f.no[c.first+i]] = true
		}
		if c.gone {
			continue
		}
		if i > 0 {
			edge += c.fromEdge
			peers += c.fromPeers
		}
		all += c.fromEdge + c.fromPeers
		wasted += c.plan.Wasted()
		r.stalled += c.stalled
		r.begin = max(r.begin, c.begin-c.start)
	}
	r.offload = float64(peers) / float64(max(edge+peers, 1))
	r.wasted = float64(wasted) / float64(max(all, 1))
	n := 0
	for i, sent := range f.sent {
		if !firsts[i] && sent > 0 {
			r.copies += float64(sent) / float64(f.track[i].Manifest.Size)
			n++
		}
	}
	r.copies /= float64(max(n, 1))
	return r
}
