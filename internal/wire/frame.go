package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderSize is the size of a frame's length and type, in bytes.
const HeaderSize = 5

// Type is the type of a frame. Unknown types are skipped.
type Type uint8

// The frame types.
const (
	TypeHello    Type = 1
	TypePing     Type = 2
	TypePong     Type = 3
	TypeBye      Type = 4
	TypeOpen     Type = 16
	TypeClose    Type = 17
	TypeBitfield Type = 18
	TypeHave     Type = 19
	TypeRequest  Type = 32
	TypePiece    Type = 33
	TypeCancel   Type = 34
	TypeReject   Type = 35
	TypeReceipt  Type = 36
)

var typeNames = map[Type]string{
	TypeHello: "HELLO", TypePing: "PING", TypePong: "PONG", TypeBye: "BYE",
	TypeOpen: "OPEN", TypeClose: "CLOSE", TypeBitfield: "BITFIELD", TypeHave: "HAVE",
	TypeRequest: "REQUEST", TypePiece: "PIECE", TypeCancel: "CANCEL", TypeReject: "REJECT",
	TypeReceipt: "RECEIPT",
}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("frame type %d", uint8(t))
}

// ErrFrame is wrapped by every error about a frame that breaks the protocol.
var ErrFrame = errors.New("malformed frame")

// Frame is one message on a link.
type Frame interface {
	// Type is the frame's type.
	Type() Type
	// Append appends the encoded frame, header included.
	Append(b []byte) []byte
}

// ParseHeader reads the header of a frame and returns its type and the length of
// its body in bytes.
func ParseHeader(b []byte) (Type, int, error) {
	if len(b) < HeaderSize {
		return 0, 0, fmt.Errorf("%w: header of %d bytes", ErrFrame, len(b))
	}
	n := binary.BigEndian.Uint32(b)
	if n < 1 || n > MaxFrame {
		return 0, 0, fmt.Errorf("%w: length %d outside 1..%d", ErrFrame, n, MaxFrame)
	}
	return Type(b[4]), int(n) - 1, nil
}

// Parse reads the body of a frame of type t. For a type it does not know it
// returns nil and no error: such frames are skipped. Slices in the result
// (PIECE data, bitfields, grants) alias body.
func Parse(t Type, body []byte) (Frame, error) {
	d := decoder{b: body, t: t}
	f := parseBody(t, &d)
	if d.err != nil {
		return nil, d.err
	}
	return f, nil
}

func parseBody(t Type, d *decoder) Frame {
	switch t {
	case TypeHello:
		return parseHello(d)
	case TypePing:
		return parsePing(d)
	case TypePong:
		return parsePong(d)
	case TypeBye:
		return parseBye(d)
	case TypeOpen:
		return parseOpen(d)
	case TypeClose:
		return parseClose(d)
	case TypeBitfield:
		return parseBitfield(d)
	case TypeHave:
		return parseHave(d)
	case TypeRequest:
		return parseRequest(d)
	case TypePiece:
		return parsePiece(d)
	case TypeCancel:
		return parseCancel(d)
	case TypeReject:
		return parseReject(d)
	case TypeReceipt:
		return parseReceipt(d)
	}
	return nil
}

// appendHeader appends the header of a frame whose body has n bytes.
func appendHeader(b []byte, t Type, n int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(n)+1)
	return append(b, byte(t))
}

// decoder reads fields off a body and remembers the first error. Bytes left over
// are room for later versions and ignored, unless end is called.
type decoder struct {
	b   []byte
	t   Type
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %v: %s", ErrFrame, d.t, fmt.Sprintf(format, args...))
	}
}

func (d *decoder) bytes(n int) []byte {
	if d.err != nil {
		return nil
	}
	if len(d.b) < n {
		d.fail("body ends %d bytes early", n-len(d.b))
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

// more reports whether there is a field that may be left out.
func (d *decoder) more() bool { return d.err == nil && len(d.b) > 0 }

func (d *decoder) u8() uint8 {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if b := d.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads a length-prefixed string of at most limit bytes; control characters
// are refused since such strings reach logs.
func (d *decoder) text(limit int) string {
	n := int(d.u8())
	if n > limit {
		d.fail("text of %d bytes, the limit is %d", n, limit)
		return ""
	}
	s := d.bytes(n)
	for _, c := range s {
		if c < 0x20 || c > 0x7e {
			d.fail("text has byte %#x", c)
			return ""
		}
	}
	return string(s)
}

// clean is s as a text field may carry it: at most limit bytes, with "?" for
// what is not printable ASCII.
func clean(s string, limit int) string {
	b := []byte(s[:min(len(s), limit)])
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			b[i] = '?'
		}
	}
	return string(b)
}

func appendText(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	return append(b, s...)
}

func (d *decoder) rest(limit int) []byte {
	if d.err == nil && len(d.b) > limit {
		d.fail("%d bytes where the limit is %d", len(d.b), limit)
		return nil
	}
	return d.bytes(len(d.b))
}
