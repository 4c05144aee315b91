package fetch

import (
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// queueTime is how many seconds of data a peer is asked for ahead.
	queueTime = 600 * time.Millisecond
	// maxQueue is how many bytes are asked of one peer ahead, but for two pieces: with
	// one alone the way of the request would be lost each time.
	maxQueue = 4 << 20
	// Bounds of the silence after which requests to a peer are withdrawn.
	minSilence, maxSilence = 5 * time.Second, 20 * time.Second
	maxSnubs               = 3
	maxLies                = 3
	snubRest               = 5 * time.Second
	// manyNear is the number of near peers from which those farther away are asked
	// for one piece at a time: enough to know that near ones do not fail all at once.
	manyNear = 12
	// unknownETA is how long a peer is reckoned to take that has not sent anything.
	unknownETA = 2 * time.Second
	// expectFor is how long a neighbour that is not linked yet is counted on.
	expectFor = 5 * time.Second
	// maxExpected bounds them, whatever control says.
	maxExpected = 256
)

type ask struct {
	piece int
	at    time.Duration
	got   int64
}

// peer is a neighbour. What is looked at most comes first: there are many plans in
// a simulation, and their peers are not in any cache.
type peer struct {
	rest    time.Duration // not asked before then
	nothing uint32        // it had nothing to be asked for when the plan's freed was this
	snubs   int8
	lies    int8
	full    bool // its pipeline takes no more until bytes come from it
	dropped bool // a DropPeer is out; nothing more is asked
	proven  bool // a piece of it has verified
	asks    []ask
	few     [1]ask // where asks begins
	count   int    // pieces it holds
	info    PeerInfo
	have    set
	id      PeerID
	out     int64         // bytes asked and not yet received
	last    time.Duration // last byte
	rate    meter
	slots   [8]int64 // of rate
}

// Expect tells of neighbours that upload and still download, and that are being
// reached: they count in the election at once, so that clients that start
// together divide the object before their links are up.
func (p *Plan) Expect(now time.Duration, seeds ...uint64) {
	for _, s := range seeds {
		if !p.linked(s) && len(p.expected) < maxExpected {
			if _, stands := p.expected[s]; !stands {
				p.stand(s)
			}
			p.expected[s] = now + expectFor
		}
	}
}

func (p *Plan) linked(seed uint64) bool {
	for _, q := range p.turn {
		if q.info.Seed == seed {
			return true
		}
	}
	return false
}

func (p *Plan) dropUnreached(now time.Duration) {
	for s, until := range p.expected {
		if now >= until {
			delete(p.expected, s)
			p.stale = true
		}
	}
}

// AddPeer admits a peer that has opened the swarm.
func (p *Plan) AddPeer(now time.Duration, id PeerID, info PeerInfo) {
	q := p.newPeer()
	q.id, q.info, q.last = id, info, now
	if info.Near && info.Uploads {
		p.near++
	}
	q.rate = makeMeter(4*time.Second, q.slots[:])
	for int(id) >= len(p.peers) {
		p.peers = append(p.peers, nil)
	}
	p.peers[id] = q
	p.turn = append(p.turn, q)
	if _, stood := p.expected[info.Seed]; stood {
		delete(p.expected, info.Seed)
	} else if info.Uploads {
		p.stand(info.Seed)
	}
}

// RemovePeer forgets a peer whose link has ended; what was asked of it is free
// again.
func (p *Plan) RemovePeer(id PeerID) {
	q := p.peer(id)
	if q == nil {
		return
	}
	for len(q.asks) > 0 {
		p.wasted += q.asks[0].got
		q.release(p, q.asks[0].piece)
	}
	q.have.all(nil, 0, func(i int) bool {
		p.gone(i)
		return true
	})
	p.peers[id] = nil
	if q.info.Near && q.info.Uploads {
		p.near--
	}
	p.turn = slices.DeleteFunc(p.turn, func(t *peer) bool { return t == q })
	p.stale = true
}

// peer is the neighbour with an ID, or nil.
func (p *Plan) peer(id PeerID) *peer {
	if int(id) >= len(p.peers) {
		return nil
	}
	return p.peers[id]
}

// gone records that a neighbour does not hold piece i any more.
func (p *Plan) gone(i int) {
	if p.avail[i]--; p.avail[i] == 0 && !p.have.Has(i) {
		p.absent++
	}
}

// PeerHas records pieces that a peer announces.
func (p *Plan) PeerHas(id PeerID, pieces ...int) {
	q := p.peer(id)
	if q == nil {
		return
	}
	for _, i := range pieces {
		if i < 0 || i >= p.n || q.have.has(i) {
			continue
		}
		q.have.put(i)
		q.count++
		if p.avail[i]++; p.avail[i] == 1 && !p.have.Has(i) {
			p.absent--
		}
		if p.todo.has(i) {
			q.nothing = 0
		}
	}
	if q.count == p.n {
		p.stale = true // a seed owns nothing
	}
}

// PeerBytes records n bytes of a piece received from a peer, not yet verified.
func (p *Plan) PeerBytes(now time.Duration, id PeerID, piece int, n int64) {
	q := p.peer(id)
	if q == nil {
		return
	}
	silent := q.last
	q.last = now
	q.full = false
	q.rate.add(now, n)
	p.fromAll.add(now, n)
	p.fromP2P.add(now, n)
	p.quick.add(now, n)
	p.instant.add(now, n)
	for k := range q.asks {
		if a := &q.asks[k]; a.piece == piece {
			if a.got == 0 {
				p.answers.add(now - max(a.at, silent))
			}
			n = min(n, p.pieceLen(piece)-a.got)
			a.got += n
			p.begun += n
			q.out -= n
			p.inAsk -= n
			return
		}
	}
}

// PeerPiece records that a piece from a peer is whole. ok says that it verified;
// it reports whether the piece was new.
func (p *Plan) PeerPiece(id PeerID, piece int, ok bool) bool {
	q := p.peer(id)
	if q == nil {
		return ok && p.got(piece)
	}
	q.release(p, piece)
	if !ok {
		p.wasted += p.pieceLen(piece)
		p.corrupt += p.pieceLen(piece)
		p.drop(q, DropCorrupt)
		return false
	}
	q.snubs, q.proven = 0, true
	return p.got(piece)
}

// PeerRejects records that a peer will not serve a piece: because it does not
// have it after all, or (missing false) because it is busy for retry.
func (p *Plan) PeerRejects(now time.Duration, id PeerID, piece int, missing bool, retry time.Duration) {
	q := p.peer(id)
	if q == nil {
		return
	}
	q.release(p, piece)
	if !missing {
		// Spread out: those who are refused together would come back together.
		retry = min(max(retry, 50*time.Millisecond), 10*time.Second)
		q.rest = max(q.rest, now+retry/2+time.Duration(p.cfg.Rand.Int64N(int64(retry))))
		return
	}
	if q.have.has(piece) {
		q.have.drop(piece)
		p.gone(piece)
		q.count--
	}
	if q.lies++; q.lies >= maxLies {
		p.drop(q, DropLiar)
	}
}

// release takes piece off the peer's queue and reports whether it was there.
func (q *peer) release(p *Plan, piece int) bool {
	for k, a := range q.asks {
		if a.piece == piece {
			rest := p.pieceLen(piece) - a.got
			q.out -= rest
			p.inAsk -= rest
			p.begun -= a.got
			p.unask(piece)
			q.asks = append(q.asks[:k], q.asks[k+1:]...)
			q.full = false
			return true
		}
	}
	return false
}

func (p *Plan) askOf(now time.Duration, q *peer, piece int) {
	q.asks = append(q.asks, ask{piece: piece, at: now})
	q.out += p.pieceLen(piece)
	p.inAsk += p.pieceLen(piece)
	p.ask(piece)
	p.do(AskPeer{Peer: q.id, Piece: piece, Urgency: p.urgency(piece)})
}

// urgency is what a peer is to know of how soon a piece is needed.
func (p *Plan) urgency(piece int) wire.Urgency {
	switch {
	case p.reader >= 0 && piece >= p.reader && piece < p.reader+prefetch:
		return wire.UrgencyReader
	case p.cfg.Class == Background:
		return wire.UrgencyBackground
	}
	return wire.UrgencyNormal
}

// usable reports whether q can be asked at all.
func (q *peer) usable(now time.Duration) bool {
	return q.info.Uploads && !q.dropped && now >= q.rest
}

func (p *Plan) drop(q *peer, reason string) {
	if !q.dropped {
		q.dropped = true
		p.do(DropPeer{Peer: q.id, Reason: reason})
	}
}

// company counts the peers that serve, be it that they are busy now, and those on
// their way.
func (p *Plan) company() int {
	c := len(p.expected)
	for _, q := range p.turn {
		if q.info.Uploads && !q.dropped && q.snubs == 0 {
			c++
		}
	}
	return c
}

// room reports whether the pipeline of q takes another piece of n bytes: bytes
// for queueTime and one and a half round trips at its rate, and always one, or two
// small ones while the first arrives: what waits at a busy peer cannot be asked of an
// idle one. Of a peer that has proven nothing it is one piece:
// that is what one who sends rubbish costs.
func (p *Plan) room(now time.Duration, q *peer, n int64) bool {
	if len(q.asks) == 0 {
		return true
	}
	if !q.proven || q.snubs > 0 || p.inAsk+n > p.cfg.MaxBuffer || !q.info.Near && p.near >= manyNear {
		return false
	}
	want := int64(q.rate.rate(now) * (queueTime + q.info.RTT*3/2).Seconds())
	if len(q.asks) == 1 && q.out <= 256<<10 && q.asks[0].got > 0 {
		return true
	}
	return q.out+n <= min(want, max(maxQueue, 2*p.cfg.PieceSize))
}

// eta is when q would finish another n bytes, going by its rate.
func (q *peer) eta(now time.Duration, n int64) time.Duration {
	r := q.rate.rate(now)
	if r < 1 {
		return q.info.RTT + unknownETA
	}
	return q.info.RTT + seconds(float64(q.out+n)/r)
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s, 1e6) * float64(time.Second))
}

// askPeers fills the pipelines, one piece a turn so that the last pieces spread.
func (p *Plan) askPeers(now time.Duration) {
	tooLate, least := max(2*time.Second, seconds(1.25*float64(p.left)/max(p.fromAll.rate(now), 1))), 1
	if p.elastic(now) { // the edge will be done with everything by then
		tooLate, least = max(guard, seconds(float64(p.left)/p.edge.full)), 0
	}
	busy := p.reachOut(now)
	for asked := true; asked; {
		asked = false
		for _, q := range p.turn {
			if !q.usable(now) || q.full || q.nothing == p.freed || q.count == 0 {
				continue
			}
			if !p.room(now, q, p.cfg.PieceSize) {
				q.full = p.inAsk+p.cfg.PieceSize <= p.cfg.MaxBuffer
				continue
			}
			if tried := q.rate.total > 0 || tooLate <= guard; tried && len(q.asks) >= least && q.eta(now, p.cfg.PieceSize) > tooLate {
				continue // others will be done with everything before
			}
			if len(q.asks) == 0 && busy >= p.reach.most {
				continue
			}
			if i := p.pickFor(q); i >= 0 {
				if len(q.asks) == 0 {
					busy++
				}
				p.askOf(now, q, i)
				asked = true
			} else {
				q.nothing = p.freed
			}
		}
	}
	if len(p.turn) > 1 {
		first := p.turn[0]
		copy(p.turn, p.turn[1:])
		p.turn[len(p.turn)-1] = first
	}
}

func (p *Plan) pickFor(q *peer) int {
	if p.reader >= 0 {
		for i := p.reader; i < min(p.n, p.reader+prefetch); i++ {
			if p.todo.has(i) && q.have.has(i) {
				return i
			}
		}
	}
	return p.rarest(q.have)
}
