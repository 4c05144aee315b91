package wire

import (
	"crypto/ed25519"
	"encoding/binary"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Request asks for bytes of one piece. ID is chosen by the requester, unique
// among its outstanding requests on the link.
//
//	u16 channel | u32 id | u32 piece | u32 begin | u32 length [| u8 urgency]
type Request struct {
	Channel uint16
	ID      uint32
	Piece   uint32
	Begin   uint32 // offset in the piece, bytes
	Length  uint32 // bytes
	Urgency Urgency
}

// Urgency is how soon the requester needs a piece. It is a wish: uploaders weigh
// it against others'. Values not known count as normal.
type Urgency uint8

// Kinds of [Urgency].
const (
	UrgencyNormal     Urgency = 0
	UrgencyReader     Urgency = 1 // a reader waits for it
	UrgencyRelay      Urgency = 2 // the requester is to pass it on to many at once
	UrgencyBackground Urgency = 3 // there is time
)

// Type implements [Frame].
func (*Request) Type() Type { return TypeRequest }

// Append implements [Frame].
func (f *Request) Append(b []byte) []byte {
	n := 18
	if f.Urgency != UrgencyNormal {
		n++
	}
	b = appendHeader(b, TypeRequest, n)
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	b = binary.BigEndian.AppendUint32(b, f.ID)
	b = binary.BigEndian.AppendUint32(b, f.Piece)
	b = binary.BigEndian.AppendUint32(b, f.Begin)
	b = binary.BigEndian.AppendUint32(b, f.Length)
	if f.Urgency != UrgencyNormal {
		b = append(b, byte(f.Urgency))
	}
	return b
}

func parseRequest(d *decoder) Frame {
	f := &Request{Channel: d.u16(), ID: d.u32(), Piece: d.u32(), Begin: d.u32(), Length: d.u32()}
	if d.more() {
		f.Urgency = Urgency(d.u8())
	}
	if d.err == nil && (f.Length == 0 || uint64(f.Begin)+uint64(f.Length) > manifest.MaxPieceSize) {
		d.fail("bytes %d+%d of a piece", f.Begin, f.Length)
	}
	return f
}

// Piece carries bytes of one request, in order; the request is answered when
// all its bytes have been sent.
//
//	u32 id | u32 begin | data
type Piece struct {
	ID    uint32
	Begin uint32 // offset in the piece, bytes
	Data  []byte // 1..MaxData bytes
}

// PieceFixed is the size of a Piece body before the data, in bytes.
const PieceFixed = 8

// Type implements [Frame].
func (*Piece) Type() Type { return TypePiece }

// Append implements [Frame].
func (f *Piece) Append(b []byte) []byte {
	return append(AppendPieceHeader(b, f.ID, f.Begin, len(f.Data)), f.Data...)
}

// AppendPieceHeader appends a Piece frame up to its data, whose n bytes the
// caller sends behind it.
func AppendPieceHeader(b []byte, id, begin uint32, n int) []byte {
	b = appendHeader(b, TypePiece, PieceFixed+n)
	b = binary.BigEndian.AppendUint32(b, id)
	return binary.BigEndian.AppendUint32(b, begin)
}

// ParsePieceFixed reads the part of a Piece body before the data, for a reader
// that puts the data where it belongs without copying it.
func ParsePieceFixed(b [PieceFixed]byte) (id, begin uint32) {
	return binary.BigEndian.Uint32(b[:]), binary.BigEndian.Uint32(b[4:])
}

func parsePiece(d *decoder) Frame {
	f := &Piece{ID: d.u32(), Begin: d.u32(), Data: d.rest(MaxData)}
	switch {
	case d.err != nil:
	case len(f.Data) == 0:
		d.fail("no data")
	case uint64(f.Begin)+uint64(len(f.Data)) > manifest.MaxPieceSize:
		d.fail("bytes %d+%d of a piece", f.Begin, len(f.Data))
	}
	return f
}

// Cancel withdraws a request. The uploader may have sent some of it already.
//
//	u32 id
type Cancel struct{ ID uint32 }

// Type implements [Frame].
func (*Cancel) Type() Type { return TypeCancel }

// Append implements [Frame].
func (f *Cancel) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, TypeCancel, 4), f.ID)
}

func parseCancel(d *decoder) Frame { return &Cancel{ID: d.u32()} }

// RejectReason says why a request is not served.
type RejectReason uint8

// Reasons of [Reject].
const (
	RejectBusy    RejectReason = 1 // too much is queued; ask again after Retry
	RejectMissing RejectReason = 2 // the piece is not here
	RejectDenied  RejectReason = 3 // sharing is off, or the grant is missing or expired
	RejectError   RejectReason = 4 // the piece could not be read
)

// Reject answers a request that will not be served.
//
//	u32 id | u8 reason | u32 retry in milliseconds [| u32 uplink]
type Reject struct {
	ID     uint32
	Reason RejectReason
	Retry  uint32 // milliseconds
	Uplink uint32 // what the requester could be served at, kbit/s; 0 = not known
}

// Type implements [Frame].
func (*Reject) Type() Type { return TypeReject }

// Append implements [Frame].
func (f *Reject) Append(b []byte) []byte {
	n := 9
	if f.Uplink > 0 {
		n += 4
	}
	b = binary.BigEndian.AppendUint32(appendHeader(b, TypeReject, n), f.ID)
	b = append(b, byte(f.Reason))
	b = binary.BigEndian.AppendUint32(b, f.Retry)
	if f.Uplink > 0 {
		b = binary.BigEndian.AppendUint32(b, f.Uplink)
	}
	return b
}

func parseReject(d *decoder) Frame {
	f := &Reject{ID: d.u32(), Reason: RejectReason(d.u8()), Retry: d.u32()}
	if d.more() {
		f.Uplink = d.u32()
	}
	return f
}

// Receipt is the downloader's signed statement of the verified bytes it has had
// from the receiver of this frame, in all, for one object. It goes to the
// uploader on the link and to control in the report.
//
//	u16 channel | u64 bytes | 64 bytes signature
type Receipt struct {
	Channel   uint16
	Bytes     uint64
	Signature []byte
}

// Type implements [Frame].
func (*Receipt) Type() Type { return TypeReceipt }

// Append implements [Frame].
func (f *Receipt) Append(b []byte) []byte {
	b = appendHeader(b, TypeReceipt, 2+8+ed25519.SignatureSize)
	b = binary.BigEndian.AppendUint16(b, f.Channel)
	b = binary.BigEndian.AppendUint64(b, f.Bytes)
	return append(b, f.Signature...)
}

func parseReceipt(d *decoder) Frame {
	return &Receipt{Channel: d.u16(), Bytes: d.u64(), Signature: d.bytes(ed25519.SignatureSize)}
}

const receiptContext = "tandem receipt v1\x00"

// ReceiptBytes are the bytes that a receipt's signature covers: downloader had
// n bytes of object from uploader.
func ReceiptBytes(object manifest.ObjectID, uploader, downloader ed25519.PublicKey, n uint64) []byte {
	b := append([]byte(receiptContext), object[:]...)
	b = append(b, uploader...)
	b = append(b, downloader...)
	return binary.BigEndian.AppendUint64(b, n)
}
