package streams

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/tandem-cdn/tandem/internal/stream"
	"github.com/tandem-cdn/tandem/internal/track"
)

const (
	// maxSegments bounds those of a track: nine hours of two seconds each. Then it
	// ends, and another begins. A live one does so earlier, because everybody who
	// comes reads it from its beginning: 2.5 MB where segments have 1 MB.
	maxSegments     = 16 << 10
	maxLiveSegments = 4 << 10
	// maxAnswer bounds the pages of one answer, in bytes.
	maxAnswer = 4 << 20
	// maxSigned is how many signed pages of a track are remembered.
	maxSigned = 4
)

// published is a track that clients can get. Its owner adds to it; everybody
// may read.
type published struct {
	*stream.Track
	key      ed25519.PrivateKey
	playlist string // key of the playlist
	file     *file  // nil where it is not kept

	mu      sync.Mutex
	changed chan struct{} // closed when there is more
	gone    bool
	signed  []signedPage // remembered, the newest last
}

// signedPage is a page as it was sent last. It is not right any more when the
// track has grown and the page has not: then its end was that of the track.
type signedPage struct {
	first, next int
	ended       bool
	bytes       []byte
}

func newPublished(t *stream.Track, playlist string, key ed25519.PrivateKey, f *file) *published {
	return &published{Track: t, key: key, playlist: playlist, file: f, changed: make(chan struct{})}
}

var errFull = errors.New("the track is full")

// add appends a segment, or only the end of the track where there is none. It is on
// disk before anybody is told, so that a track never goes on otherwise than it did.
// The error is errFull where there are most segments already.
func (p *published) add(s *track.Segment, end bool, most int) error {
	next, ended := p.Next()
	page := &track.Page{Track: p.ID, First: next.Segment, Piece: next.Piece, Offset: next.Offset, Ended: end}
	if s != nil {
		if ended || next.Segment >= most || next.Piece+s.Manifest.NumPieces() > track.MaxPieces {
			return errFull
		}
		page.Segments = []track.Segment{*s}
	}
	if p.file != nil {
		if err := p.file.append(page.Append(nil)); err != nil {
			return fmt.Errorf("keep track: %w", err)
		}
	}
	if err := p.Add(page); err != nil {
		return err
	}
	p.wake()
	return nil
}

// wake tells those who wait.
func (p *published) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// drop ends the waiting: the track is gone.
func (p *published) drop() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.wake()
	if p.file != nil {
		p.file.remove()
	}
}

// state returns nil if there is a segment from, or none will come; else what is
// closed when that may have changed. The error is [ErrGone].
func (p *published) state(from int) (changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, ended := p.Next()
	switch {
	case p.gone, from > next.Segment:
		return nil, ErrGone
	case from < next.Segment, ended:
		return nil, nil
	}
	return p.changed, nil
}

// pages returns the signed pages from a segment on, each with its length before
// it. Without a segment it is one that tells the end.
func (p *published) pages(from int) []byte {
	var b []byte
	for {
		s := p.page(from)
		if len(b) > 0 && len(b)+4+len(s.bytes) > maxAnswer {
			return b
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(s.bytes)))
		b = append(b, s.bytes...)
		if next, _ := p.Next(); s.next >= next.Segment || s.next == from {
			return b
		}
		from = s.next
	}
}

// page returns the signed page from a segment on. Those who follow a live track
// all ask for the same.
func (p *published) page(from int) signedPage {
	next, ended := p.Next()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range p.signed {
		if s.first != from {
			continue
		}
		if s.next == next.Segment && s.ended == ended || s.next < next.Segment && s.full() {
			return s
		}
		p.signed = append(p.signed[:i], p.signed[i+1:]...)
		break
	}
	page := p.Page(from)
	s := signedPage{first: from, next: page.First + len(page.Segments), ended: page.Ended, bytes: page.Sign(p.key)}
	if len(p.signed) == maxSigned {
		p.signed = p.signed[1:]
	}
	p.signed = append(p.signed, s)
	return s
}

// full says whether the page would not be longer if the track were.
func (s *signedPage) full() bool {
	return s.next-s.first == track.MaxSegments || len(s.bytes) > track.MaxPage/2
}
