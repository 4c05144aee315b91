package stream

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
)

// content is the bytes of the segment with that number.
func content(number int, size int64) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(number)), b...)[:size]
}

// segmentOf returns one of media, four seconds long, whose name and content are of
// that number.
func segmentOf(number int, size int64) track.Segment {
	m := &manifest.Manifest{Size: size, PieceSize: manifest.PieceSizeFor(size)}
	b := content(number, size)
	m.Digest = sha256.Sum256(b)
	for p := range slices.Chunk(b, int(m.PieceSize)) {
		m.Pieces = append(m.Pieces, sha256.Sum256(p))
	}
	return track.Segment{Name: fmt.Sprintf("/%d.ts", number), Start: time.Duration(number) * 4 * time.Second, Duration: 4 * time.Second, Manifest: m}
}

// sized returns one whose bytes do not matter.
func sized(number int, size int64) track.Segment {
	s := segmentOf(number, 1)
	s.Manifest = &manifest.Manifest{Size: size, PieceSize: piece, Pieces: make([]manifest.Hash, manifest.PieceCount(size, piece))}
	return s
}

func newTrack() *Track { return NewTrack(track.Header{Stream: track.StreamID{7}, Name: "/a.m3u8"}) }

// add appends segments and fails the test where they are refused.
func add(t rapid.TB, tr *Track, ended bool, segments ...track.Segment) {
	t.Helper()
	next, _ := tr.Next()
	if err := tr.Add(&track.Page{Track: tr.ID, First: next.Segment, Piece: next.Piece, Offset: next.Offset, Ended: ended, Segments: segments}); err != nil {
		t.Fatal(err)
	}
}

const piece = manifest.MinPieceSize

func TestNumbersThrough(t *testing.T) {
	tr := newTrack()
	sizes := []int64{100, 3 * piece, piece + 1}
	for i, size := range sizes {
		add(t, tr, false, segmentOf(i, size))
	}
	next, ended := tr.Next()
	if want := (Place{3, 6, 100 + 3*piece + piece + 1}); next != want || ended || tr.NumPieces() != 6 {
		t.Fatalf("%+v, %t, %d pieces", next, ended, tr.NumPieces())
	}
	for i, want := range []struct {
		segment int
		offset  int64
		length  int64
	}{{0, 0, 100}, {1, 100, piece}, {1, 100 + piece, piece}, {1, 100 + 2*piece, piece}, {2, 100 + 3*piece, piece}, {2, 100 + 4*piece, 1}} {
		s, at, ok := tr.Of(i)
		if !ok || at.Segment != want.segment || tr.Offset(i) != want.offset || tr.PieceLen(i) != want.length {
			t.Errorf("piece %d: segment %d, byte %d, %d bytes", i, at.Segment, tr.Offset(i), tr.PieceLen(i))
		}
		from := tr.Offset(i) - at.Offset
		b := content(at.Segment, s.Manifest.Size)[from : from+want.length]
		if !tr.Verify(i, b) || tr.Verify((i+1)%6, b) || tr.Verify(i, b[:len(b)-1]) {
			t.Errorf("piece %d does not verify, or another does", i)
		}
	}
	for _, i := range []int{-1, 6, 1 << 30} {
		if _, _, ok := tr.Of(i); ok || tr.PieceLen(i) != 0 || tr.Offset(i) != 0 || tr.Verify(i, nil) {
			t.Errorf("piece %d is known", i)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	tr := newTrack()
	add(t, tr, false, segmentOf(0, 100), segmentOf(1, piece+1))
	before, _ := tr.Next()
	p := func(first, piece int, offset int64) *track.Page {
		return &track.Page{Track: tr.ID, First: first, Piece: piece, Offset: offset, Segments: []track.Segment{segmentOf(2, 5)}}
	}
	other := p(2, 3, 101+piece)
	other.Track = track.ID{1}
	// Two manifests with pieces enough are refused together, and none stays.
	long := p(2, 3, 101+piece)
	huge := segmentOf(2, 5)
	huge.Manifest = &manifest.Manifest{Size: 1, PieceSize: piece, Pieces: make([]manifest.Hash, track.MaxPieces-10)}
	long.Segments = []track.Segment{segmentOf(2, 5), huge, segmentOf(3, 7*piece)}
	for what, page := range map[string]*track.Page{
		"gap": p(3, 3, 101+piece), "again": p(1, 1, 100), "from the beginning": p(0, 0, 0),
		"other piece": p(2, 4, 101+piece), "other byte": p(2, 3, 102+piece), "other track": other, "too many pieces": long,
	} {
		if tr.Add(page) == nil {
			t.Errorf("%s: accepted", what)
		}
		if after, ended := tr.Next(); after != before || ended {
			t.Fatalf("%s: the track is at %+v", what, after)
		}
	}
	add(t, tr, true)
	end := p(2, 3, 101+piece)
	if tr.Add(end) == nil {
		t.Error("segments behind the end: accepted")
	}
	add(t, tr, true) // which says nothing new
}

func TestFind(t *testing.T) {
	tr := newTrack()
	again := segmentOf(0, 300)
	add(t, tr, false, segmentOf(0, 100), segmentOf(1, 200), again)
	if s, at, ok := tr.Find("/0.ts"); !ok || at.Segment != 2 || s.Manifest.Size != 300 {
		t.Errorf("%+v at %+v: want the last of that name", s, at)
	}
	if _, _, ok := tr.Find("/2.ts"); ok {
		t.Error("found what is not there")
	}
	if s, at := tr.Segment(1); s.Name != "/1.ts" || at.Offset != 100 {
		t.Errorf("segment 1 is %+v at %+v", s, at)
	}
}

func TestBehind(t *testing.T) {
	tr := newTrack()
	init := track.Segment{Name: "/init", Init: true, Manifest: segmentOf(9, 9).Manifest}
	add(t, tr, false, init, segmentOf(4, 1), segmentOf(2, 1), segmentOf(3, 1))
	second := time.Second
	for _, c := range []struct {
		from, ahead time.Duration
		want        []int
	}{{0, 0, nil}, {0, 100 * second, []int{2, 3, 1}}, {8 * second, 8 * second, []int{2, 3}}, {9 * second, 8 * second, []int{3, 1}}, {17 * second, 9 * second, nil}} {
		if got := tr.Behind(c.from, c.ahead); !slices.Equal(got, c.want) {
			t.Errorf("from %v, %v ahead: %v, want %v", c.from, c.ahead, got, c.want)
		}
	}
}

// follow copies a track by its pages, as a client does.
func follow(t rapid.TB, from *Track) *Track {
	t.Helper()
	to := NewTrack(from.Header)
	for {
		next, _ := to.Next()
		p := from.Page(next.Segment)
		if err := to.Add(p); err != nil {
			t.Fatal(err)
		}
		if len(p.Segments) == 0 {
			return to
		}
		if n := len(p.Append(nil)) + manifest.SignatureSize; n > track.MaxPage || len(p.Segments) > track.MaxSegments {
			t.Fatalf("page of %d bytes, %d segments", n, len(p.Segments))
		}
	}
}

func same(t rapid.TB, a, b *Track) {
	t.Helper()
	if diff := cmp.Diff(a.segments, b.segments); diff != "" {
		t.Fatal(diff)
	}
	an, ae := a.Next()
	bn, be := b.Next()
	if an != bn || ae != be || !slices.Equal(a.places, b.places) {
		t.Fatalf("%+v %t and %+v %t", an, ae, bn, be)
	}
}

func TestPages(t *testing.T) {
	tr := newTrack()
	for i := range track.MaxSegments + 10 {
		add(t, tr, false, segmentOf(i, int64(1+i)))
	}
	// One whose manifest takes a fifth of a page: several must not share one.
	for i := range 12 {
		add(t, tr, i == 11, sized(1000+i, track.MaxSegmentSize))
	}
	same(t, tr, follow(t, tr))
}

// However a track is put together and cut, a client comes to the same, and every
// piece lies where the one before it ends.
func TestTrackProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := newTrack()
		sizes := rapid.SliceOfN(rapid.Int64Range(1, 4*piece), 0, 12).Draw(t, "sizes")
		for i, size := range sizes {
			add(t, tr, false, sized(i, size))
		}
		if rapid.Bool().Draw(t, "ended") {
			add(t, tr, true)
		}
		same(t, tr, follow(t, tr))
		var offset int64
		for i := range tr.NumPieces() {
			s, at, ok := tr.Of(i)
			if !ok || tr.Offset(i) != offset || i < at.Piece || i >= at.Piece+s.Manifest.NumPieces() {
				t.Fatalf("piece %d of segment %+v at byte %d, want %d", i, at, tr.Offset(i), offset)
			}
			offset += tr.PieceLen(i)
		}
		if next, _ := tr.Next(); next.Offset != offset || next.Segment != len(sizes) {
			t.Fatalf("ends at %+v, want byte %d", next, offset)
		}
		// Pages may begin anywhere.
		from := rapid.IntRange(0, len(sizes)+3).Draw(t, "from")
		if p := tr.Page(from); p.First != min(from, len(sizes)) || len(p.Segments) != max(0, len(sizes)-from) {
			t.Fatalf("from %d: page from %d with %d segments", from, p.First, len(p.Segments))
		}
	})
}
