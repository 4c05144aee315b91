package track

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
)

// Page is a run of consecutive segments of a track.
type Page struct {
	Track    ID
	First    int   // number of the first segment
	Piece    int   // number of its first piece
	Offset   int64 // number of its first byte
	Ended    bool  // nothing follows
	Segments []Segment
}

// Append appends the unsigned encoding of p to b.
func (p *Page) Append(b []byte) []byte {
	var flags byte
	if p.Ended {
		flags |= flagEnded
	}
	b = append(b, pageMagic[:]...)
	b = append(b, version, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Segments)))
	b = append(b, p.Track[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(p.First))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Piece))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Offset))
	for i := range p.Segments {
		b = p.Segments[i].append(b)
	}
	return b
}

// Sign returns the signed page.
func (p *Page) Sign(key ed25519.PrivateKey) []byte {
	return sign(p.Append(nil), key, pageContext)
}

// ParsePage reads a signed page that fills b exactly, and checks that one of the
// trusted keys has signed it; else the error is [ErrMalformed] or
// [manifest.ErrSignature].
func ParsePage(b []byte, trusted []ed25519.PublicKey) (*Page, error) {
	body, err := check(b, pageSize, MaxPage, trusted, pageContext)
	if err != nil {
		return nil, fmt.Errorf("track page: %w", err)
	}
	return DecodePage(body)
}

// DecodePage reads an unsigned page that fills b exactly and believes it, as
// [DecodeHeader] does.
func DecodePage(body []byte) (*Page, error) {
	if len(body) < pageSize {
		return nil, fmt.Errorf("%w: page of %d bytes", ErrMalformed, len(body))
	}
	n := int(binary.BigEndian.Uint16(body[6:]))
	if [4]byte(body[:4]) != pageMagic || body[4] != version || body[5]&^flagEnded != 0 || n > MaxSegments {
		return nil, fmt.Errorf("%w: not a page of version %d with at most %d segments", ErrMalformed, version, MaxSegments)
	}
	offset := binary.BigEndian.Uint64(body[48:])
	p := &Page{
		Track: ID(body[8:40]), First: int(binary.BigEndian.Uint32(body[40:])), Piece: int(binary.BigEndian.Uint32(body[44:])),
		Offset: int64(offset), Ended: body[5]&flagEnded != 0,
	}
	if p.First > MaxPieces || p.Piece > MaxPieces || offset > 1<<62 {
		return nil, fmt.Errorf("%w: page from segment %d, piece %d, byte %d", ErrMalformed, p.First, p.Piece, offset)
	}
	body = body[pageSize:]
	for range n {
		s, size, err := parseSegment(body)
		if err != nil {
			return nil, err
		}
		p.Segments = append(p.Segments, s)
		body = body[size:]
	}
	if len(body) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the last segment", ErrMalformed, len(body))
	}
	return p, nil
}
