package streams

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
