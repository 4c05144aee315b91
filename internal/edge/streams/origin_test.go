package streams

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

// origin is what an edge serves, as far as Streams asks.
type origin struct {
	mu        sync.Mutex
	playlists map[string]string
	objects   map[string]string      // content; what is not there has its name for content
	missing   map[string]bool        // no such segment
	loads     map[string][]time.Time // of playlists
	takes     map[string]int
	hold      chan struct{} // while it is there, segments wait for it
}

func newOrigin() *origin {
	return &origin{playlists: map[string]string{}, objects: map[string]string{}, missing: map[string]bool{}, loads: map[string][]time.Time{}, takes: map[string]int{}}
}

func (o *origin) set(key, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.playlists[key] = text
}

func tagOf(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

func (o *origin) load(_ context.Context, key string, _ int64) ([]byte, string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loads[key] = append(o.loads[key], time.Now())
	s, ok := o.playlists[key]
	if !ok {
		return nil, "", errors.New("no such playlist")
	}
	return []byte(s), tagOf(s), nil
}

func (o *origin) take(ctx context.Context, key string) (Object, error) {
	o.mu.Lock()
	o.takes[key]++
	s, ok := o.objects[key]
	missing, hold := o.missing[key], o.hold
	o.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return Object{}, ctx.Err()
		}
	}
	if missing {
		return Object{}, errors.New("no such segment")
	}
	if !ok {
		s = key
	}
	sum := sha256.Sum256([]byte(s))
	return Object{ETag: tagOf(s), Manifest: &manifest.Manifest{
		Size: int64(len(s)), PieceSize: manifest.MinPieceSize, Digest: sum, Pieces: []manifest.Hash{sum},
	}}, nil
}

func (o *origin) loaded(key string) []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.loads[key])
}

func key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

func publicURL(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse("http://edge.example")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func open(t *testing.T, o *origin, dir string) *Streams {
	t.Helper()
	s, err := New(Config{Load: o.load, Take: o.take, Key: key(), Public: publicURL(t), Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t *testing.T, s *Streams) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, dir string, test func(t *testing.T, o *origin, s *Streams)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := newOrigin()
		s := open(t, o, dir)
		defer func() { shut(t, s) }()
		test(t, o, s)
	})
}

// serve asks for a playlist, as a player does through the edge, and returns its
// tracks when everything has settled.
func serve(o *origin, s *Streams, key string) []track.ID {
	o.mu.Lock()
	tag := tagOf(o.playlists[key])
	o.mu.Unlock()
	s.Served(key, tag, "")
	synctest.Wait()
	return s.Served(key, tag, "")
}

// serveOne is serve for a playlist of one track.
func serveOne(t *testing.T, o *origin, s *Streams, key string) track.ID {
	t.Helper()
	ids := serve(o, s, key)
	if len(ids) != 1 {
		t.Fatalf("%s has tracks %v", key, ids)
	}
	return ids[0]
}

// follow brings a copy of a track up to date.
func (c *copied) follow(t *testing.T, s *Streams) {
	t.Helper()
	for {
		next, _ := c.Next()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b, err := s.Pages(ctx, c.ID, next.Segment)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return
		}
		for len(b) > 0 {
			n := binary.BigEndian.Uint32(b)
			p, err := track.ParsePage(b[4:4+n], []ed25519.PublicKey{key().Public().(ed25519.PublicKey)})
			if err == nil {
				err = c.Add(p)
			}
			if err != nil {
				t.Fatal(err)
			}
			b = b[4+n:]
		}
		if after, ended := c.Next(); ended || after == next {
			return
		}
	}
}

type copied struct{ *stream.Track }

// names are those of the segments of a track at present, and whether it has ended.
func names(t *testing.T, s *Streams, id track.ID) (found []string, ended bool) {
	t.Helper()
	c := copyOf(t, s, id)
	next, ended := c.Next()
	for i := range next.Segment {
		seg, _ := c.Segment(i)
		found = append(found, seg.Name)
	}
	return found, ended
}

func copyOf(t *testing.T, s *Streams, id track.ID) *copied {
	t.Helper()
	b, ok := s.Header(id)
	if !ok {
		t.Fatalf("track %s is gone", id)
	}
	h, err := track.ParseHeader(b, []ed25519.PublicKey{key().Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	c := &copied{stream.NewTrack(*h)}
	c.follow(t, s)
	return c
}

// list writes an HLS playlist of segments of the given seconds, which are named by
// their numbers.
func list(first, n int, seconds float64, tags ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-TARGETDURATION:%d\n#EXT-X-MEDIA-SEQUENCE:%d\n", max(1, int(seconds)), first)
	for i := range n {
		fmt.Fprintf(&b, "#EXTINF:%g,\n/%d.ts\n", seconds, first+i)
	}
	for _, tag := range tags {
		b.WriteString(tag + "\n")
	}
	return b.String()
}

const endList = "#EXT-X-ENDLIST"

func wantNames(t *testing.T, what string, got []string, from, to int) {
	t.Helper()
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("/%d.ts", i))
	}
	got = slices.Clone(got)
	slices.Sort(got)
	slices.Sort(all)
	if !slices.Equal(got, all) {
		t.Errorf("%s: %v, want /%d.ts to /%d.ts", what, got, from, to-1)
	}
}

// pass lets time pass on the clock of the bubble.
func pass(d time.Duration) { <-time.After(d) }
