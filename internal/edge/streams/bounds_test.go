package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/media"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// Playlists beyond the bound are followed when others are not asked for any more.
func TestBoundOfPlaylists(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		for i := range maxPlaylists + 50 {
			k := fmt.Sprintf("/%d.m3u8", i)
			o.set(k, list(0, 2, 2, endList))
			pass(time.Second / maxLoads)
			if ids := serve(o, s, k); (len(ids) == 1) != (i < maxPlaylists) {
				t.Fatalf("playlist %d has tracks %v", i, ids)
			}
		}
		first := serveOne(t, o, s, "/0.m3u8")
		pass(spared + time.Second)
		s.Served("/1.ts", "", "") // which keeps none of those that list it
		if ids := serve(o, s, "/1000.m3u8"); len(ids) != 0 {
			t.Errorf("tracks %v of what is not there", ids)
		}
		if len(s.playlists) > maxPlaylists || len(s.tracks) > maxPlaylists {
			t.Errorf("%d playlists, %d tracks", len(s.playlists), len(s.tracks))
		}
		if _, ok := s.Header(first); !ok {
			t.Error("the one that was asked for last is gone")
		}
	})
}

// Queries that anybody can make up take no more than their share.
func TestBoundOfQueries(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		for i := range 100 {
			k := fmt.Sprintf("/v.m3u8?%d", i)
			o.set(k, list(0, 2, 2, endList))
			serve(o, s, k)
		}
		if len(s.playlists) != maxQueries {
			t.Errorf("%d playlists", len(s.playlists))
		}
	})
}

func TestBoundOfTracks(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		for i := range maxKept {
			var id track.ID
			id[0], id[1], id[2] = byte(i), byte(i>>8), 1
			s.tracks[id] = newPublished(stream.NewTrack(track.Header{Name: fmt.Sprint(i)}), "/followed.m3u8", key(), nil)
		}
		s.playlists["/followed.m3u8"] = newPlaylist(s, "/followed.m3u8", nil)
		o.set("/v.m3u8", list(0, 2, 2, endList))
		if ids := serve(o, s, "/v.m3u8"); len(ids) > 0 {
			t.Errorf("tracks %v", ids)
		}
	})
}

func TestBoundOfWaiters(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/l.m3u8", list(0, 2, 2))
		id := serveOne(t, o, s, "/l.m3u8")
		for range maxWaiting {
			s.waiting <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Pages(ctx, id, 2); !errors.Is(err, ErrBusy) {
			t.Errorf("one more waits: %v", err)
		}
		if b, err := s.Pages(ctx, id, 0); err != nil || b == nil {
			t.Errorf("who need not wait: %v", err)
		}
		<-s.waiting
		if b, err := s.Pages(ctx, id, 2); err != nil || b != nil {
			t.Errorf("in the place of another: %v", err)
		}
		if n := len(s.waiting); n != maxWaiting-1 {
			t.Errorf("%d wait", n)
		}
	})
}

// All playlists together are loaded no faster than the bound.
func TestBoundOfLoads(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		for i := range maxPlaylists {
			k := fmt.Sprintf("/%d.m3u8", i)
			o.set(k, list(0, 2, 0.01))
			s.Served(k, "", "")
		}
		pass(20 * time.Second)
		synctest.Wait()
		n := 0
		for i := range maxPlaylists {
			n += len(o.loaded(fmt.Sprintf("/%d.m3u8", i)))
		}
		if most := maxLoads * 21; n > most || n < most/2 {
			t.Errorf("%d loads in 20 s, want at most %d", n, most)
		}
	})
}

// A playlist that cannot be loaded is tried again ever more seldom.
func TestFailuresSlowDown(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		for range 60 {
			serve(o, s, "/none.m3u8")
			pass(10 * time.Second)
		}
		if n := len(o.loaded("/none.m3u8")); n < 15 || n > 40 {
			t.Errorf("%d loads in ten minutes", n)
		}
	})
}

// A track that is full ends, and another goes on; a live one is sooner.
func TestFullTrack(t *testing.T) {
	const more = 20
	for most, tag := range map[int]string{maxSegments: endList, maxLiveSegments: "#"} {
		inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
			text := list(0, most+more-2, 0.001, tag) // the initialization is in both
			o.set("/v.m3u8", strings.Replace(text, "#EXTINF", "#EXT-X-MAP:URI=\"/init.mp4\"\n#EXTINF", 1))
			first := serve(o, s, "/v.m3u8") // it is full by then
			if len(first) != 1 || len(s.tracks) != 2 {
				t.Fatalf("tracks %v, %d in all", first, len(s.tracks))
			}
			c := copyOf(t, s, first[0])
			if next, ended := c.Next(); next.Segment != more || ended != (tag == endList) {
				t.Errorf("the second has %d segments, ended %t", next.Segment, ended)
			}
			if _, _, ok := c.Find("/init.mp4"); !ok {
				t.Error("the second has no initialization")
			}
			for id, full := range s.tracks {
				if id == first[0] {
					continue
				}
				if next, ended := full.Next(); next.Segment != most || !ended {
					t.Errorf("the first has %d segments, ended %t", next.Segment, ended)
				}
			}
			if s.total != most+more {
				t.Errorf("%d segments in all", s.total)
			}
		})
	}
}

// The segments of all tracks together are bounded: what nobody uses makes room.
func TestBoundOfSegments(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.set("/idle.m3u8", list(0, 10, 2, endList))
		idle := serveOne(t, o, s, "/idle.m3u8")
		pass(spared + time.Second)
		s.mu.Lock()
		s.total = maxTotal
		s.mu.Unlock()
		o.set("/v.m3u8", strings.ReplaceAll(list(0, 10, 2, endList), "/", "/v/"))
		id := serveOne(t, o, s, "/v.m3u8")
		if next, _ := copyOf(t, s, id).Next(); next.Segment != 10 {
			t.Errorf("%d segments", next.Segment)
		}
		if _, ok := s.Header(idle); ok || s.total > maxTotal {
			t.Errorf("%d in all, and what nobody uses is there", s.total)
		}
	})
}

// A disk that is full, or gone, costs a track its life beyond this run and no more.
func TestTrackIsNotKept(t *testing.T) {
	inBubble(t, t.TempDir(), func(t *testing.T, o *origin, s *Streams) {
		s.cfg.Dir += "/gone"
		o.set("/v.m3u8", list(0, 10, 2, endList))
		id := serveOne(t, o, s, "/v.m3u8")
		if got, ended := names(t, s, id); len(got) != 10 || !ended {
			t.Errorf("%v, ended %t", got, ended)
		}
	})
}

func TestSlowSegments(t *testing.T) {
	inBubble(t, "", func(t *testing.T, o *origin, s *Streams) {
		o.hold = make(chan struct{})
		for i := range 40 {
			k := fmt.Sprintf("/%d.m3u8", i)
			o.set(k, strings.ReplaceAll(list(0, 10, 2, endList), "/", fmt.Sprintf("/%d/", i)))
			serve(o, s, k)
		}
		if n := len(s.taking); n != maxTaking {
			t.Errorf("%d segments are being taken", n)
		}
		close(o.hold)
		synctest.Wait()
		for id := range s.tracks {
			if got, ended := names(t, s, id); len(got) != 10 || !ended {
				t.Errorf("%v, ended %t", got, ended)
			}
		}
	})
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		key, media string
		want       kind
	}{
		{"/a.m3u8", "", isHLS},
		{"/a.M3U8?x", "application/octet-stream", isHLS},
		{"/a", "Application/VND.apple.mpegurl; charset=utf-8", isHLS},
		{"/a", "audio/mpegurl", isHLS},
		{"/a.mpd", "text/plain", isDASH},
		{"/a", "application/dash+xml", isDASH},
		{"/a.ts", "video/mp2t", none},
		{"/a?.m3u8", "", none},
		{"/m3u8", "", none},
	} {
		if got := kindOf(c.key, c.media); got != c.want {
			t.Errorf("%s as %q is %v", c.key, c.media, got)
		}
	}
}

// What somebody asked for comes first, and an initialization before what needs it.
func TestOrderOfTaking(t *testing.T) {
	f := newFollow()
	now := time.Now()
	init := &media.Resource{URL: "http://h/init"}
	r := listed{}
	for i := range 30 {
		r.Segments = append(r.Segments, media.Segment{
			Resource: media.Resource{URL: fmt.Sprintf("http://h/%d", i)}, Number: uint64(i),
			Start: time.Duration(i) * 10 * time.Second, Duration: 10 * time.Second, Init: init,
		})
	}
	f.ask(now, "")
	if s := f.next(now); !s.load {
		t.Fatal("the playlist is not loaded")
	}
	f.took(now, "", &listing{single: true, base: "http://h", renditions: []listed{r}})
	f.askFor(now, "/20", "")
	var order []string
	for {
		s := f.next(now)
		if len(s.take) == 0 {
			break
		}
		for _, w := range s.take {
			order = append(order, w.name)
			if _, it, v := f.got(now, w, Object{}, nil); v == publish {
				it.published(it.object)
			}
		}
	}
	got := strings.Join(order[:4], " ") + " … " + strings.Join(order[10:13], " ")
	if got != "/init /20 /21 /22 … /29 /0 /1" || len(order) != 1+13+10 {
		t.Errorf("%v", order)
	}
}

// An origin that says it waits, and does not, is asked no more often than others.
func TestBlockingThatDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		o := newOrigin()
		load := func(context.Context, string, int64) ([]byte, string, error) {
			loads.Add(1)
			return []byte(list(0, 5, 2, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES")), "x", nil
		}
		s, err := New(Config{Load: load, Take: o.take, Key: key(), Public: publicURL(t), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { shut(t, s) }()
		for range 20 {
			s.Served("/l.m3u8", "x", "")
			pass(time.Second)
		}
		if n := loads.Load(); n < 15 || n > 25 {
			t.Errorf("%d loads in 20 s", n)
		}
	})
}
