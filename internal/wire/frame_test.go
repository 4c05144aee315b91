package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// read parses the frame that fills b.
func read(b []byte) (Frame, error) {
	typ, n, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if len(b) != HeaderSize+n {
		return nil, errors.New("the length is wrong")
	}
	return Parse(typ, b[HeaderSize:])
}

func TestGolden(t *testing.T) {
	sig := bytes.Repeat([]byte{0xaa}, 64)
	object := manifest.ObjectID(bytes.Repeat([]byte{0x0b}, 32))
	for _, c := range []struct {
		f    Frame
		want string
	}{
		{&Hello{Version: 1, Features: 2, Agent: "a/1"}, "0000000b" + "01" + "0001" + "00000002" + "03" + "612f31"},
		{&Ping{Nonce: 1}, "00000009" + "02" + "0000000000000001"},
		{&Pong{Nonce: math.MaxUint64}, "00000009" + "03" + "ffffffffffffffff"},
		{&Bye{Reason: "done"}, "00000006" + "04" + "04" + "646f6e65"},
		{&Open{Channel: 1, Object: object, Uploads: true, Uplink: 8000, Grant: []byte("g")}, "00000029" + "10" + "0001" + strings.Repeat("0b", 32) + "01" + "00001f40" + "67"},
		{&Close{Channel: 1, Reason: CloseExpired}, "00000004" + "11" + "0001" + "02"},
		{&Bitfield{Channel: 1, Bits: []byte{0x80}}, "00000004" + "12" + "0001" + "80"},
		{&Have{Channel: 1, Pieces: []uint32{5, 6}}, "0000000b" + "13" + "0001" + "00000005" + "00000006"},
		{&Request{Channel: 1, ID: 2, Piece: 3, Begin: 4, Length: 5}, "00000013" + "20" + "0001" + "00000002" + "00000003" + "00000004" + "00000005"},
		{&Request{Channel: 1, ID: 2, Piece: 3, Begin: 4, Length: 5, Urgency: UrgencyReader}, "00000014" + "20" + "0001" + "00000002" + "00000003" + "00000004" + "00000005" + "01"},
		{&Piece{ID: 2, Begin: 4, Data: []byte{0xff}}, "0000000a" + "21" + "00000002" + "00000004" + "ff"},
		{&Cancel{ID: 2}, "00000005" + "22" + "00000002"},
		{&Reject{ID: 2, Reason: RejectBusy, Retry: 500}, "0000000a" + "23" + "00000002" + "01" + "000001f4"},
		{&Reject{ID: 2, Reason: RejectBusy, Retry: 500, Uplink: 8000}, "0000000e" + "23" + "00000002" + "01" + "000001f4" + "00001f40"},
		{&Receipt{Channel: 1, Bytes: 65536, Signature: sig}, "0000004b" + "24" + "0001" + "0000000000010000" + strings.Repeat("aa", 64)},
	} {
		t.Run(c.f.Type().String(), func(t *testing.T) {
			got := c.f.Append([]byte("x"))[1:]
			if hex.EncodeToString(got) != c.want {
				t.Fatalf("encoded as %x, want %s", got, c.want)
			}
			back, err := read(got)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.f, back); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func drawFrame(t *rapid.T) Frame {
	u16 := func(name string) uint16 { return rapid.Uint16().Draw(t, name) }
	u32 := func(name string) uint32 { return rapid.Uint32().Draw(t, name) }
	some := func(name string, from, to int) []byte { return rapid.SliceOfN(rapid.Byte(), from, to).Draw(t, name) }
	text := func(limit int) string {
		return string(rapid.SliceOfN(rapid.ByteRange(0x20, 0x7e), 0, limit).Draw(t, "text"))
	}
	switch rapid.IntRange(0, 12).Draw(t, "kind") {
	case 0:
		return &Hello{Version: u16("version"), Features: u32("features"), Agent: text(MaxAgent)}
	case 1:
		return &Ping{Nonce: rapid.Uint64().Draw(t, "nonce")}
	case 2:
		return &Pong{Nonce: rapid.Uint64().Draw(t, "nonce")}
	case 3:
		return &Bye{Reason: text(MaxReason)}
	case 4:
		return &Open{Channel: u16("channel"), Object: manifest.ObjectID(some("object", 32, 32)), Uploads: rapid.Bool().Draw(t, "uploads"), Uplink: u32("uplink"), Grant: some("grant", 0, 100)}
	case 5:
		return &Close{Channel: u16("channel"), Reason: CloseReason(rapid.Byte().Draw(t, "reason"))}
	case 6:
		return &Bitfield{Channel: u16("channel"), Bits: some("bits", 0, 200)}
	case 7:
		return &Have{Channel: u16("channel"), Pieces: rapid.SliceOfN(rapid.Uint32(), 0, 20).Draw(t, "pieces")}
	case 8:
		begin := rapid.Uint32Range(0, manifest.MaxPieceSize-1).Draw(t, "begin")
		return &Request{Channel: u16("channel"), ID: u32("id"), Piece: u32("piece"), Begin: begin, Length: rapid.Uint32Range(1, manifest.MaxPieceSize-begin).Draw(t, "length"), Urgency: Urgency(rapid.Byte().Draw(t, "urgency"))}
	case 9:
		data := some("data", 1, 100)
		return &Piece{ID: u32("id"), Begin: rapid.Uint32Range(0, manifest.MaxPieceSize-uint32(len(data))).Draw(t, "begin"), Data: data}
	case 10:
		return &Cancel{ID: u32("id")}
	case 11:
		return &Reject{ID: u32("id"), Reason: RejectReason(rapid.Byte().Draw(t, "reason")), Retry: u32("retry"), Uplink: u32("uplink")}
	default:
		return &Receipt{Channel: u16("channel"), Bytes: rapid.Uint64().Draw(t, "bytes"), Signature: some("signature", 64, 64)}
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawFrame(t)
		b := f.Append(nil)
		typ, n, err := ParseHeader(b)
		if err != nil || typ != f.Type() || n != len(b)-HeaderSize {
			t.Fatalf("header %v with %d of %d bytes: %v", typ, n, len(b), err)
		}
		got, err := Parse(typ, b[HeaderSize:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		// A body that ends early is refused, but where the end is content.
		body := b[HeaderSize : HeaderSize+rapid.IntRange(0, n).Draw(t, "cut")]
		if short, err := Parse(typ, body); err == nil && !bytes.Equal(short.Append(nil)[HeaderSize:], body) {
			t.Fatalf("%x was read as %+v", body, short)
		}
	})
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		hex  string
		body int
		ok   bool
	}{
		{"00000001" + "02", 0, true},
		{"00020040" + "21", MaxFrame - 1, true},
		{"00000000" + "02", 0, false},
		{"00020041" + "21", 0, false},
		{"ffffffff" + "21", 0, false},
		{"00000001", 0, false},
		{"", 0, false},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		_, n, err := ParseHeader(b)
		if (err == nil) != c.ok || n != c.body {
			t.Errorf("%s: body of %d bytes, %v", c.hex, n, err)
		}
		if err != nil && !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v is not ErrFrame", c.hex, err)
		}
	}
}

func TestUnknownTypesAreSkipped(t *testing.T) {
	for typ := range 256 {
		f, err := Parse(Type(typ), nil)
		_, known := typeNames[Type(typ)]
		if !known && (f != nil || err != nil) {
			t.Errorf("type %d: %v, %v", typ, f, err)
		}
		if Type(typ).String() == "" {
			t.Errorf("type %d has no name", typ)
		}
	}
}

// Later versions put new fields behind the old ones.
func TestRoomForMore(t *testing.T) {
	for _, f := range []Frame{
		&Hello{Version: 7, Agent: "x"}, &Ping{}, &Pong{}, &Bye{}, &Close{},
		&Request{Length: 1, Urgency: UrgencyBackground}, &Cancel{}, &Reject{Uplink: 1}, &Receipt{Signature: make([]byte, 64)},
	} {
		b := append(f.Append(nil)[HeaderSize:], 1, 2, 3)
		got, err := Parse(f.Type(), b)
		if err != nil {
			t.Errorf("%v: %v", f.Type(), err)
			continue
		}
		if diff := cmp.Diff(f, got); diff != "" {
			t.Errorf("%v: %s", f.Type(), diff)
		}
	}
}

// What a program says about itself cannot make a frame that the other side
// refuses.
func TestTextsAreCleaned(t *testing.T) {
	long := strings.Repeat("Ü\n", 300)
	for _, f := range []Frame{&Hello{Agent: long}, &Bye{Reason: long}} {
		if _, err := read(f.Append(nil)); err != nil {
			t.Errorf("%v: %v", f.Type(), err)
		}
	}
}

func TestLargestFrames(t *testing.T) {
	for _, f := range []Frame{
		&Hello{Agent: strings.Repeat("x", MaxAgent)},
		&Bye{Reason: strings.Repeat("x", MaxReason)},
		&Open{Grant: make([]byte, MaxGrant)},
		&Bitfield{Bits: make([]byte, manifest.MaxPieces/8)},
		&Have{Pieces: make([]uint32, MaxHaves)},
		&Piece{Data: make([]byte, MaxData)},
	} {
		if _, err := read(f.Append(nil)); err != nil {
			t.Errorf("%v: %v", f.Type(), err)
		}
	}
	for _, f := range []Frame{
		&Open{Grant: make([]byte, MaxGrant+1)},
		&Bitfield{Bits: make([]byte, manifest.MaxPieces/8+1)},
		&Have{Pieces: make([]uint32, MaxHaves+1)},
		&Piece{Data: make([]byte, MaxData+1)},
	} {
		if _, err := read(f.Append(nil)); !errors.Is(err, ErrFrame) {
			t.Errorf("%v over its limit: %v", f.Type(), err)
		}
	}
}

func TestPieceHeader(t *testing.T) {
	whole := (&Piece{ID: 7, Begin: 9, Data: []byte("data")}).Append(nil)
	b := append(AppendPieceHeader(nil, 7, 9, 4), "data"...)
	if !bytes.Equal(b, whole) {
		t.Fatalf("%x, want %x", b, whole)
	}
	if id, begin := ParsePieceFixed([PieceFixed]byte(b[HeaderSize:])); id != 7 || begin != 9 {
		t.Fatalf("request %d, offset %d", id, begin)
	}
}

func FuzzFrame(f *testing.F) {
	for _, v := range validFrames() {
		f.Add(v.frame.Append(nil))
	}
	for _, v := range badFrames() {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, n, err := ParseHeader(b)
		if err != nil || len(b) < HeaderSize+n {
			return
		}
		body := b[HeaderSize : HeaderSize+n]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		frame, err := Parse(typ, body)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<10+uint64(8*n) {
			t.Fatalf("%d bytes allocated for %d", got, n)
		}
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Fatalf("error %v is not ErrFrame", err)
			}
			return
		}
		if frame == nil {
			return
		}
		again := frame.Append(nil)
		back, err := read(again)
		if err != nil {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
		if diff := cmp.Diff(frame, back); diff != "" {
			t.Fatal(diff)
		}
		if len(again) > HeaderSize+n {
			t.Fatalf("%x grew to %x", b, again)
		}
	})
}
