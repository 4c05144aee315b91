package wire

import (
	"encoding/binary"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Open joins the sender to a swarm on this link, under a channel number of the
// sender's choice that all its later frames about the swarm carry. A second Open
// of the same object renews the grant. Frames about a swarm that the receiver
// has not opened itself wait for its own Open or are ignored.
//
//	u16 channel | 32 bytes object | u8 flags | u32 uplink | grant
type Open struct {
	Channel uint16
	Object  manifest.ObjectID
	Uploads bool   // the sender serves requests
	Uplink  uint32 // spare uplink in kbit/s, 0 = not known
	Grant   []byte // JWT in compact form
}

const openUploads = 1

// Type implements [Frame].
func (*Open) Type() Type { return TypeOpen }

// Append implements [Frame].
func (f *Open) Append(b []byte) []byte {
	b = appendHeader(b, TypeOpen, 2+32+1+4+len(f.Grant))
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	b = append(b, f.Object[:]...)
	var flags byte
	if f.Uploads {
		flags |= openUploads
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, f.Uplink)
	return append(b, f.Grant...)
}

func parseOpen(d *decoder) Frame {
	f := &Open{Channel: d.u16()}
	copy(f.Object[:], d.bytes(len(f.Object)))
	f.Uploads = d.u8()&openUploads != 0
	f.Uplink = d.u32()
	f.Grant = d.rest(MaxGrant)
	return f
}

// CloseReason says why a peer left a swarm.
type CloseReason uint8

// Reasons of [Close].
const (
	CloseDone     CloseReason = 0 // no longer interested
	CloseRefused  CloseReason = 1 // grant not accepted
	CloseExpired  CloseReason = 2 // grant expired
	CloseMisled   CloseReason = 3 // the other side sent wrong or unasked data
	CloseOverload CloseReason = 4 // too many links or channels
)

// Close ends the sender's part in a swarm.
//
//	u16 channel | u8 reason
type Close struct {
	Channel uint16
	Reason  CloseReason
}

// Type implements [Frame].
func (*Close) Type() Type { return TypeClose }

// Append implements [Frame].
func (f *Close) Append(b []byte) []byte {
	b = appendHeader(b, TypeClose, 3)
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	return append(b, byte(f.Reason))
}

func parseClose(d *decoder) Frame {
	return &Close{Channel: d.u16(), Reason: CloseReason(d.u8())}
}

// Bitfield announces every piece the sender has: after its Open, and again when
// it has accepted the other side's, which could make no use of an earlier one.
// Its length must fit the object's manifest.
//
//	u16 channel | bits
type Bitfield struct {
	Channel uint16
	Bits    []byte
}

// Type implements [Frame].
func (*Bitfield) Type() Type { return TypeBitfield }

// Append implements [Frame].
func (f *Bitfield) Append(b []byte) []byte {
	b = appendHeader(b, TypeBitfield, 2+len(f.Bits))
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	return append(b, f.Bits...)
}

func parseBitfield(d *decoder) Frame {
	return &Bitfield{Channel: d.u16(), Bits: d.rest((manifest.MaxPieces + 7) / 8)}
}

// Have announces pieces the sender has verified since.
//
//	u16 channel | u32 piece …
type Have struct {
	Channel uint16
	Pieces  []uint32
}

// Type implements [Frame].
func (*Have) Type() Type { return TypeHave }

// Append implements [Frame].
func (f *Have) Append(b []byte) []byte {
	b = appendHeader(b, TypeHave, 2+4*len(f.Pieces))
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	for _, p := range f.Pieces {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	return b
}

func parseHave(d *decoder) Frame {
	f := &Have{Channel: d.u16()}
	raw := d.rest(4 * MaxHaves)
	if len(raw)%4 != 0 {
		d.fail("%d bytes of piece numbers", len(raw))
		return nil
	}
	f.Pieces = make([]uint32, len(raw)/4)
	for i := range f.Pieces {
		f.Pieces[i] = binary.BigEndian.Uint32(raw[4*i:])
	}
	return f
}
