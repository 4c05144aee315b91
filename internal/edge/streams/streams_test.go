package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
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

// The media playlists of a multivariant playlist are one stream.
func TestMultivariant(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, o *origin, s *Streams) {
		o.set("/main.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8?q=1\n#EXT-X-STREAM-INF:BANDWIDTH=3\nhttp://other.example/c.m3u8\n")
		for _, k := range []string{"/a.m3u8", "/b.m3u8?q=1", "/other.m3u8"} {
			o.set(k, list(0, 3, 2, endList))
		}
		if ids := serve(o, s, "/main.m3u8"); len(ids) > 0 {
			t.Errorf("tracks %v of the multivariant playlist", ids)
		}
		a, b := serveOne(t, o, s, "/a.m3u8"), serveOne(t, o, s, "/b.m3u8?q=1")
		other := serveOne(t, o, s, "/other.m3u8")
		id := copyOf(t, s, a).Header.Stream
		if copyOf(t, s, b).Header.Stream != id || copyOf(t, s, other).Header.Stream == id {
			t.Error("streams are mixed up")
		}
		for _, k := range []string{"/main.m3u8", "/a.m3u8", "/b.m3u8?q=1", "/a.m3u8?_HLS_msn=3&_HLS_part=1"} {
			if got, ok := s.Stream(k); !ok || got != id {
				t.Errorf("%s is of stream %v, %t", k, got, ok)
			}
		}
		if _, ok := s.Stream("/c.m3u8"); ok {
			t.Error("a playlist of another host has a stream")
		}
	})
}

// Media playlists use the variables of their multivariant playlist, those of a query as well
// (EXT-X-DEFINE).
func TestVariables(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/main.m3u8?v=7", "#EXTM3U\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"/x\"\n#EXT-X-DEFINE:QUERYPARAM=\"v\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8?v={$v}\n")
		o.set("/a.m3u8?v=7", "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"dir\"\n#EXT-X-DEFINE:QUERYPARAM=\"v\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$dir}/1.ts?{$v}\n#EXT-X-ENDLIST\n")
		serve(o, s, "/main.m3u8?v=7")
		id := serveOne(t, o, s, "/a.m3u8?v=7")
		if got, _ := names(t, s, id); !slices.Equal(got, []string{"/x/1.ts?7"}) {
			t.Errorf("the track has %v", got)
		}
		// Nobody else may import them.
		o.set("/b.m3u8", "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"dir\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$dir}/1.ts\n#EXT-X-ENDLIST\n")
		if ids := serve(o, s, "/b.m3u8"); len(ids) > 0 {
			t.Errorf("tracks %v", ids)
		}
	})
}

// What came in the query of one viewer's multivariant playlist is told to nobody else, and
// where two say otherwise nobody knows.
func TestVariablesOfViewers(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		define := "#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM=\"token\"\n#EXT-X-DEFINE:NAME=\"signed\",VALUE=\"/{$token}\"\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"%s\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n%s\n"
		use := "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"%s\"\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{$%[1]s}/1.ts\n#EXT-X-ENDLIST\n"
		for i, c := range []struct {
			variable, child, other string
			tracks                 int
		}{
			{"dir", "a.m3u8", "/x", 1},
			{"dir", "b.m3u8", "/y", 0},
			{"signed", "c.m3u8", "/x", 0},
			{"token", "d.m3u8", "/x", 0},
			{"token", "e.m3u8?t=secret", "/x", 1},
		} {
			o.set("/"+c.child, fmt.Sprintf(use, c.variable))
			for _, v := range []struct{ q, dir string }{{"secret", "/x"}, {"secret&b", c.other}} {
				top := fmt.Sprintf("/%d.m3u8?token=%s", i, v.q)
				o.set(top, fmt.Sprintf(define, v.dir, c.child))
				serve(o, s, top)
			}
			if ids := serve(o, s, "/"+c.child); len(ids) != c.tracks {
				t.Errorf("%s of %s: tracks %v", c.variable, c.child, ids)
			}
		}
	})
}

// Low-latency players ask for states of a playlist; it is one playlist.
func TestBlockingReload(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.m3u8?a=b", list(0, 3, 2))
		id := serveOne(t, o, s, "/l.m3u8?a=b")
		for _, q := range []string{"?a=b&_HLS_msn=3", "?_HLS_msn=3&a=b&_HLS_part=2&_HLS_skip=YES"} {
			if ids := s.Served("/l.m3u8"+q, "x", ""); len(ids) != 1 || ids[0] != id {
				t.Errorf("%s has tracks %v", q, ids)
			}
		}
		if len(s.playlists) != 1 {
			t.Errorf("%d playlists", len(s.playlists))
		}
	})
}

// Parts with URLs of their own are segments of the track.
func TestParts(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.m3u8", "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=1\n#EXT-X-MEDIA-SEQUENCE:5\n"+
			"#EXTINF:2,\n/5.ts\n#EXT-X-PART:DURATION=1,URI=\"/6.0.ts\"\n#EXT-X-PART:DURATION=1,URI=\"/6.1.ts\"\n#EXTINF:2,\n/6.ts\n#EXT-X-PART:DURATION=1,URI=\"/7.0.ts\"\n"+
			"#EXT-X-PART:DURATION=1,URI=\"/7.ts\",BYTERANGE=\"5@0\"\n")
		id := serveOne(t, o, s, "/l.m3u8")
		c := copyOf(t, s, id)
		for name, at := range map[string]time.Duration{"/5.ts": 10, "/6.0.ts": 12, "/6.1.ts": 13, "/6.ts": 12, "/7.0.ts": 14} {
			part := strings.Count(name, ".") == 2
			if seg, _, ok := c.Find(name); !ok || seg.Start != at*time.Second || seg.Part != part {
				t.Errorf("%s: %t, at %v, a part: %t", name, ok, seg.Start, seg.Part)
			}
		}
		if next, _ := c.Next(); next.Segment != 5 {
			t.Errorf("%d segments", next.Segment)
		}
	})
}

// lowLatency is the playlist of a stream of segments of two seconds in four parts
// when so many parts are there.
func lowLatency(parts int) string {
	first := max(0, parts/4-5)
	s := fmt.Sprintf("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MEDIA-SEQUENCE:%d\n", first)
	for i := 4 * first; i < parts; i++ {
		if i/4 > parts/4-2 {
			s += fmt.Sprintf("#EXT-X-PART:DURATION=0.5,URI=\"/%d.%d.mp4\"\n", i/4, i%4)
		}
		if i%4 == 3 {
			s += fmt.Sprintf("#EXTINF:2,\n/%d.mp4\n", i/4)
		}
	}
	return s
}

// A low-latency playlist is asked for what comes next, and every part is taken as
// soon as the origin has it.
func TestLowLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, begin := newOrigin(), time.Now().Add(-10*time.Second)
		loads := 0
		there := func() int { return int(time.Since(begin) / (500 * time.Millisecond)) }
		load := func(ctx context.Context, key string, _ int64) ([]byte, string, error) {
			loads++
			u, err := url.Parse(key)
			if err != nil {
				return nil, "", err
			}
			if msn := u.Query().Get("_HLS_msn"); msn != "" {
				var n, part int
				if _, err := fmt.Sscan(msn, &n); err != nil {
					return nil, "", err
				}
				if _, err := fmt.Sscan(u.Query().Get("_HLS_part"), &part); err != nil {
					return nil, "", err
				}
				for there() <= 4*n+part {
					pass(time.Until(begin.Add(time.Duration(4*n+part+1) * 500 * time.Millisecond)))
				}
			}
			b := lowLatency(there())
			return []byte(b), tagOf(b), nil
		}
		s, err := New(Config{Load: load, Take: o.take, Key: key(), Public: publicURL(t), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { shut(t, s) }()
		s.Served("/l.m3u8", "", "")
		synctest.Wait()
		c := copyOf(t, s, s.Served("/l.m3u8", "", "")[0])
		for range 40 {
			next := there()
			pass(time.Until(begin.Add(time.Duration(next+1)*500*time.Millisecond)) + time.Millisecond)
			synctest.Wait()
			c.follow(t, s)
			name := fmt.Sprintf("/%d.%d.mp4", next/4, next%4)
			if seg, _, ok := c.Find(name); !ok || seg.Start != time.Duration(next)*500*time.Millisecond {
				t.Fatalf("%s: %t, %+v", name, ok, seg)
			}
			if whole := fmt.Sprintf("/%d.mp4", next/4); next%4 == 3 {
				if _, _, ok := c.Find(whole); !ok {
					t.Fatalf("%s is not there", whole)
				}
			}
		}
		if loads > 42 {
			t.Errorf("%d loads for 40 parts", loads)
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

// A track outlives the edge, and goes on where it was.
func TestTracksAreKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		s := open(t, o, dir)
		o.set("/l.m3u8", list(0, 5, 2))
		id := serveOne(t, o, s, "/l.m3u8")
		c := copyOf(t, s, id)
		shut(t, s)
		path := filepath.Join(dir, id.String()+suffix)
		// A record that is not whole, as a crash leaves it, was never published.
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte{0, 0, 1, 0, 1, 2, 3, 4, 5}); err != nil {
			t.Fatal(err)
		}
		f.Close()

		s = open(t, o, dir)
		c.follow(t, s) // before anybody has asked for the playlist
		pass(time.Second)
		o.set("/l.m3u8", list(2, 5, 2))
		serve(o, s, "/l.m3u8")
		pass(minPace)
		if now := serveOne(t, o, s, "/l.m3u8"); now != id {
			t.Fatal("another track")
		}
		pass(2 * time.Second)
		synctest.Wait()
		c.follow(t, s)
		if next, _ := c.Next(); next.Segment != 7 {
			t.Errorf("%d segments", next.Segment)
		}
		if seg, _, ok := c.Find("/6.ts"); !ok || seg.Start != 12*time.Second {
			t.Errorf("%+v", seg)
		}
		if got, ok := s.Stream("/l.m3u8"); !ok || got != c.Header.Stream {
			t.Error("another stream")
		}
		shut(t, s)

		// The origin has begun anew meanwhile, with the same names.
		for i := range 10 {
			o.objects[fmt.Sprintf("/%d.ts", i)] = fmt.Sprintf("new %d", i)
		}
		o.set("/l.m3u8", list(4, 5, 2))
		s = open(t, o, dir)
		defer func() { shut(t, s) }()
		serve(o, s, "/l.m3u8")
		pass(time.Second)
		now := serveOne(t, o, s, "/l.m3u8")
		if now == id {
			t.Fatal("the same track for other bytes")
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the ended track is kept: %v", err)
		}
		got, _ := names(t, s, now)
		wantNames(t, "new run", got, 4, 9)
	})
}

// Files that are no tracks, and too many, are dropped.
func TestKeptRubbish(t *testing.T) {
	dir := t.TempDir()
	for name, b := range map[string]string{"empty": "", "short": "ab", "rubbish": strings.Repeat("x", 1000), "zeros": strings.Repeat("\x00", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inBubble(t, dir, func(t *testing.T, o *origin, s *Streams) {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v, %v", left, err)
		}
		o.set("/v.m3u8", list(0, 3, 2, endList))
		serveOne(t, o, s, "/v.m3u8")
	})
}

// Whoever comes while the origin begins anew, be it before the edge has noticed, or while
// what an edge kept is held against it, is told of no track that has other segments by
// the names of the playlist that he was given.
func TestNewcomersAtARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		s := open(t, o, dir)
		defer func() { shut(t, s) }()
		o.set("/l.m3u8", list(0, 3, 2))
		id := serveOne(t, o, s, "/l.m3u8")
		fresh := func(what string) {
			t.Helper()
			for range 100 {
				for _, now := range s.Served("/l.m3u8", tagOf(o.playlists["/l.m3u8"]), "") {
					c := copyOf(t, s, now)
					for _, name := range []string{"/0.ts", "/1.ts"} {
						seg, _, ok := c.Find(name)
						if want, err := o.take(t.Context(), name); err != nil || ok && seg.Manifest.ID() != want.Manifest.ID() {
							t.Fatalf("%s: %s of the run before is named, %v", what, name, err)
						}
					}
				}
				pass(10 * time.Millisecond)
			}
			if now := serveOne(t, o, s, "/l.m3u8"); now == id {
				t.Errorf("%s: still the track of before", what)
			} else {
				id = now
			}
		}
		slow := func(run string) { // the origin begins anew, and takes a while to answer
			o.mu.Lock()
			defer o.mu.Unlock()
			for i := range 10 {
				o.objects[fmt.Sprintf("/%d.ts", i)] = fmt.Sprint(run, i)
			}
			hold := make(chan struct{})
			o.hold = hold
			time.AfterFunc(300*time.Millisecond, func() {
				o.mu.Lock()
				o.hold = nil
				o.mu.Unlock()
				close(hold)
			})
		}
		slow("second")
		o.set("/l.m3u8", list(0, 2, 2))
		fresh("the same numbers")
		o.set("/l.m3u8", list(60, 3, 2))
		s.Served("/l.m3u8", tagOf(list(60, 3, 2)), "")
		pass(2 * time.Second)
		slow("third")
		o.set("/l.m3u8", list(0, 2, 2))
		fresh("lower numbers")
		shut(t, s)
		s = open(t, o, dir)
		slow("fourth")
		fresh("an edge that was away")
	})
}

// An encoder that begins anew over its files has the old ones still there: only what it
// has listed since is in the track of the new run, however much the new playlist looks
// like an old copy of the one before.
func TestNothingOfTheRunBefore(t *testing.T) {
	for what, c := range map[string]struct {
		asked []string
		bytes string // of the new run, before the number
	}{
		"all watched":     {[]string{"/0.ts", "/3.ts"}, "new "},
		"the end watched": {nil, "new "},
		"a loop":          {[]string{"/0.ts", "/3.ts"}, ""},
	} {
		inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
			const before = 30
			o.set("/l.m3u8", list(0, before, 2))
			id := serveOne(t, o, s, "/l.m3u8")
			for _, name := range c.asked {
				s.Served(name, tagOf(name), "")
			}
			synctest.Wait()
			for n := range before {
				name := fmt.Sprintf("/%d.ts", n)
				o.mu.Lock()
				o.objects[name] = c.bytes + name
				o.mu.Unlock()
				o.set("/l.m3u8", list(0, n+1, 2))
				for i := range 4 { // as a player does
					ids := serve(o, s, "/l.m3u8")
					if n > 3 && i == 3 && len(ids) != 1 {
						t.Fatalf("%s: %d tracks after %d segments", what, len(ids), n)
					}
					for _, now := range ids {
						got, _ := names(t, s, now)
						if now == id {
							t.Fatalf("%s: the track of the run before", what)
						}
						wantNames(t, what, got, 0, n+1)
					}
					s.Served(name, tagOf(c.bytes+name), "")
					pass(500 * time.Millisecond)
				}
			}
		})
	}
}
