package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/media/hls"
	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// maxPlaylist bounds a playlist, in bytes.
	maxPlaylist = 8 << 20
	// pageWithin is how long a segment that its track should have is waited for, once the
	// player has something to play.
	pageWithin = 250 * time.Millisecond
	// mostHint bounds what a playlist may say of how long its parts are, twice.
	mostHint = 5 * time.Second
	// lateFor is how long no hinted part is waited for longer than that after one was in
	// vain.
	lateFor = 10 * time.Second
)

// Stream is an HLS or DASH presentation by one of its playlists. Segments that the edge has
// described come from peers and the edge together, all else from the server alone. It is
// safe for concurrent use.
type Stream struct {
	e        *Engine
	web      *http.Client
	guarded  bool
	at       *url.URL // of the playlist, after redirects
	playlist []byte
	header   http.Header
	cancel   context.CancelFunc
	ready    chan struct{} // closed when shared is set, or never will be

	mu     sync.Mutex
	shared *streaming // nil: none
	latest []byte     // playlist that came before shared was set; nil: the first
	closed bool
	hints  hints        // of the playlist as it was seen last
	waits  atomic.Int64 // bytes of segments that came before shared was set
}

// hints are the parts that a playlist hints at because they are not there yet.
type hints struct {
	names []string
	most  time.Duration // that one is waited for
	over  chan struct{} // closed when the playlist has gone on: they are there
}

// OpenStream gets the playlist and takes part in the stream that it tells of, if it does.
// It returns as soon as the playlist is here; the rest goes on beside, so that nothing is
// begun later than without peers. ctx bounds the request for the playlist. Close must be
// called in the end.
func (e *Engine) OpenStream(ctx context.Context, playlist string) (*Stream, error) {
	u, err := parseURL(playlist)
	if err != nil {
		return nil, err
	}
	s := &Stream{e: e, web: e.http, ready: make(chan struct{})}
	links, err := s.load(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	e.presented(false, s.at, s.playlist, nil)
	s.begin(links)
	return s, nil
}

// GuardedStream is OpenStream for a playlist that has come from at with header h, in a
// stream all of whose servers must pass [Config.Guard]; nil for one that lists no media.
func (e *Engine) GuardedStream(at *url.URL, h http.Header, playlist []byte) *Stream {
	if !listsMedia(playlist) || e.cfg.NoP2P || e.guarded == nil {
		return nil
	}
	s := &Stream{e: e, web: e.guarded, guarded: true, ready: make(chan struct{}), at: at, header: h, playlist: playlist}
	s.begin(trackLinks(at, h))
	return s
}

// listsMedia reports whether a playlist may be that of a track: it is an MPD, or a media
// playlist of HLS.
func listsMedia(playlist []byte) bool {
	return bytes.Contains(playlist, []byte("#EXTINF")) || bytes.Contains(playlist, []byte("<MPD"))
}

// hinted notes a state of the playlist: parts that it hints at
// (EXT-X-PRELOAD-HINT) are asked for before they are there. The server would hold such a
// request and then send the part to everybody; so it is waited for until the track has it.
func (s *Stream) hinted(playlist []byte) {
	urls, target := hls.Hints(playlist, s.at)
	h := hints{most: min(2*target, mostHint) + pageWithin, over: make(chan struct{})}
	for _, link := range urls {
		if u, err := url.Parse(link); err == nil {
			h.names = append(h.names, nameOf(u))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(h.names, s.hints.names) {
		return
	}
	if s.hints.over != nil {
		close(s.hints.over)
	}
	s.hints = h
}

// begin takes part in the stream of the tracks at links.
func (s *Stream) begin(links []*url.URL) {
	s.hinted(s.playlist)
	var joining context.Context
	joining, s.cancel = context.WithCancel(s.e.ctx)
	if !listsMedia(s.playlist) || s.e.cfg.NoP2P {
		close(s.ready)
		return
	}
	s.e.start(func() {
		defer close(s.ready)
		var err error
		if len(links) == 0 {
			links, err = s.ask(joining)
		}
		if err == nil && len(links) > 0 {
			err = s.join(joining, links)
		}
		if err != nil && joining.Err() == nil {
			s.e.log.Info("stream without peers", "url", s.at.Redacted(), "reason", err)
		}
	})
}

// askAfter are the pauses after which an edge that has answered without links to tracks
// is asked whether it has begun some: the first to ask for a playlist is answered before
// the edge has read it.
var askAfter = []time.Duration{300 * time.Millisecond, time.Second}

// ask asks for the links of a playlist that has come without, if it is an edge's at all.
func (s *Stream) ask(ctx context.Context) (links []*url.URL, err error) {
	if _, err := s.e.hosts.get(ctx, s.web, s.at); err != nil {
		return nil, nil //nolint:nilerr // an ordinary server
	}
	for _, pause := range askAfter {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, s.at.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrURL, err)
		}
		resp, err := s.web.Do(req)
		if err != nil {
			return nil, classify(err)
		}
		resp.Body.Close()
		if links = trackLinks(s.at, resp.Header); len(links) > 0 {
			break
		}
	}
	return links, nil
}

// load gets the playlist and the links to the tracks that it tells of.
func (s *Stream) load(ctx context.Context, u *url.URL) (links []*url.URL, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	resp, err := s.web.Do(req)
	if err != nil {
		return nil, classify(err)
	}
	defer resp.Body.Close()
	if !isWhole(resp) {
		return nil, newStatusError(resp)
	}
	b, err := io.ReadAll(io.LimitReader(newBody(ctx, resp.Body, flow{}), maxPlaylist+1))
	if err != nil {
		return nil, classify(err)
	}
	if len(b) > maxPlaylist {
		return nil, fmt.Errorf("%w: a playlist of more than %d bytes", ErrServer, maxPlaylist)
	}
	s.at, s.playlist, s.header = resp.Request.URL, b, resp.Header
	return trackLinks(s.at, resp.Header), nil
}

// trackLinks are where the headers of the tracks are that a playlist is answered with, on
// the same host.
func trackLinks(at *url.URL, h http.Header) (links []*url.URL) {
	eachLink(h, func(target, params string) bool {
		u, err := at.Parse(target)
		if err != nil || !hasParam(params, "rel", "describedby") || !hasParam(params, "type", wire.TrackType) {
			return true
		}
		_, err = manifest.ParseObjectID(path.Base(u.Path))
		if err == nil && u.Scheme == at.Scheme && u.Host == at.Host {
			links = append(links, u)
		}
		return len(links) < maxTracks
	})
	return links
}

// live reports whether a playlist will have further segments.
func live(playlist []byte) bool {
	if bytes.HasPrefix(bytes.TrimSpace(playlist), []byte("#EXTM3U")) {
		return !bytes.Contains(playlist, []byte("#EXT-X-ENDLIST"))
	}
	return bytes.Contains(playlist, []byte(`type="dynamic"`))
}

// Playlist is the playlist as it was at the beginning, with the header that came with it
// and the URL that it came from.
func (s *Stream) Playlist() (body []byte, h http.Header, at *url.URL) {
	return s.playlist, s.header, s.at
}

// join gets what is known of the tracks and takes part in their stream.
func (s *Stream) join(ctx context.Context, links []*url.URL) error {
	shared, err := s.e.follow(ctx, s, links)
	if err != nil {
		return err
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		shared.listed(s.at, s.playlist)
		if s.latest != nil {
			shared.listed(s.at, s.latest)
		}
		s.shared, s.latest = shared, nil
	}
	s.mu.Unlock()
	if closed {
		shared.release()
	}
	return nil
}

// Listed notes that a player was given the stream's playlist as it is now. Without being
// told, a stream notices later that its origin has begun anew.
func (s *Stream) Listed(playlist []byte) {
	s.hinted(playlist)
	s.mu.Lock()
	shared := s.shared
	if shared == nil {
		s.latest = playlist
	}
	s.mu.Unlock()
	if shared != nil {
		shared.listed(s.at, playlist)
	}
}

// Close ends the part in the stream, unless others of this engine take part in it.
func (s *Stream) Close() error {
	s.cancel()
	s.mu.Lock()
	shared, closed := s.shared, s.closed
	s.closed, s.shared = true, nil
	s.mu.Unlock()
	if shared != nil && !closed {
		shared.release()
	}
	<-s.ready
	return nil
}

// StreamProgress is a stream at one moment, in bytes. That of a stream of which nothing
// is shared is zero.
type StreamProgress struct {
	ID                                    manifest.ObjectID
	FromEdge, FromPeers, Wasted, Uploaded int64
	Peers                                 int
	Tracks                                int
}

// Progress returns where the stream is: what this engine has had of it, all its playlists
// and readers together.
func (s *Stream) Progress() StreamProgress {
	s.mu.Lock()
	shared := s.shared
	s.mu.Unlock()
	if shared == nil {
		return StreamProgress{}
	}
	return shared.progress()
}

// Has reports whether a URL is in one of the stream's tracks, or hinted at.
func (s *Stream) Has(u *url.URL) bool {
	s.mu.Lock()
	shared, h := s.shared, s.hints
	s.mu.Unlock()
	if shared == nil {
		return false
	}
	for _, name := range s.names(shared, u) {
		if _, _, ok := shared.d.Find(name); ok || slices.Contains(h.names, name) {
			return true
		}
	}
	return false
}

// Failed reports whether nothing of the stream is shared and nothing will be, or what was
// is gone: it is to be opened again.
func (s *Stream) Failed() bool {
	select {
	case <-s.ready:
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shared == nil || s.shared.gone.Load()
}

// Open opens a segment, or anything else that belongs to the stream, by its URL. What is
// in a track, is read as it arrives and verifies; all else, and all that fails before
// its first byte, is an ordinary GET.
func (s *Stream) Open(ctx context.Context, segment string) (*Segment, error) {
	u, err := s.at.Parse(segment)
	if err == nil {
		u, err = parseURL(u.String())
	}
	if err != nil {
		return nil, err
	}
	seg := &Segment{s: s, ctx: ctx, url: u, size: -1}
	if r := s.reader(ctx, u); r != nil {
		seg.r, seg.size = r, r.Size()
		return seg, nil
	}
	if err := seg.plain(0); err != nil {
		return nil, err
	}
	return seg, nil
}

// nameOf is how tracks name what is at a URL.
func nameOf(u *url.URL) string {
	name := u.EscapedPath()
	if u.RawQuery != "" {
		name += "?" + u.RawQuery
	}
	return name
}

// reader opens what is in a track; nil for anything else.
func (s *Stream) reader(ctx context.Context, u *url.URL) *stream.Reader {
	s.mu.Lock()
	shared, h := s.shared, s.hints
	s.mu.Unlock()
	if shared == nil {
		return nil
	}
	for _, name := range s.names(shared, u) {
		h := h
		if !slices.Contains(h.names, name) {
			h = hints{most: pageWithin}
		}
		if id, seg, ok := shared.find(ctx, name, h); ok {
			if r, err := shared.d.Open(ctx, id, seg); err == nil {
				return r
			}
		}
	}
	return nil
}

// maxWaits bounds what is kept of segments until their track is known, in bytes.
const maxWaits = 32 << 20

// came has a segment that came by an ordinary GET be shared, as soon as it is known to be
// in a track. It has come since began.
func (s *Stream) came(u *url.URL, b []byte, began time.Time) {
	if *u == *s.at {
		s.Listed(b)
		return
	}
	n := int64(len(b))
	names := s.e.shows(s.guarded).names(baseOf(s.at), u)
	if len(names) == 0 || s.waits.Add(n) > maxWaits {
		return
	}
	now := time.Now()
	s.e.start(func() {
		<-s.ready
		s.mu.Lock()
		shared := s.shared
		s.mu.Unlock()
		if shared != nil {
			shared.came(names[0], arrival{b, now, now.Sub(began)})
		}
		s.waits.Add(-n)
	})
}
