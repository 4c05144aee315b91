package streams

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/track"
)

// Of what does not change, what somebody will soon ask for is taken.
func TestVODTakesAhead(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/v.m3u8", list(0, 200, 10, endList))
		id := serveOne(t, o, s, "/v.m3u8")
		got, ended := names(t, s, id)
		if wantNames(t, "at first", got, 0, 13); ended {
			t.Error("the track has ended")
		}
		s.Served("/100.ts", "", "video/mp2t")
		synctest.Wait()
		got, _ = names(t, s, id)
		wantNames(t, "behind a jump", got[13:], 100, 113)
		for i := range 200 {
			s.Served(fmt.Sprintf("/%d.ts", i), "", "video/mp2t")
		}
		synctest.Wait()
		c := copyOf(t, s, id)
		if next, ended := c.Next(); !ended || next.Segment != 200 {
			t.Errorf("%d segments, ended %t", next.Segment, ended)
		}
		if seg, _, _ := c.Find("/100.ts"); seg.Start != 1000*time.Second || seg.Duration != 10*time.Second {
			t.Errorf("segment 100 is at %v", seg.Start)
		}
		if n := len(o.loaded("/v.m3u8")); n != 1 {
			t.Errorf("the playlist was loaded %d times", n)
		}
	})
}

// A live playlist is loaded at the pace of its format while somebody asks, and
// every new segment is taken at once.
func TestLivePace(t *testing.T) {
	for _, c := range []struct {
		seconds float64
		pace    time.Duration
	}{{2, time.Second}, {6, 3 * time.Second}, {0.01, 500 * time.Millisecond}} {
		inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
			o.set("/l.m3u8", list(100, 40, c.seconds))
			id := serveOne(t, o, s, "/l.m3u8")
			for range 5 {
				pass(4 * time.Second)
				s.Served("/l.m3u8", "", "")
			}
			if got, _ := names(t, s, id); !slices.Contains(got, "/139.ts") || slices.Contains(got, "/100.ts") && c.seconds > 1 {
				t.Errorf("at first: %v", got)
			}
			o.set("/l.m3u8", list(105, 40, c.seconds))
			pass(c.pace)
			synctest.Wait()
			if got, _ := names(t, s, id); !slices.Contains(got, "/144.ts") {
				t.Errorf("what is new is not there: %v", got)
			}
			pass(10 * time.Minute) // nobody asks
			loads := o.loaded("/l.m3u8")
			for i := 1; i < len(loads); i++ {
				if d := loads[i].Sub(loads[i-1]); d < c.pace {
					t.Fatalf("loaded again after %v", d)
				}
			}
			if most := int(2 * time.Minute / c.pace); len(loads) < 10 || len(loads) > most {
				t.Errorf("loaded %d times", len(loads))
			}
		})
	}
}

// Waiting for pages is asking.
func TestWaitingFollows(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.m3u8", list(0, 5, 2))
		id := serveOne(t, o, s, "/l.m3u8")
		for i := range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
			done := make(chan []byte)
			go func() {
				b, err := s.Pages(ctx, id, 5+i)
				if err != nil {
					t.Error(err)
				}
				done <- b
			}()
			pass(2 * time.Second)
			o.set("/l.m3u8", list(i+1, 5, 2))
			began := time.Now()
			if b := <-done; b == nil || time.Since(began) > time.Second {
				t.Fatalf("segment %d came after %v", 5+i, time.Since(began))
			}
			cancel()
		}
		if c := copyOf(t, s, id); c.NumPieces() != 105 {
			t.Errorf("%d pieces", c.NumPieces())
		}
	})
}

// The time of a track goes on when its playlist moves on.
func TestTimeGoesOn(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.m3u8", list(10, 5, 4))
		id := serveOne(t, o, s, "/l.m3u8")
		for i := 11; i < 40; i++ {
			o.set("/l.m3u8", list(i, 5, 4))
			pass(2 * time.Second)
			s.Served("/l.m3u8", "", "")
		}
		synctest.Wait()
		c := copyOf(t, s, id)
		next, _ := c.Next()
		for i := range next.Segment {
			seg, _ := c.Segment(i)
			var n int
			if _, err := fmt.Sscanf(seg.Name, "/%d.ts", &n); err != nil {
				t.Fatal(err)
			}
			if seg.Start != time.Duration(4*n)*time.Second {
				t.Fatalf("%s is at %v", seg.Name, seg.Start)
			}
		}
		if next.Segment != 34 {
			t.Errorf("%d segments", next.Segment)
		}
	})
}

// A playlist that begins anew, or contradicts itself, ends the track; an old copy of
// it does not.
func TestTracksEnd(t *testing.T) {
	for what, c := range map[string]struct {
		next string
		ends bool
	}{
		"goes on":     {list(102, 6, 2), false},
		"an old copy": {list(98, 6, 2), false},
		"begins anew": {list(0, 2, 2), true},
		"other names": {strings.ReplaceAll(list(101, 6, 2), ".ts", ".mp4"), true},
		"one other":   {strings.ReplaceAll(list(101, 6, 2), "/103.ts", "/x.ts"), true},
		"other times": {list(100, 6, 1), true},
		"ends":        {list(100, 6, 2, endList), false},
		"same names":  {list(100, 3, 2), true},
	} {
		inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
			o.set("/l.m3u8", list(100, 6, 2))
			id := serveOne(t, o, s, "/l.m3u8")
			first, _ := names(t, s, id)
			if what == "same names" { // of another run
				for i := range 200 {
					o.objects[fmt.Sprintf("/%d.ts", i)] = fmt.Sprintf("new %d", i)
				}
			}
			o.set("/l.m3u8", c.next)
			if ids := s.Served("/l.m3u8", tagOf(c.next), ""); len(ids) > 0 {
				t.Errorf("%s: %v is named with a version that was not read", what, ids)
			}
			pass(time.Second)
			if what == "an old copy" {
				if ids := serve(o, s, "/l.m3u8"); len(ids) > 0 {
					t.Errorf("%v is named with an old copy", ids)
				}
				o.set("/l.m3u8", list(101, 6, 2))
				s.Served("/l.m3u8", tagOf(list(101, 6, 2)), "")
				pass(time.Second)
			}
			now := serveOne(t, o, s, "/l.m3u8")
			if (now != id) != c.ends {
				t.Fatalf("%s: another track: %t", what, now != id)
			}
			if !c.ends {
				return
			}
			old, ended := names(t, s, id)
			if !ended || !slices.Equal(old, first) {
				t.Errorf("%s: the old track has %v, ended %t", what, old, ended)
			}
			if got, ended := names(t, s, now); len(got) == 0 || ended {
				t.Errorf("%s: the new track has %v, ended %t", what, got, ended)
			}
			if what == "same names" {
				for i := range 4 {
					o.set("/l.m3u8", list(100, 4+i, 2))
					pass(2 * time.Second)
				}
				if got, _ := names(t, s, now); !slices.Contains(got, "/106.ts") {
					t.Errorf("the new run goes on with %v", got)
				}
			}
			if a, b := copyOf(t, s, id).Header.Stream, copyOf(t, s, now).Header.Stream; a != b {
				t.Errorf("%s: another stream", what)
			}
			pass(retired + time.Second)
			synctest.Wait()
			if _, ok := s.Header(id); ok {
				t.Errorf("%s: the old track is there for ever", what)
			}
		})
	}
}

// A playlist that is another one each time is left alone for a while.
func TestPlaylistOfEveryViewer(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		var ids []track.ID
		for i := range 60 {
			o.set("/l.m3u8", strings.ReplaceAll(list(100, 6, 2), ".ts", fmt.Sprintf(".ts?viewer=%d", i)))
			serve(o, s, "/l.m3u8")
			pass(1500 * time.Millisecond)
			for _, id := range serve(o, s, "/l.m3u8") {
				if !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
		}
		if len(ids) != maxEnds {
			t.Errorf("%d tracks", len(ids))
		}
		if left := serve(o, s, "/l.m3u8"); len(left) > 0 {
			t.Errorf("tracks %v", left)
		}
		pass(endsIn)
		if now := serve(o, s, "/l.m3u8"); len(now) != 1 {
			t.Errorf("tracks %v: it has behaved for a while", now)
		}
	})
}

// What is missing for a moment is tried again, and what is missing for good not for
// ever.
func TestMissingSegments(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.missing["/1.ts"], o.missing["/2.ts"] = true, true
		o.set("/v.m3u8", list(0, 4, 2, endList))
		id := serveOne(t, o, s, "/v.m3u8")
		got, ended := names(t, s, id)
		if slices.Sort(got); !slices.Equal(got, []string{"/0.ts", "/3.ts"}) || ended {
			t.Fatalf("%v, ended %t", got, ended)
		}
		o.mu.Lock()
		delete(o.missing, "/1.ts")
		o.mu.Unlock()
		pass(time.Minute)
		synctest.Wait()
		got, ended = names(t, s, id)
		if slices.Sort(got); !slices.Equal(got, []string{"/0.ts", "/1.ts", "/3.ts"}) || !ended {
			t.Errorf("%v, ended %t", got, ended)
		}
		if n := o.takes["/2.ts"]; n != maxTries {
			t.Errorf("asked %d times for what is missing", n)
		}
	})
}
