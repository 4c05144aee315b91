package streams

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
