package stream

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/track"
)

// joins are the segments that a plan wants made of their parts.
func joins(p *Plan, now time.Duration) (out []Join) {
	for _, a := range p.Tick(now) {
		if j, ok := a.(Join); ok {
			out = append(out, j)
		}
	}
	return out
}

// inParts is a segment of four parts of half a second from start on, all of size bytes a
// second.
func inParts(start time.Duration, rate float64) (parts []track.Segment, whole track.Segment) {
	for i := range 4 {
		s := fluidSegment(start+time.Duration(i)*time.Second/2, time.Second/2, rate)
		s.Part = true
		parts = append(parts, s)
	}
	return parts, fluidSegment(start, 2*time.Second, rate)
}

// TestJoins: a segment is made of its parts when all of them and the segment are known and
// here, in whatever order that comes about, and once.
func TestJoins(t *testing.T) {
	parts, whole := inParts(0, mbit)
	others, _ := inParts(2*time.Second, mbit)
	init := track.Segment{Name: "/init", Init: true, Manifest: others[0].Manifest}
	for name, order := range map[string][]track.Segment{
		"parts first":      slices.Concat([]track.Segment{init}, parts, []track.Segment{whole}, others),
		"whole first":      slices.Concat([]track.Segment{whole, init}, parts, others),
		"whole in between": {others[0], parts[2], parts[0], whole, parts[3], init, others[1], parts[1]},
	} {
		for _, early := range []bool{false, true} { // the bytes are here before the rest is known
			p := NewPlan(Config{Live: true})
			p.AddTrack(1)
			var want []int
			known, had := 0, 0
			have := func() {
				for ; had < known; had++ {
					if s := p.tracks[0].segs[had]; s.Part && s.Start < whole.Duration {
						for i := range s.pieces {
							p.Stored(0, s.first+i)
						}
					}
				}
			}
			var got []Join
			for _, s := range order {
				p.AddSegments(0, 0, []track.Segment{s})
				if known++; early {
					have()
				}
				got = append(got, joins(p, 0)...)
			}
			have()
			got = append(got, joins(p, 0)...)
			for _, part := range parts {
				want = append(want, slices.IndexFunc(order, func(s track.Segment) bool { return s.Part && s.Start == part.Start }))
			}
			no := slices.IndexFunc(order, func(s track.Segment) bool { return s.Duration == whole.Duration })
			if len(got) != 1 || got[0].Segment != no || !slices.Equal(got[0].Parts, want) {
				t.Errorf("%s, early: %t: %+v, want one of segment %d, of %v", name, early, got, no, want)
			}
		}
	}
}

// TestJoinsNoOthers: what is not as large as its parts together is not made of them.
func TestJoinsNoOthers(t *testing.T) {
	parts, whole := inParts(0, mbit)
	_, larger := inParts(0, 2*mbit)
	for name, segs := range map[string][]track.Segment{
		"a part is missing": append(slices.Clone(parts[:3]), whole),
		"of another size":   append(slices.Clone(parts), larger),
	} {
		p := NewPlan(Config{Live: true})
		p.AddTrack(1)
		p.AddSegments(0, 0, segs)
		for i := range p.tracks[0].segs[len(segs)-1].first {
			p.Stored(0, i)
		}
		if got := joins(p, 0); len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestPartsOrSegments: ahead of a player that plays parts no segments are fetched, and the
// other way round.
func TestPartsOrSegments(t *testing.T) {
	parts, whole := inParts(0, mbit)
	next, nextWhole := inParts(2*time.Second, mbit)
	all := slices.Concat(parts, []track.Segment{whole}, next, []track.Segment{nextWhole})
	for _, byParts := range []bool{true, false} {
		p := NewPlan(Config{Live: true})
		p.AddTrack(1)
		p.AddSegments(0, 0, all)
		for i, s := range all {
			if s.Start < whole.Duration && s.Part == byParts {
				p.Played(0, time.Second/10, 0, i)
			}
		}
		zone := p.zone(0)
		for _, z := range zone {
			if z.s.Part != byParts {
				t.Errorf("of a player of parts (%t): %v of %v is fetched", byParts, z.s.Start, z.s.Duration)
			}
		}
		if len(zone) == 0 {
			t.Errorf("of a player of parts (%t) nothing is fetched", byParts)
		}
	}
}

// TestStartsWithParts: what a player may have to have before it begins is got at once and
// nothing beside it, for it may begin anywhere in the segment.
func TestStartsWithParts(t *testing.T) {
	parts, whole := inParts(0, mbit)
	next, _ := inParts(2*time.Second, mbit)
	p := NewPlan(Config{Live: true})
	p.AddTrack(1)
	p.AddSegments(0, 0, slices.Concat([]track.Segment{whole}, parts, next))
	now := time.Duration(0)
	for i := range parts {
		seg := 1 + i
		p.OpenReader(now, ReaderID(i), 0, seg)
		var asked []int
		for _, a := range p.Tick(now) {
			if a, ok := a.(AskEdge); ok {
				asked = append(asked, a.Segment)
			}
		}
		if !slices.Equal(asked, []int{seg}) {
			t.Fatalf("for part %d the edge is asked for segments %v", i, asked)
		}
		s := p.tracks[0].segs[seg]
		for j := range s.pieces {
			p.EdgeBytes(now, i+1, s.pieceLen(s.first+j))
			p.EdgePiece(i+1, 0, s.first+j)
		}
		p.EdgeEnds(now, i+1, Outcome{OK: true})
		p.Delivered(now, ReaderID(i))
		p.CloseReader(ReaderID(i))
		now += 50 * time.Millisecond
	}
	if p.tracks[0].starting() || len(p.zone(now)) == 0 {
		t.Error("nothing is fetched ahead once the player must have begun")
	}
}

// TestJoinVerifies: what is made of parts is shared as far as it is right.
func TestJoinVerifies(t *testing.T) {
	for name, tc := range map[string]struct {
		other bool // the segment has other bytes than its parts
		want  int  // pieces
	}{"the same bytes": {false, 4 + 3}, "others behind the first piece": {true, 4 + 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var announced []int
				store := NewStore(t.TempDir(), 1<<20, 1<<20)
				d := New(Options{
					Config: Config{Live: true}, Store: store, Withdraw: func(TrackID) {},
					Announce: func(_ TrackID, piece int) { mu.Lock(); announced = append(announced, piece); mu.Unlock() },
				})
				ctx, cancel := context.WithCancel(t.Context())
				ran := make(chan struct{})
				go func() { defer close(ran); d.Run(ctx) }()
				tr := newTrack()
				id := d.Add(tr, 1)
				a, b := content(1, 100_000), content(2, 70_000)
				whole := slices.Concat(a, b)
				if tc.other {
					whole[len(a)]++
					whole[len(whole)-1]++
				}
				page := tr.Page(0)
				page.Segments = []track.Segment{
					{Name: "/0", Duration: time.Second, Part: true, Manifest: manifestOf(a)},
					{Name: "/1", Start: time.Second, Duration: time.Second, Part: true, Manifest: manifestOf(b)},
					{Name: "/s", Duration: 2 * time.Second, Manifest: manifestOf(whole)},
				}
				if err := d.Grow(id, page); err != nil {
					t.Fatal(err)
				}
				d.Adopt(id, 0, a, time.Now(), time.Second)
				d.Adopt(id, 1, b, time.Now(), time.Second)
				<-time.After(time.Second)
				synctest.Wait()
				cancel()
				<-ran
				if len(announced) != tc.want {
					t.Errorf("pieces %v are announced, want %d", announced, tc.want)
				}
				if got := d.Stats(); got.FromEdge != int64(len(a)+len(b)) || got.FromPeers != 0 || got.Wasted != 0 {
					t.Errorf("counted: %+v", got)
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func manifestOf(b []byte) *manifest.Manifest {
	m := &manifest.Manifest{Size: int64(len(b)), PieceSize: manifest.PieceSizeFor(int64(len(b)))}
	for i := range manifest.PieceCount(m.Size, m.PieceSize) {
		m.Pieces = append(m.Pieces, sha256.Sum256(b[m.Offset(i):][:m.PieceLen(i)]))
	}
	return m
}
