package sim

import (
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
)

// Stream makes an object one that is played while it comes: its segments are of equal
// size and duration, and it has one rendition. Downloads of it are viewers, whose time
// until Leave is what they watch.
type Stream struct {
	Live     bool
	Segments int
	Duration time.Duration // of a segment
	// Behind is how far behind what happens players of a live stream begin, wherever in a
	// segment that is. It went on before the beginning, for so long that there is as much.
	Behind time.Duration
	Buffer time.Duration // players ask for no more while they have as much ahead
}

// lead is how many segments of a live stream there are at the beginning.
func (s *Stream) lead() int { return int((s.Behind + s.Duration - 1) / s.Duration) }

// at is when a live stream had come to the beginning of a segment.
func (s *Stream) at(segment int) time.Duration {
	return time.Duration(segment-s.lead()) * s.Duration
}

// Place is when a segment of a live stream is there, or where in a film it begins.
func (s *Stream) Place(segment int) time.Duration {
	if !s.Live {
		return time.Duration(segment) * s.Duration
	}
	return s.at(segment + 1)
}

// published is how many segments there are at a time.
func (s *Stream) published(now time.Duration) int {
	if !s.Live {
		return s.Segments
	}
	return min(s.Segments, max(0, int((now+time.Duration(s.lead())*s.Duration)/s.Duration)))
}

// start is the segment that a player begins with, and how much of it is not shown. With
// little left of one it begins with the next.
func (s *Stream) start(now time.Duration) (segment int, skip time.Duration) {
	if !s.Live {
		return 0, 0
	}
	at := now + time.Duration(s.lead())*s.Duration - s.Behind
	segment, skip = int(at/s.Duration), at%s.Duration
	if s.Duration-skip < s.Duration/8 {
		segment, skip = segment+1, 0
	}
	if segment >= s.Segments {
		return s.Segments - 1, 0
	}
	return segment, skip
}

func (s *Stream) check() error {
	if s.Segments <= 0 || s.Duration < time.Millisecond || s.Buffer < s.Duration || s.Behind < 0 || s.Live && s.Behind < s.Duration {
		return fmt.Errorf("%d segments of %v, %v behind, a buffer of %v", s.Segments, s.Duration, s.Behind, s.Buffer)
	}
	return nil
}

// cut divides an object into the segments of its stream.
func (o *object) cut(s *Stream, piece int64) {
	o.stream, o.segSize = s, o.size/int64(s.Segments)
	if o.piece = piece; piece == 0 {
		o.piece = manifest.PieceSizeFor(o.segSize)
	}
	o.perSeg = manifest.PieceCount(o.segSize, o.piece)
	o.n = o.perSeg * s.Segments
	m := &manifest.Manifest{Size: o.segSize, PieceSize: o.piece, Pieces: make([]manifest.Hash, o.perSeg)}
	o.segs = make([]track.Segment, s.Segments)
	for i := range o.segs {
		o.segs[i] = track.Segment{Start: time.Duration(i) * s.Duration, Duration: s.Duration, Manifest: m}
	}
}

// View is how one viewer fared.
type View struct {
	Began   bool
	First   int           // segment
	Startup time.Duration // from the click to the first picture
	Watched time.Duration // of the media
	Stalled time.Duration // stood still after that
	Stalls  int           // how often
	Behind  time.Duration // of a live stream: behind what happens, at last
}

// Hop is what came over so many hops: 1 is from an edge, 2 from a peer that had it from an
// edge.
type Hop struct {
	Bytes int64
	// Pieces of live streams, of segments published while the viewer was there, and the
	// time from then until they were here, in steps of LatencyStep; the last has what
	// took longer.
	Pieces    int64
	Latencies []int64
}

const (
	// LatencyStep is the width of the steps of [Hop.Latencies].
	LatencyStep  = 20 * time.Millisecond
	latencySteps = 2000
	maxHops      = 24 // of more the last one has them
)

// hopTally counts what came over how many hops.
type hopTally struct {
	bytes, pieces [maxHops]int64
	latencies     [maxHops][]int64
}

// arrived counts a piece that has come to a viewer.
func (t *hopTally) arrived(v *viewer, hop uint8, piece int32, at time.Duration) {
	k := int(hop) - 1
	t.bytes[k] += v.o.pieceLen(piece)
	if !v.o.stream.Live {
		return
	}
	published := v.o.stream.at(int(piece)/v.o.perSeg + 1)
	if published < v.born {
		return
	}
	if t.latencies[k] == nil {
		t.latencies[k] = make([]int64, latencySteps)
	}
	t.pieces[k]++
	t.latencies[k][min(max(0, at-published)/LatencyStep, latencySteps-1)]++
}

// hopsOf sums up the shards.
func (w *world) hopsOf() []Hop {
	hops := make([]Hop, maxHops)
	last := 0
	for i := range w.shards {
		t := &w.shards[i].tally.hops
		for k := range hops {
			h := &hops[k]
			h.Bytes += t.bytes[k]
			h.Pieces += t.pieces[k]
			if h.Bytes > 0 {
				last = max(last, k+1)
			}
			if t.latencies[k] != nil && h.Latencies == nil {
				h.Latencies = make([]int64, latencySteps)
			}
			for j, n := range t.latencies[k] {
				h.Latencies[j] += n
			}
		}
	}
	return hops[:last]
}
