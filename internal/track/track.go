// Package track is the signed, growing description of one track of a stream: of
// one rendition of an HLS or DASH presentation. An edge that follows the playlist
// makes it; each of its segments is an object of its own, known by its manifest.
//
// A track is a [Header], which names it, and [Page]s, each a run of consecutive
// segments in the order in which the edge came to know them, which need not be that
// of the playlist. The pieces of all segments are numbered through, so that peers
// speak of the pieces of a track as of those of an object, and their bytes are
// counted through likewise. What has been published never changes: a track only
// grows, and one whose past would have to change is ended, and another begins.
//
// Header, all integers big-endian:
//
//	offset  size  field
//	0       4     magic "TDTR"
//	4       1     version (1)
//	5       3     reserved, 0
//	8       32    stream
//	40      8     when the edge began it, Unix milliseconds
//	48      2     n, length of the name
//	50      n     name: the path and query of the playlist, and for DASH "#" and the Representation's id
//
// The Track ID is the SHA-256 of exactly these bytes. Page:
//
//	0       4     magic "TDTP"
//	4       1     version (1)
//	5       1     flags: 1 the track has ended
//	6       2     n, number of segments
//	8       32    Track ID
//	40      4     number of the first segment
//	44      4     number of its first piece
//	48      8     number of its first byte
//	56      …     n segments
//
// Segment:
//
//	0       8     its start in the media's time, milliseconds
//	8       4     duration, milliseconds
//	12      1     flags: 1 initialization, 2 behind a discontinuity, 4 part of a segment
//	13      1     reserved, 0
//	14      2     n, length of the name
//	16      n     name: the path and query of its URL, on the host of the playlist
//	16+n    …     its unsigned manifest
//
// Both are followed by a signature block of package manifest. The package does no
// I/O and reads no clock.
package track

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Limits of the format. A parser refuses what lies outside before it allocates.
const (
	// MaxName bounds names of tracks and segments, in bytes.
	MaxName = 2048
	// MaxSegments bounds the segments of a page.
	MaxSegments = 256
	// MaxPage is the largest signed page, in bytes.
	MaxPage = 1 << 20
	// MaxHeader is the largest signed header, in bytes.
	MaxHeader = headerSize + MaxName + manifest.SignatureSize
	// MaxPieces bounds the pieces of a track. An edge begins another before.
	MaxPieces = manifest.MaxPieces
	// MaxSegmentSize is the largest segment, in bytes.
	MaxSegmentSize = 256 << 20

	headerSize  = 50
	pageSize    = 56
	segmentSize = 16
	version     = 1

	flagEnded         = 1
	flagInit          = 1
	flagDiscontinuity = 2
	flagPart          = 4

	headerContext = "tandem track v1\x00"
	pageContext   = "tandem track page v1\x00"
)

var (
	headerMagic = [4]byte{'T', 'D', 'T', 'R'}
	pageMagic   = [4]byte{'T', 'D', 'T', 'P'}
)

// ErrMalformed is wrapped by every error about bytes that are no header or page.
var ErrMalformed = errors.New("malformed track")

// ID names a track: the SHA-256 of its unsigned header. Peers open swarms by it.
type ID = manifest.ObjectID

// StreamID names a stream: all tracks of a presentation. It is drawn at random by
// the edge that begins to follow it; grants and the swarm at control are for it.
type StreamID = manifest.ObjectID

// Header names a track.
type Header struct {
	Stream StreamID
	Began  time.Time // to the millisecond
	Name   string
}

// Append appends the unsigned encoding of h to b.
func (h *Header) Append(b []byte) []byte {
	b = append(b, headerMagic[:]...)
	b = append(b, version, 0, 0, 0)
	b = append(b, h.Stream[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Began.UnixMilli()))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Name)))
	return append(b, h.Name...)
}

// ID returns the Track ID.
func (h *Header) ID() ID { return sha256.Sum256(h.Append(nil)) }

// Sign returns the signed header.
func (h *Header) Sign(key ed25519.PrivateKey) []byte {
	return sign(h.Append(nil), key, headerContext)
}

// ParseHeader reads a signed header that fills b exactly, and checks that one of
// the trusted keys has signed it; else the error is [ErrMalformed] or
// [manifest.ErrSignature].
func ParseHeader(b []byte, trusted []ed25519.PublicKey) (*Header, error) {
	body, err := check(b, headerSize, MaxHeader, trusted, headerContext)
	if err != nil {
		return nil, fmt.Errorf("track header: %w", err)
	}
	return DecodeHeader(body)
}

// DecodeHeader reads an unsigned header that fills b exactly and believes it: it is
// for who keeps headers of its own making.
func DecodeHeader(body []byte) (*Header, error) {
	if len(body) < headerSize {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrMalformed, len(body))
	}
	if [4]byte(body[:4]) != headerMagic || body[4] != version || [3]byte(body[5:8]) != [3]byte{} {
		return nil, fmt.Errorf("%w: not the header of one of version %d", ErrMalformed, version)
	}
	began := binary.BigEndian.Uint64(body[40:])
	h := &Header{Stream: StreamID(body[8:40]), Began: time.UnixMilli(int64(began)), Name: string(body[50:])}
	if int(binary.BigEndian.Uint16(body[48:])) != len(h.Name) || !ValidName(h.Name) || began > maxMillis {
		return nil, fmt.Errorf("%w: begun at %d, name %.80q", ErrMalformed, began, h.Name)
	}
	return h, nil
}

// Segment is one media segment of a track, or its initialization.
type Segment struct {
	Name          string        // path and query of its URL
	Start         time.Duration // in the media's time, to the millisecond
	Duration      time.Duration // to the millisecond
	Init          bool          // it has no media of its own
	Discontinuity bool          // it does not go on where the segment before it ended
	Part          bool          // its bytes are also in a segment that covers its time
	Manifest      *manifest.Manifest
}

// Validate reports whether the fields agree with the limits.
func (s *Segment) Validate() error {
	switch {
	case !ValidName(s.Name):
		return fmt.Errorf("%w: segment %.80q is not named by a path", ErrMalformed, s.Name)
	case s.Duration < 0 || s.Duration.Milliseconds() > 1<<32-1 || s.Start < 0 || s.Start.Milliseconds() > maxMillis:
		return fmt.Errorf("%w: segment %.80q begins at %v and lasts %v", ErrMalformed, s.Name, s.Start, s.Duration)
	case s.Init && s.Part:
		return fmt.Errorf("%w: segment %.80q is an initialization and a part of media", ErrMalformed, s.Name)
	case s.Manifest == nil || s.Manifest.Size == 0 || s.Manifest.Size > MaxSegmentSize:
		return fmt.Errorf("%w: segment %.80q without bytes, or with more than %d", ErrMalformed, s.Name, int64(MaxSegmentSize))
	}
	return s.Manifest.Validate()
}

// ValidName reports whether name is a path with what may follow it: printable
// ASCII as in a request line.
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > MaxName || name[0] != '/' {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Encoded is the size of the encoding, in bytes.
func (s *Segment) Encoded() int { return segmentSize + len(s.Name) + s.Manifest.Encoded() }

func (s *Segment) append(b []byte) []byte {
	var flags byte
	if s.Init {
		flags |= flagInit
	}
	if s.Discontinuity {
		flags |= flagDiscontinuity
	}
	if s.Part {
		flags |= flagPart
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.Start.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Duration.Milliseconds()))
	b = append(b, flags, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.Name)))
	b = append(b, s.Name...)
	return s.Manifest.Append(b)
}

// parseSegment reads a segment at the start of b and returns it with the number of
// bytes it takes.
func parseSegment(b []byte) (Segment, int, error) {
	if len(b) < segmentSize {
		return Segment{}, 0, fmt.Errorf("%w: page ends within a segment", ErrMalformed)
	}
	start, flags, n := binary.BigEndian.Uint64(b), b[12], int(binary.BigEndian.Uint16(b[14:]))
	if flags&^(flagInit|flagDiscontinuity|flagPart) != 0 || b[13] != 0 || start > maxMillis || len(b) < segmentSize+n {
		return Segment{}, 0, fmt.Errorf("%w: segment with flags %d, start %d, a name of %d bytes", ErrMalformed, flags, start, n)
	}
	m, size, err := manifest.Parse(b[segmentSize+n:])
	if err != nil {
		return Segment{}, 0, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	s := Segment{
		Name: string(b[segmentSize : segmentSize+n]), Manifest: m,
		Start:    time.Duration(start) * time.Millisecond,
		Duration: time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Millisecond,
		Init:     flags&flagInit != 0, Discontinuity: flags&flagDiscontinuity != 0, Part: flags&flagPart != 0,
	}
	return s, segmentSize + n + size, s.Validate()
}

// maxMillis is the latest time and start, 280 years: what a [time.Duration] holds.
const maxMillis = 1 << 43

func sign(b []byte, key ed25519.PrivateKey, context string) []byte {
	return manifest.AppendSignature(b, key, context, sha256.Sum256(b))
}

// check cuts the signature block off b and checks it.
func check(b []byte, least, most int, trusted []ed25519.PublicKey, context string) ([]byte, error) {
	end := len(b) - manifest.SignatureSize
	if end < least || len(b) > most {
		return nil, fmt.Errorf("%w: %d bytes, want %d to %d", ErrMalformed, len(b), least+manifest.SignatureSize, most)
	}
	if err := manifest.CheckSignature(b[end:], trusted, context, sha256.Sum256(b[:end])); err != nil {
		return nil, err
	}
	return b[:end], nil
}
