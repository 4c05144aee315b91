// Package stream plays the tracks of HLS and DASH presentations from an edge and
// peers together (docs/DESIGN.md §5): what is urgent, what is fetched ahead and from
// whom, and where it is kept meanwhile.
package stream

import (
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/track"
)

// Track is what is known of a track, from its first segment to the last that came.
// It is safe for concurrent use.
type Track struct {
	Header track.Header
	ID     track.ID

	mu       sync.RWMutex
	segments []track.Segment
	places   []Place // of each segment
	byName   map[string]int
	next     Place
	ended    bool
}

// Place is where in a track a segment begins.
type Place struct {
	Segment int
	Piece   int
	Offset  int64 // bytes
}

// NewTrack returns a track without segments.
func NewTrack(h track.Header) *Track { return &Track{Header: h, ID: h.ID(), byName: map[string]int{}} }

// Next is where the segment after the last one begins, and whether there will be one.
func (t *Track) Next() (next Place, ended bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.next, t.ended
}

// Add appends the segments of a page, which must begin where the track is. One that
// does not, or goes on with a track that has ended, is refused and changes nothing.
func (t *Track) Add(p *track.Page) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch at := (Place{p.First, p.Piece, p.Offset}); {
	case p.Track != t.ID:
		return fmt.Errorf("%w: page of track %s, this is %s", track.ErrMalformed, p.Track, t.ID)
	case at != t.next:
		return fmt.Errorf("%w: page from %+v, the track is at %+v", track.ErrMalformed, at, t.next)
	case t.ended && len(p.Segments) > 0:
		return fmt.Errorf("%w: segments behind the end", track.ErrMalformed)
	}
	next := t.next
	for i := range p.Segments {
		if next.pass(&p.Segments[i]); next.Piece > track.MaxPieces {
			return fmt.Errorf("%w: more than %d pieces", track.ErrMalformed, track.MaxPieces)
		}
	}
	for i := range p.Segments {
		t.byName[p.Segments[i].Name] = len(t.segments)
		t.places = append(t.places, t.next)
		t.segments = append(t.segments, p.Segments[i])
		t.next.pass(&p.Segments[i])
	}
	t.ended = t.ended || p.Ended
	return nil
}

func (p *Place) pass(s *track.Segment) {
	p.Segment++
	p.Piece += s.Manifest.NumPieces()
	p.Offset += s.Manifest.Size
}

// Page returns the page from segment first on: as much as fits one.
func (t *Track) Page(first int) *track.Page {
	t.mu.RLock()
	defer t.mu.RUnlock()
	p := &track.Page{Track: t.ID, First: first}
	if first >= len(t.segments) {
		p.First, p.Piece, p.Offset, p.Ended = t.next.Segment, t.next.Piece, t.next.Offset, t.ended
		return p
	}
	p.Piece, p.Offset = t.places[first].Piece, t.places[first].Offset
	size := 0
	for _, s := range t.segments[first:] {
		size += s.Encoded()
		if len(p.Segments) == track.MaxSegments || size > track.MaxPage/2 && len(p.Segments) > 0 {
			return p
		}
		p.Segments = append(p.Segments, s)
	}
	p.Ended = t.ended
	return p
}

// Find returns the last segment of that name and its place.
func (t *Track) Find(name string) (track.Segment, Place, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, ok := t.byName[name]
	if !ok {
		return track.Segment{}, Place{}, false
	}
	return t.segments[i], t.places[i], true
}

// Segment returns a segment by its number, which must be known, and its place.
func (t *Track) Segment(i int) (track.Segment, Place) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.segments[i], t.places[i]
}

// Of returns the segment that a piece is of, with its place; false for a piece that
// is not known yet.
func (t *Track) Of(piece int) (track.Segment, Place, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if piece < 0 || piece >= t.next.Piece {
		return track.Segment{}, Place{}, false
	}
	i := sort.Search(len(t.places), func(i int) bool { return t.places[i].Piece > piece }) - 1
	return t.segments[i], t.places[i], true
}

// Behind returns the segments of media that begin within ahead of from, in the order
// of the media's time, by their numbers.
func (t *Track) Behind(from, ahead time.Duration) []int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var found []int
	for i := range t.segments {
		if s := &t.segments[i]; !s.Init && s.Start >= from && s.Start < from+ahead {
			found = append(found, i)
		}
	}
	sort.SliceStable(found, func(a, b int) bool { return t.segments[found[a]].Start < t.segments[found[b]].Start })
	return found
}

// NumPieces is the number of pieces known.
func (t *Track) NumPieces() int { next, _ := t.Next(); return next.Piece }

// Offset is where piece i begins among the bytes of the track.
func (t *Track) Offset(i int) int64 {
	s, at, ok := t.Of(i)
	if !ok {
		return 0
	}
	return at.Offset + s.Manifest.Offset(i-at.Piece)
}

// PieceLen is the length of piece i in bytes; 0 for one that is not known.
func (t *Track) PieceLen(i int) int64 {
	s, at, ok := t.Of(i)
	if !ok {
		return 0
	}
	return s.Manifest.PieceLen(i - at.Piece)
}

// At returns the piece that byte off of the track is in, and where in it.
func (t *Track) At(off int64) (piece int, begin int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i := sort.Search(len(t.places), func(i int) bool { return t.places[i].Offset > off }) - 1
	if i < 0 {
		return 0, off
	}
	at, size := t.places[i], t.segments[i].Manifest.PieceSize
	n := (off - at.Offset) / size
	return at.Piece + int(n), off - at.Offset - n*size
}

// Verify reports whether b is piece i.
func (t *Track) Verify(i int, b []byte) bool {
	s, at, ok := t.Of(i)
	return ok && s.Manifest.Verify(i-at.Piece, b)
}
