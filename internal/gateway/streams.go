package gateway

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tandem-cdn/tandem/internal/agent"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/media/hls"
)

const (
	// maxStreams bounds the playlists that are remembered.
	maxStreams = 64
	// streamIdle is how long a stream is taken part in after the last request.
	streamIdle = 2 * time.Minute
	// tryAgain is when a playlist whose stream could not be joined is tried again.
	tryAgain = 10 * time.Second
	// maxSegment bounds what is taken for a segment before its track tells, in bytes.
	maxSegment = 16 << 20
)

// streams are those whose playlists have passed and tell of tracks. One playlist after
// the other is opened; those of one presentation share their part in the stream.
type streams struct {
	engine *agent.Engine

	mu     sync.Mutex
	open   map[string]*watched // by URL of the playlist
	closed bool
	gone   counted // what streams that were closed have had
}

// watched is one playlist that somebody plays.
type watched struct {
	*agent.Stream
	dir   string // of the playlist, with a slash
	host  string
	began time.Time
	used  time.Time
}

// counted are bytes by where they came from.
type counted struct{ edge, peers int64 }

// saw notes that a player is about to be given a playlist, answered with header h, and opens
// its stream, if it is shared and not open.
func (s *streams) saw(at *url.URL, h http.Header, playlist []byte) {
	key, other := hls.Plain(at.String())
	if u, err := url.Parse(key); other && err == nil { // one playlist, whatever state of it was asked for
		at = u
	}
	if w := s.playing(key); w != nil {
		w.Listed(playlist)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.closed || s.open[key] != nil {
		return
	}
	st := s.engine.GuardedStream(at, h, playlist)
	if st == nil {
		return
	}
	if len(s.open) >= maxStreams {
		s.drop(s.oldest())
	}
	s.open[key] = &watched{st, path.Dir(at.Path), at.Host, now, now}
}

// playing is the playlist of a URL that somebody plays; one that has failed is dropped when
// it is to be tried again.
func (s *streams) playing(key string) *watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, now := s.open[key], time.Now()
	if w == nil {
		return nil
	}
	if w.used = now; w.Failed() && now.Sub(w.began) >= tryAgain {
		s.drop(key)
		return nil
	}
	return w
}

// oldest is the playlist that was used longest ago. The mutex is held.
func (s *streams) oldest() (key string) {
	for k, w := range s.open {
		if key == "" || w.used.Before(s.open[key].used) {
			key = k
		}
	}
	return key
}

// drop closes a stream. The mutex is held.
func (s *streams) drop(key string) {
	w := s.open[key]
	delete(s.open, key)
	last := true // of those that share their part
	p := w.Progress()
	for _, o := range s.open {
		last = last && o.Progress().ID != p.ID
	}
	if last {
		s.gone.edge += p.FromEdge
		s.gone.peers += p.FromPeers
	}
	go func() { _ = w.Close() }() // it waits for what is under way
}

// of returns the stream that a URL may be a segment of: one that has it in a track, be it
// at another place of the MPD, else of the host's the one whose playlist is nearest above
// it.
func (s *streams) of(u *url.URL) *agent.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	var near *watched
	for _, w := range s.open {
		switch {
		case w.Has(u):
			w.used = time.Now()
			return w.Stream
		case w.host != u.Host:
			continue
		case strings.HasPrefix(u.Path, strings.TrimSuffix(w.dir, "/")+"/") && (near == nil || len(w.dir) > len(near.dir)):
			near = w
		}
	}
	if near == nil || near.Failed() {
		return nil
	}
	near.used = time.Now()
	return near.Stream
}

// run closes what nobody plays any more, and all in the end.
func (s *streams) run(ctx context.Context) {
	tick := time.NewTicker(streamIdle / 4)
	defer tick.Stop()
	for {
		now := time.Now()
		select {
		case <-ctx.Done():
		case now = <-tick.C:
		}
		over := ctx.Err() != nil
		s.mu.Lock()
		s.closed = over
		for key, w := range s.open {
			if over || now.Sub(w.used) > streamIdle {
				s.drop(key)
			}
		}
		s.mu.Unlock()
		if over {
			return
		}
	}
}

// sums are the bytes that streams have had.
func (s *streams) sums() counted {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, seen := s.gone, map[manifest.ObjectID]bool{}
	for _, w := range s.open {
		p := w.Progress()
		if seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		c.edge += p.FromEdge
		c.peers += p.FromPeers
	}
	return c
}

// mayBeSegment reports whether what is in no track yet looks like a segment of one: media,
// by its type or by its name where the server tells no type, and no more than is kept until
// the track is known.
func mayBeSegment(u *url.URL, seg *agent.Segment) bool {
	if seg.Size() > maxSegment {
		return false
	}
	media, _, _ := mime.ParseMediaType(seg.Header().Get("Content-Type"))
	switch kind, rest, _ := strings.Cut(media, "/"); kind {
	case "video", "audio":
		return true
	default:
		return (media == "" || rest == "octet-stream" || media == "text/plain") && slices.Contains(segmentNames, strings.ToLower(path.Ext(u.Path)))
	}
}

// segmentNames are how segments end that web servers do not know the type of: those of
// MPEG-TS, fragmented MP4 (CMAF, ISO/IEC 23000-19, and DASH), and packed audio (RFC 8216 §3.4).
var segmentNames = []string{".ts", ".m4s", ".mp4", ".m4v", ".m4a", ".cmfv", ".cmfa", ".cmft", ".aac", ".mp3"}

// segment answers from a stream, if what is asked for may be part of one. A segment that
// is in no track yet passes through it all the same, so that it is shared once it is.
func (x *exchange) segment() bool {
	if x.r.Method != http.MethodGet || x.own != nil || conditional(x.r.Header) {
		return false
	}
	st := x.g.streams.of(x.url)
	if st == nil {
		return false
	}
	if r := x.header.Get("Range"); r != "" && r != "bytes=0-" && !st.Has(x.url) {
		return false // of a longer file, which is an object
	}
	seg, err := st.Open(x.r.Context(), x.url.String())
	if err != nil {
		return false // the server is asked again, and its answer passed on
	}
	defer func() { _ = seg.Close() }()
	if !seg.Shared() && !mayBeSegment(x.url, seg) {
		return false
	}
	h := x.w.Header()
	from := seg.Header()
	if from != nil && isPlaylist(x.url, from) {
		return false // to be rewritten
	}
	if from != nil {
		pass(h, from)
		x.allowPage(h)
	} else if kind := mime.TypeByExtension(path.Ext(x.url.Path)); kind != "" {
		h.Set("Content-Type", kind)
	}
	if seg.Size() >= 0 && len(x.header["Range"]) > 0 {
		http.ServeContent(x.w, x.r, "", time.Time{}, seg)
		return true
	}
	if seg.Size() >= 0 {
		h.Set("Content-Length", strconv.FormatInt(seg.Size(), 10))
	}
	x.w.WriteHeader(http.StatusOK)
	if _, err := io.Copy(x.w, seg.Paced()); err != nil && !errors.Is(err, context.Canceled) {
		x.g.log.Debug("gateway: segment broke off", "host", x.url.Host, "error", err)
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http has no other way to tell the client that this is not the whole
	}
	return true
}
