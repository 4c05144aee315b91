package stream

import (
	"cmp"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
)

// head is where the player of a track is, reckoned from what it asks for. Nothing tells
// when it began to play or that it was paused, so it is taken to play from the moment at
// which it could, and no further than it can have: what is due is due no later than this
// says.
type head struct {
	active  bool
	playing bool          // a segment has been delivered since the player came here
	first   time.Duration // the start of the first segment that it asked for here
	media   time.Duration // it was here in the media's time
	at      time.Duration // then
	until   time.Duration // it has the media up to here
	asked   int           // the segment that it asked for last
	last    time.Duration // when
}

// now is the player's position.
func (h *head) position(now time.Duration) time.Duration {
	return min(h.media+now-h.at, max(h.until, h.media))
}

// due is when the player comes to a position.
func (h *head) due(start time.Duration) time.Duration { return h.at + start - h.media }

// ask has the player ask for a segment.
func (t *ptrack) ask(now time.Duration, seg int) {
	s, h := t.segs[seg], &t.head
	if s.Init {
		return
	}
	goesOn := false
	if h.active {
		before := t.segs[h.asked]
		goesOn = seg == h.asked || (s.Start-before.Start-before.Duration).Abs() <= max(before.Duration, s.Duration)/2
	}
	switch {
	case !goesOn:
		*h = head{active: true, first: s.Start, media: s.Start, at: now}
	case h.playing && h.position(now) > s.Start: // it cannot have played what it did not have
		h.media, h.at = s.Start, now
	}
	h.asked, h.last = seg, now
}

// delivered has the player have a segment.
func (t *ptrack) delivered(now time.Duration, seg int) {
	s, h := t.segs[seg], &t.head
	if s.Init || !h.active {
		return
	}
	end := s.Start + s.Duration
	switch {
	case !h.playing:
		h.playing, h.media, h.at, h.until = true, s.Start, now, end
	case h.media+now-h.at > h.until: // it has waited
		h.media, h.at, h.until = h.until, now, max(h.until, end)
	default:
		h.until = max(h.until, end)
	}
}

// had has the player have had a segment at a time, which the plan was not asked for.
func (t *ptrack) had(at time.Duration, seg int) {
	s, h := t.segs[seg], &t.head
	end := s.Start + s.Duration
	switch {
	case s.Init:
	case h.active && s.Start < h.media:
		if h.media-end <= s.Duration/2 { // the player began with it
			h.media, h.at, h.until, h.playing = s.Start, at, max(h.until, end), true
			h.first = s.Start
		}
	case !h.active || s.Start >= t.segs[h.asked].Start:
		t.ask(at, seg)
		t.delivered(at, seg)
	}
}

// Played records that a player has had a segment at a time, of the server by another way
// than a reader, and how long it took to come.
func (p *Plan) Played(at, took time.Duration, of TrackID, seg int) {
	t := p.tracks[of]
	t.had(at, seg)
	if s := t.segs[seg]; !s.Init { // which are too small to show anything
		p.edge.pace.count(took, s.Manifest.Size)
	}
}

// idle reports whether the player has asked for nothing for long.
func (t *ptrack) idle(now time.Duration) bool {
	return !t.head.active || now-t.head.last > idleBase+idleTimes*t.segs[t.head.asked].Duration
}

// OpenReader has a reader of a segment come.
func (p *Plan) OpenReader(now time.Duration, id ReaderID, of TrackID, seg int) {
	t := p.tracks[of]
	p.readers[id] = &reader{track: t, seg: seg}
	s := t.segs[seg]
	if s.readers++; s.readers == 1 {
		s.wanted = now
	}
	if now >= s.edge {
		s.gone, s.fails = false, 0 // it is asked once more
	}
	t.ask(now, seg)
}

// Delivered records that a reader has had its segment.
func (p *Plan) Delivered(now time.Duration, id ReaderID) {
	if r := p.readers[id]; r != nil {
		r.track.delivered(now, r.seg)
	}
}

// CloseReader has a reader go.
func (p *Plan) CloseReader(id ReaderID) {
	if r := p.readers[id]; r != nil {
		r.track.segs[r.seg].readers--
		delete(p.readers, id)
	}
}

// zoned is a segment of which something is missing that is to come now.
type zoned struct {
	t      *ptrack
	s      *segment
	due    time.Duration // when it is to be here
	atOnce bool          // a player starts with it
	// room is the time that there is, or was, to get it.
	room time.Duration
}

// zone are the segments to be fetched, those that are due first before others: what
// readers wait for and what players will ask for soon.
func (p *Plan) zone(now time.Duration) []zoned {
	var out []zoned
	for _, t := range p.tracks {
		from, to := p.ahead(now, t)
		parts := t.head.active && t.segs[t.head.asked].Part // is what the player plays
		for _, s := range t.segs {
			inside := !s.Init && s.Part == parts && s.Start+s.Duration > from && s.Start < to
			if !inside && s.readers == 0 {
				s.entered = -1
				continue
			}
			if s.entered < 0 {
				s.entered = now
			}
			if s.left > 0 {
				out = append(out, p.zoned(now, t, s))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b zoned) int { return cmp.Compare(a.due, b.due) })
	var sum int64
	for i := range out {
		if sum += out[i].s.Manifest.Size; sum > p.cfg.MaxAhead && out[i].s.readers == 0 {
			return out[:i]
		}
	}
	return out
}

// ahead is what of the media of a track is to be fetched beside what readers wait for:
// nothing before a player has what it starts with, which nothing must delay, and then
// twice as much as it has to play.
func (p *Plan) ahead(now time.Duration, t *ptrack) (from, to time.Duration) {
	h := &t.head
	if t.starting() || t.idle(now) {
		return 0, 0
	}
	from = h.position(now)
	last := t.segs[h.asked]
	to = max(from+zoneVOD, last.Start+last.Duration+zoneRead)
	if p.cfg.Live {
		to = 1<<63 - 1
	}
	return from, min(to, h.until+2*max(h.until-from, last.Duration))
}

func (p *Plan) zoned(now time.Duration, t *ptrack, s *segment) zoned {
	z := zoned{t: t, s: s, due: p.due(t, s)}
	if s.readers > 0 {
		z.atOnce = s.Init || t.starting()
		z.due = min(z.due, s.wanted+p.patience(s))
		if z.atOnce {
			z.due = now
		}
	}
	z.room = max(z.due-s.entered, 0)
	s.open = 0
	for i := s.first; i < s.first+s.pieces; i++ {
		if !t.cells[i].have && p.edge.asked(t, i) == nil {
			s.open += s.pieceLen(i)
		}
	}
	return z
}

// due is when a player comes to a segment, at the earliest.
func (p *Plan) due(t *ptrack, s *segment) time.Duration {
	due := t.head.due(s.Start)
	if !p.cfg.Live {
		return due
	}
	early := t.span(s)
	if !s.Part || s.since >= 0 { // who plays parts may have begun with hardly anything
		early = seconds(liveEarly * early.Seconds())
	}
	due -= early
	if s.since < 0 {
		return due
	}
	return max(due, s.since+seconds(leastBehind*t.usual(s).Seconds())-s.Duration)
}

// usual is how long segments have been until one was published: players keep a distance
// from the source that they know from those. That of parts they know from the longest, which
// the playlist names; parts that end a segment are shorter.
func (t *ptrack) usual(s *segment) time.Duration {
	usual, seen := s.Duration, 0
	for i := s.no - 1; i >= 0 && seen < 2; i-- {
		o := t.segs[i]
		if o.Init || o.Part != s.Part {
			continue
		}
		seen++
		switch {
		case s.Part:
			usual = max(usual, o.Duration)
		case seen == 1 || o.Duration < usual:
			usual = o.Duration
		}
	}
	return usual
}

// starting reports whether the player may still wait for what it starts with: of parts, as
// many as may come before the one in which it begins to play.
func (t *ptrack) starting() bool {
	h := &t.head
	if !h.playing {
		return true
	}
	last := t.segs[h.asked]
	return last.Part && h.until+last.Duration/2 < h.first+t.span(last)
}

// span is how far behind the beginning of what it has asked for first a player may begin
// to play: anywhere in a segment, of which few parts may be such that it can begin there.
func (t *ptrack) span(s *segment) time.Duration {
	if s.Part {
		return max(s.Duration, t.longest)
	}
	return s.Duration
}

// patience is how long a reader of a segment is kept waiting at the most.
func (p *Plan) patience(s *segment) time.Duration {
	switch {
	case s.Part:
		return partPatience
	case p.cfg.Live:
		return 2 * s.Duration
	}
	return s.Duration * patience / 4
}

// rank is this client's place among those who may fetch a piece from the edge for the
// swarm: 0 is its owner. As in a download neighbours elect owners by rendezvous hashing,
// without a message; candidates are those who play near to it. alone says that there
// are none.
func (p *Plan) rank(z zoned, piece int) (rank int, alone bool) {
	if p.cfg.Ablate.Duty {
		return 0, false
	}
	first := z.s.first + (piece-z.s.first)/stripe*stripe
	own := fetch.Score(p.cfg.Seed^z.t.seed, first)
	alone = true
	near := zoneVOD
	if p.thin(z.s) { // nobody fetches far ahead
		near = thinZone * z.s.Duration
	}
	for _, q := range p.order {
		if !q.stands(z, near) {
			continue
		}
		alone = false
		if fetch.Score(q.info.Seed^z.t.seed, first) > own {
			rank++
		}
	}
	if !p.cfg.Uploads && !alone { // nobody would have it of this client
		rank = lastRank
	}
	return rank, alone
}

// stands reports whether a neighbour may be taken to fetch a segment itself: its player
// is near, as far as what it has shows.
func (q *peer) stands(z zoned, near time.Duration) bool {
	h := q.has.of(z.t.id)
	if !q.info.Uploads || h == nil || h.newest < 0 {
		return false
	}
	return (z.s.Start - h.newest).Abs() <= near
}
