package sim

import "time"

// Result is what happened. Bytes are payload, duplicates included where it is not
// said otherwise.
type Result struct {
	Seed      uint64
	Simulated time.Duration // virtual time that went by
	Wall      time.Duration // time that the run took
	Complete  bool          // false: ended early by the context
	Outcomes  []Outcome     // by index of Config.Downloads
	Edges     []int64       // bytes sent by each edge
	Series    []Sample      // in order of time, evenly spaced
	Matrix    ASMatrix
	// Copies is, per object, the bytes edges sent of it over its size.
	Copies []float64
	// Polluted counts bytes that were stored, delivered or relayed unverified.
	Polluted int64
	// Violations counts the downloads that ended later than the scheduler's own
	// estimate of the edge alone and its guard allow.
	Violations int
	// Of streams; nil without. Views are by index of Config.Downloads, Segments what edges
	// sent of each segment but to those who began with it, all streams in turn, and Hops
	// what came over one hop, two, and so on.
	Views     []View
	Segments  []int64
	Hops      []Hop
	Transfers int64 // pieces delivered
	Events    int64 // calls of schedulers, for judging speed
}

// Outcome is the end of one download.
type Outcome struct {
	Started   bool
	Done      bool
	Took      time.Duration // from At to the last piece
	FromEdge  int64         // verified bytes
	FromPeers int64
	SameAS    int64 // part of FromPeers
	Wasted    int64 // duplicates and cancelled bytes
	Corrupt   int64 // of pieces that did not verify
	Peers     int   // peers it had at the end
}

// Sample is the state of the world in one interval.
type Sample struct {
	At        time.Duration // end of the interval
	Edge      int64         // bytes sent by edges in it
	Peers     int64         // bytes sent by peers in it
	Active    int           // downloads under way
	Seeds     int           // whole copies online that upload
	Uplink    float64       // bytes that uplinks of uploading active hosts and seeds could have sent in it
	Completed int           // downloads done so far
}

// ASMatrix is who sent to whom, by autonomous system: the largest by themselves,
// the others together as number 0.
type ASMatrix struct {
	AS    []uint32  // of rows and columns
	Bytes [][]int64 // from row to column
}
