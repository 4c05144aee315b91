package stream

import "time"

// Parameters of the policy (docs/DESIGN.md §5.14).
const (
	// zoneVOD is how far ahead of the player's position segments are fetched, in the
	// media's time; zoneRead how far ahead of the last one that it has asked for, for one
	// that buffers further than that. A live stream is fetched to its end.
	zoneVOD  = 60 * time.Second
	zoneRead = 30 * time.Second
	// soon is how near to its deadline a piece is asked for in the order of deadlines,
	// and not by rarity.
	soon = 8 * time.Second
	// A player that has asked for nothing for idleBase and idleTimes the duration of its
	// last segment is not fetched ahead for: it is paused, has gone, or plays another
	// rendition.
	idleBase  = 5 * time.Second
	idleTimes = 3
	// A reader is kept waiting for peers for so many quarters of its segment's duration at
	// the most, however much the player has buffered: it judges the network by it. Of a live
	// stream, whose segments are asked for as soon as there are, for twice its duration:
	// where uploads hardly suffice it takes as long to spread one.
	patience = 3
	// partPatience is the same for a part of a segment, which players ask for before it is
	// there, and so do not judge the network by.
	partPatience = 4 * time.Second
	// leastGuard is kept between the estimate of an arrival and a deadline, or two round
	// trips to the edge where that is more.
	leastGuard = 300 * time.Millisecond
	// A player of a live stream may begin anywhere in its first segment, at a distance from
	// the live edge, and nothing tells where. So what follows is due earlier than from the first
	// one's beginning, by the part liveEarly of its duration, but not before a player comes to
	// it that plays leastBehind segments of the usual duration behind the source: hardly one
	// plays nearer to it. To a segment that is longer than usual it comes sooner after that
	// was published. That costs a segment of the edge for everyone who comes, and keeps from
	// stalling who begins near the end of one.
	liveEarly   = 0.875
	leastBehind = 1.75
	// edgeShare is the part of the edge's measured rate that is counted on.
	edgeShare = 0.7
	// peerShare is the same for peers.
	peerShare = 0.8
	// stripe is how many pieces of a segment are owned together: enough to be worth a
	// request to the edge, few enough to spread.
	stripe = 4
	// handoff is how much earlier than the next in rank a client steps in for an owner,
	// for the first lastRank of them: the time in which the next hears of its pieces. Where
	// there is little room it is a part of that.
	handoff     = time.Second
	handoffPart = 16
	lastRank    = 4
	// maxUrgent and maxDuty bound the parallel requests to the edge.
	maxUrgent = 4
	maxDuty   = 2
	// depth is how much is asked of a peer ahead, in time at its rate, beside one and a
	// half round trips: less than for a download, since what waits at a peer cannot be
	// asked of another.
	depth = 300 * time.Millisecond
	// leastWindow and maxQueue bound it, in bytes.
	leastWindow, maxQueue = 128 << 10, 4 << 20
	// maxAsked bounds what is asked of all peers, in bytes.
	maxAsked = 32 << 20
	// guess is the rate of a source that is not measured, in bytes per second.
	guess = 250_000
	// A peer that is silent for the longest of leastSilence, four round trips and twice
	// the estimate is taken to be gone, for snubFor; three times, and it is dropped.
	leastSilence = 1500 * time.Millisecond
	snubFor      = 5 * time.Second
	maxSnubs     = 3
	// edgeSilence is how long the edge may be silent before it is asked anew.
	edgeSilence = 4 * time.Second
	// maxLies is how often a peer may not have what it has announced.
	maxLies = 50
	// leastAnswer and two round trips are what a peer has to answer before what it was
	// asked for may be asked of another.
	leastAnswer = 100 * time.Millisecond
	// An edge is thin that gives less than thinShare times a stream's rate, as far as
	// thinSure of its sending has shown; of it thinAhead is asked at a time, by those whose
	// players are up to thinZone segments apart. What was measured counts for thinFor.
	thinShare = 1.5
	thinSure  = 500 * time.Millisecond
	thinAhead = time.Second
	thinZone  = 3
	thinFor   = 15 * time.Second
	// shownTimes is how much faster than the network a player is shown what is here already,
	// where the edge is not thin; leastShown how much faster than it plays at the least. With
	// that players choose the next lower rendition.
	shownTimes = 3
	leastShown = 1.25
	// reliefTimes is how much sooner peers must be expected to bring what a thin edge was
	// asked for before they are asked too.
	reliefTimes = 2
	// wasteShare and wasteFree bound what is asked for twice: a share of what came, and
	// bytes to begin with.
	wasteShare = 0.02
	wasteFree  = 256 << 10
	// maxFails is how often in turn the edge may fail at a segment that no peer has before
	// its readers are told.
	maxFails = 4
	// Pauses after an edge request that failed; readerPause is the longest while a reader waits
	// for what it was to bring.
	leastPause, mostPause = 250 * time.Millisecond, 5 * time.Second
	readerPause           = 500 * time.Millisecond
)
