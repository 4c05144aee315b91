package agent

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// hinted is a stream of low latency whose pages and playlists a test brings.
type hinted struct {
	*Stream
	t     *testing.T
	track *tracking
	parts int
}

// newHinted has the first part, which the player has had.
func newHinted(t *testing.T) *hinted {
	ctx, cancel := context.WithCancel(t.Context())
	store := stream.NewStore(t.TempDir(), 1<<20, 1<<20)
	at := &url.URL{Scheme: "https", Host: "a.example", Path: "/l.m3u8"}
	s := &streaming{
		base: baseOf(at),
		d: stream.New(stream.Options{
			Config: stream.Config{Live: true}, Edge: silentEdge{}, Store: store,
			Announce: func(stream.TrackID, int) {}, Withdraw: func(stream.TrackID) {},
		}),
		grown: make(chan struct{}),
	}
	done := make(chan struct{})
	go func() { defer close(done); s.d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	tr := &tracking{Track: stream.NewTrack(track.Header{Name: "/l.m3u8"}), s: s, used: make(chan struct{}, 1)}
	tr.id = s.d.Add(tr.Track, 1)
	s.byID = []*tracking{tr}
	h := &hinted{Stream: &Stream{e: &Engine{openShows: newPresentations()}, at: at, shared: s}, t: t, track: tr}
	h.page()
	s.d.Adopt(tr.id, 0, h.bytes(0), time.Now(), time.Second)
	return h
}

// silentEdge never answers.
type silentEdge struct{}

func (silentEdge) Fetch(ctx context.Context, _ stream.TrackID, _ *track.Segment, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h *hinted) bytes(part int) []byte { return random(byte(part), 1000) }

// page publishes the next part.
func (h *hinted) page() {
	next, _ := h.track.Next()
	b := h.bytes(h.parts)
	m := &manifest.Manifest{Size: int64(len(b)), PieceSize: manifest.PieceSizeFor(int64(len(b))), Pieces: []manifest.Hash{sha256.Sum256(b)}}
	err := h.track.s.d.Grow(h.track.id, &track.Page{
		Track: h.track.ID, First: next.Segment, Piece: next.Piece, Offset: next.Offset,
		Segments: []track.Segment{{Name: partPath(h.parts), Start: time.Duration(h.parts) * time.Second / 2, Duration: time.Second / 2, Part: true, Manifest: m}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.parts++
	h.track.grew()
}

func partPath(i int) string { return fmt.Sprintf("/%d.m4s", i) }

// list has the playlist hint at a part.
func (h *hinted) list(part int) {
	list := "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n"
	for i := range part {
		list += fmt.Sprintf("#EXT-X-PART:DURATION=0.5,URI=\"%d.m4s\"\n", i)
	}
	h.Listed(fmt.Appendf(nil, "%s#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"%d.m4s\"\n", list, part))
}

// ask asks for a part, and returns how long that took and whether it is shared.
func (h *hinted) ask(part int) (time.Duration, bool) {
	began := time.Now()
	r := h.reader(h.t.Context(), &url.URL{Scheme: "https", Host: "a.example", Path: partPath(part)})
	took := time.Since(began)
	if r != nil {
		_ = r.Close() // which cannot fail
	}
	return took, r != nil
}

// TestHints: a part that is hinted at is waited for until it is in the track, but hardly
// longer than it would take to come from the server.
func TestHints(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		hint     int
		page     time.Duration // when it is in the track; 0: never
		goesOn   time.Duration // when the playlist lists it; 0: never
		repeated bool          // the playlist is loaded once more meanwhile
		took     time.Duration
		shared   bool
	}{
		"in the track in time":        {hint: 1, page: 480 * ms, goesOn: 500 * ms, took: 480 * ms, shared: true},
		"in the track after listing":  {hint: 1, page: 700 * ms, goesOn: 500 * ms, took: 700 * ms, shared: true},
		"the same hint again":         {hint: 1, page: 700 * ms, repeated: true, took: 700 * ms, shared: true},
		"never, though it is listed":  {hint: 1, goesOn: 500 * ms, took: 750 * ms},
		"never at all":                {hint: 1, took: 1250 * ms},
		"not hinted at":               {hint: 7, took: 250 * ms},
		"not hinted at, but any time": {hint: 7, page: 200 * ms, took: 200 * ms, shared: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHinted(t)
				h.list(tc.hint)
				synctest.Wait()
				if tc.page > 0 {
					time.AfterFunc(tc.page, h.page)
				}
				if tc.goesOn > 0 {
					time.AfterFunc(tc.goesOn, func() { h.list(2) })
				}
				if tc.repeated {
					time.AfterFunc(100*ms, func() { h.list(tc.hint) })
				}
				if took, shared := h.ask(1); took != tc.took || shared != tc.shared {
					t.Errorf("shared: %t, after %v, want %t, %v", shared, took, tc.shared, tc.took)
				}
			})
		})
	}
}

// TestHintsInVain: an edge that does not go on costs a player one wait.
func TestHintsInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHinted(t)
		h.list(1)
		synctest.Wait()
		if took, shared := h.ask(1); took != time.Second+pageWithin || shared {
			t.Fatalf("shared: %t, after %v", shared, took)
		}
		h.list(2)
		if took, _ := h.ask(2); took != pageWithin {
			t.Errorf("waited for another for %v", took)
		}
		<-time.After(lateFor)
		if took, _ := h.ask(2); took != time.Second+pageWithin {
			t.Errorf("waited for %v after a while", took)
		}
		if !h.Has(&url.URL{Scheme: "https", Host: "a.example", Path: partPath(2)}) || h.Has(&url.URL{Scheme: "https", Host: "a.example", Path: partPath(1)}) {
			t.Error("the part that is hinted at is another")
		}
	})
}
