package tandem

import (
	"context"
	"errors"
	"io"

	"github.com/tandem-cdn/tandem/internal/agent"
)

// Stream is an HLS or DASH presentation, by one of its playlists. It is safe for
// concurrent use.
type Stream struct {
	c *Client
	s *agent.Stream
}

// OpenStream gets an HLS media playlist, or a DASH MPD, and takes part in the stream that
// it is of, if the server is an edge that follows it. Peers are found while the first
// segments come from the server, so that nothing begins later than without them. From any
// other server all comes in the ordinary way. ctx bounds the request for the playlist;
// the stream is shared, if the client shares at all, until it is closed.
func (c *Client) OpenStream(ctx context.Context, playlist string) (*Stream, error) {
	s, err := c.engine.OpenStream(ctx, playlist)
	if err != nil {
		return nil, err
	}
	out := &Stream{c: c, s: s}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.streams[out] = true
	}
	c.mu.Unlock()
	if closed {
		return nil, errors.Join(ErrInterrupted, s.Close())
	}
	return out, nil
}

// Playlist is the playlist as it was when the stream was opened. That of a live stream is
// to be asked for again with [Stream.Open], so that the stream knows at once when its origin
// has begun anew with the names of old segments.
func (s *Stream) Playlist() []byte {
	b, _, _ := s.s.Playlist()
	return b
}

// URL is where the playlist came from, after redirects: what its URIs are relative to.
func (s *Stream) URL() string {
	_, _, at := s.s.Playlist()
	return at.String()
}

// Open opens a segment, or anything else that belongs to the stream, by its URL, which may
// be relative to that of the playlist. It can be read while it arrives. Bytes of segments
// that the edge has described are verified before they are shown. Players are recognised
// by what they open: what comes next is fetched ahead from peers. ctx bounds the life of
// the Segment.
func (s *Stream) Open(ctx context.Context, segment string) (*Segment, error) {
	g, err := s.s.Open(ctx, segment)
	if err != nil {
		return nil, err
	}
	return &Segment{g}, nil
}

// Progress returns what the client has had of the stream so far.
func (s *Stream) Progress() StreamProgress {
	p := s.s.Progress()
	return StreamProgress{FromEdge: p.FromEdge, FromPeers: p.FromPeers, Wasted: p.Wasted, Uploaded: p.Uploaded, Peers: p.Peers}
}

// Close ends the part in the stream.
func (s *Stream) Close() error {
	s.c.mu.Lock()
	delete(s.c.streams, s)
	s.c.mu.Unlock()
	return s.s.Close()
}

// StreamProgress is a stream at one moment; sizes are in bytes. That of a stream that no
// edge follows is zero.
type StreamProgress struct {
	FromEdge, FromPeers int64
	Wasted              int64 // received and not needed, or not right
	Uploaded            int64 // sent to peers
	Peers               int   // connected now
}

// Segment is a segment that is read while it arrives. It is an [io.ReadSeekCloser] for one
// goroutine at a time.
type Segment struct{ s *agent.Segment }

// Size is the size in bytes, −1 when the server does not tell.
func (s *Segment) Size() int64 { return s.s.Size() }

// Read implements [io.Reader]. It waits for the next byte.
func (s *Segment) Read(p []byte) (int, error) { return s.s.Read(p) }

// Seek implements [io.Seeker].
func (s *Segment) Seek(offset int64, whence int) (int64, error) { return s.s.Seek(offset, whence) }

// Close has nothing more be fetched for it alone.
func (s *Segment) Close() error { return s.s.Close() }

var _ io.ReadSeekCloser = (*Segment)(nil)
