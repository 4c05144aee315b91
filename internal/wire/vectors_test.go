package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/manifest/vectortest"
)

type reject struct {
	Name   string `json:"name"`
	Hex    string `json:"hex"`
	Reason string `json:"reason"`
}

// Numbers of 64 bits are decimal strings in the vectors, bytes are hexadecimal.
type frameVector struct {
	Name   string         `json:"name"`
	Type   int            `json:"type"`
	Fields map[string]any `json:"fields"`
	Hex    string         `json:"hex"`
	// Canonical is how the frame is written, where that is not how it was read.
	Canonical string `json:"canonical,omitempty"`
}

type frameFile struct {
	About  string        `json:"about"`
	Valid  []frameVector `json:"valid"`
	Skip   []reject      `json:"skip"`
	Reject []reject      `json:"reject"`
}

type namedFrame struct {
	name  string
	frame Frame
}

func validFrames() []namedFrame {
	object := manifest.ObjectID(bytes.Repeat([]byte{0x0b}, 32))
	return []namedFrame{
		{"hello", &Hello{Version: Version, Agent: "tandem/0.1"}},
		{"hello without a name", &Hello{Version: Version}},
		{"hello of a later version", &Hello{Version: 513, Features: 0x80000001, Agent: strings.Repeat("x", MaxAgent)}},
		{"ping", &Ping{Nonce: 0x0102030405060708}},
		{"pong", &Pong{Nonce: 1<<64 - 1}},
		{"bye", &Bye{Reason: "done"}},
		{"bye without a reason", &Bye{}},
		{"open, sharing", &Open{Channel: 1, Object: object, Uploads: true, Uplink: 20000, Grant: []byte("eyJ.e30.c2ln")}},
		{"open, not sharing", &Open{Channel: 65535, Object: object, Grant: []byte("eyJ.e30.c2ln")}},
		{"close, done", &Close{Channel: 1}},
		{"close, overload", &Close{Channel: 1, Reason: CloseOverload}},
		{"close for a reason to come", &Close{Channel: 1, Reason: 200}},
		{"bitfield", &Bitfield{Channel: 1, Bits: []byte{0xff, 0x80}}},
		{"bitfield of an empty object", &Bitfield{Channel: 1, Bits: []byte{}}},
		{"have", &Have{Channel: 1, Pieces: []uint32{0, 7, 1<<20 - 1}}},
		{"request", &Request{Channel: 1, ID: 1<<32 - 1, Piece: 3, Begin: 65536, Length: 32768}},
		{"request of the largest piece", &Request{Channel: 1, ID: 2, Length: manifest.MaxPieceSize}},
		{"request, urgent", &Request{Channel: 1, ID: 3, Piece: 3, Length: 65536, Urgency: UrgencyReader}},
		{"request of an urgency to come", &Request{Channel: 1, ID: 4, Piece: 3, Length: 65536, Urgency: 200}},
		{"piece", &Piece{ID: 2, Begin: 65536, Data: []byte("0123456789")}},
		{"last byte of the largest piece", &Piece{ID: 2, Begin: manifest.MaxPieceSize - 1, Data: []byte{0}}},
		{"cancel", &Cancel{ID: 2}},
		{"reject, busy", &Reject{ID: 2, Reason: RejectBusy, Retry: 1500}},
		{"reject, busy, with what is free", &Reject{ID: 2, Reason: RejectBusy, Retry: 1500, Uplink: 2500}},
		{"reject, denied", &Reject{ID: 2, Reason: RejectDenied}},
		{"receipt", &Receipt{Channel: 1, Bytes: 1 << 40, Signature: bytes.Repeat([]byte{0xaa}, 64)}},
	}
}

func badFrames() []reject {
	body := func(t Type, n int) string {
		return hex.EncodeToString(append(appendHeader(nil, t, n), make([]byte, n)...))
	}
	return []reject{
		{"no length", "000000", "the header has 5 bytes"},
		{"length 0", "0000000002", "type and body have at least 1 byte"},
		{"length over the limit", "0002004121", "type and body have at most 131136 bytes"},
		{"hello cut", body(TypeHello, 6), "the body is shorter than its fields"},
		{"hello with a long name", "00000049" + "01" + "0001" + "00000000" + "41" + strings.Repeat("78", 65), "names have at most 64 bytes"},
		{"hello with a name that is cut", "0000000a" + "01" + "0001" + "00000000" + "03" + "6161", "the body is shorter than its fields"},
		{"hello with a line end", "00000009" + "01" + "0001" + "00000000" + "01" + "0a", "texts are printable ASCII"},
		{"hello with UTF-8", "0000000a" + "01" + "0001" + "00000000" + "02" + "c3bc", "texts are printable ASCII"},
		{"ping cut", body(TypePing, 7), "the body is shorter than its fields"},
		{"pong cut", body(TypePong, 0), "the body is shorter than its fields"},
		{"bye without a length", body(TypeBye, 0), "the body is shorter than its fields"},
		{"bye with an escape", "00000003" + "04" + "01" + "1b", "texts are printable ASCII"},
		{"open cut", body(TypeOpen, 38), "the body is shorter than its fields"},
		{"open with a long grant", body(TypeOpen, 39+MaxGrant+1), "grants have at most 4096 bytes"},
		{"close cut", body(TypeClose, 2), "the body is shorter than its fields"},
		{"bitfield without a channel", body(TypeBitfield, 1), "the body is shorter than its fields"},
		{"have with half a number", body(TypeHave, 5), "piece numbers have 4 bytes"},
		{"have with too many", body(TypeHave, 2+4*(MaxHaves+1)), "at most 1024 pieces at once"},
		{"request cut", body(TypeRequest, 17), "the body is shorter than its fields"},
		{"request of nothing", body(TypeRequest, 18), "the length is at least 1"},
		{"request past the largest piece", "00000013" + "20" + "0001" + "00000002" + "00000000" + "00000001" + "00400000", "pieces have at most 4 MiB"},
		{"request that overflows", "00000013" + "20" + "0001" + "00000002" + "00000000" + "ffffffff" + "00000002", "pieces have at most 4 MiB"},
		{"piece without data", body(TypePiece, 8), "there is at least 1 byte of data"},
		{"piece with too much data", body(TypePiece, 8+MaxData+1), "at most 131072 bytes of data"},
		{"piece past the largest piece", "0000000a" + "21" + "00000002" + "00400000" + "00", "pieces have at most 4 MiB"},
		{"cancel cut", body(TypeCancel, 3), "the body is shorter than its fields"},
		{"reject cut", body(TypeReject, 8), "the body is shorter than its fields"},
		{"reject with half an uplink", body(TypeReject, 11), "an uplink has 4 bytes"},
		{"receipt cut", body(TypeReceipt, 73), "the body is shorter than its fields"},
	}
}

func TestVectorsFrames(t *testing.T) {
	want := frameFile{
		About: "Frames between peers. skip: types this version does not know. reject: the link ends. Numbers of 64 bits are decimal strings, bytes are hexadecimal.",
		Skip: []reject{
			{"type 0", "0000000100", "no such type"},
			{"type 99 with a body", "0000000463010203", "no such type"},
		},
		Reject: badFrames(),
	}
	for _, v := range validFrames() {
		want.Valid = append(want.Valid, frameVector{Name: v.name, Type: int(v.frame.Type()), Fields: fields(v.frame), Hex: hex.EncodeToString(v.frame.Append(nil))})
	}
	want.Valid = append(want.Valid,
		frameVector{"ping with a field to come", 2, fields(&Ping{Nonce: 1}), "0000000a" + "02" + "0000000000000001" + "ff", "00000009" + "02" + "0000000000000001"},
		frameVector{"open with flags to come", 16, fields(&Open{Channel: 1, Uploads: true, Grant: []byte{}}), "00000028" + "10" + "0001" + strings.Repeat("00", 32) + "81" + "00000000", "00000028" + "10" + "0001" + strings.Repeat("00", 32) + "01" + "00000000"},
	)
	want.Valid = append(want.Valid,
		frameVector{"request with its urgency spelt out", 32, fields(&Request{Channel: 1, ID: 2, Length: 1}), "00000014" + "20" + "0001" + "00000002" + "00000000" + "00000000" + "00000001" + "00", "00000013" + "20" + "0001" + "00000002" + "00000000" + "00000000" + "00000001"},
	)
	got := vectortest.Check(t, "frames.json", want)
	for _, v := range got.Valid {
		f, err := read(vectortest.Bytes(t, v.Hex))
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if diff := cmp.Diff(v.Fields, viaJSON(t, fields(f))); diff != "" || int(f.Type()) != v.Type {
			t.Errorf("%s: type %v: %s", v.Name, f.Type(), diff)
		}
		canonical := v.Canonical
		if canonical == "" {
			canonical = v.Hex
		}
		if b := f.Append(nil); hex.EncodeToString(b) != canonical {
			t.Errorf("%s: written back as %x", v.Name, b)
		}
	}
	for _, v := range got.Skip {
		if f, err := read(vectortest.Bytes(t, v.Hex)); f != nil || err != nil {
			t.Errorf("%s: %v, %v", v.Name, f, err)
		}
	}
	for _, v := range got.Reject {
		if f, err := read(vectortest.Bytes(t, v.Hex)); err == nil {
			t.Errorf("%s was read as %+v: %s", v.Name, f, v.Reason)
		}
	}
}

// fields is a frame as the vectors show it.
func fields(f Frame) map[string]any {
	u64 := func(n uint64) string { return strconv.FormatUint(n, 10) }
	switch f := f.(type) {
	case *Hello:
		return map[string]any{"version": f.Version, "features": f.Features, "agent": f.Agent}
	case *Ping:
		return map[string]any{"nonce": u64(f.Nonce)}
	case *Pong:
		return map[string]any{"nonce": u64(f.Nonce)}
	case *Bye:
		return map[string]any{"reason": f.Reason}
	case *Open:
		return map[string]any{"channel": f.Channel, "object": f.Object.String(), "uploads": f.Uploads, "uplink": f.Uplink, "grant": string(f.Grant)}
	case *Close:
		return map[string]any{"channel": f.Channel, "reason": f.Reason}
	case *Bitfield:
		return map[string]any{"channel": f.Channel, "bits": hex.EncodeToString(f.Bits)}
	case *Have:
		return map[string]any{"channel": f.Channel, "pieces": f.Pieces}
	case *Request:
		return map[string]any{"channel": f.Channel, "id": f.ID, "piece": f.Piece, "begin": f.Begin, "length": f.Length, "urgency": f.Urgency}
	case *Piece:
		return map[string]any{"id": f.ID, "begin": f.Begin, "data": hex.EncodeToString(f.Data)}
	case *Cancel:
		return map[string]any{"id": f.ID}
	case *Reject:
		return map[string]any{"id": f.ID, "reason": f.Reason, "retry": f.Retry, "uplink": f.Uplink}
	case *Receipt:
		return map[string]any{"channel": f.Channel, "bytes": u64(f.Bytes), "signature": hex.EncodeToString(f.Signature)}
	}
	return nil
}

func viaJSON(t *testing.T, v map[string]any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

type receiptVector struct {
	Object     string `json:"object"`
	Uploader   string `json:"uploader"`
	Downloader string `json:"downloader"`
	Seed       string `json:"seed"`
	Bytes      string `json:"bytes"`
	Message    string `json:"message"`
	Signature  string `json:"signature"`
}

type receiptFile struct {
	About string          `json:"about"`
	Valid []receiptVector `json:"valid"`
}

func TestVectorsReceipt(t *testing.T) {
	want := receiptFile{About: "What a receipt signs. seed is the downloader's private key (RFC 8032)."}
	object := manifest.ObjectID(bytes.Repeat([]byte{0x0b}, 32))
	for _, n := range []uint64{0, 65536, 1<<64 - 1} {
		down, up := testKey(1), public(testKey(2))
		msg := ReceiptBytes(object, up, public(down), n)
		want.Valid = append(want.Valid, receiptVector{
			Object: object.String(), Uploader: hex.EncodeToString(up), Downloader: hex.EncodeToString(public(down)),
			Seed: hex.EncodeToString(down.Seed()), Bytes: strconv.FormatUint(n, 10),
			Message: hex.EncodeToString(msg), Signature: hex.EncodeToString(ed25519.Sign(down, msg)),
		})
	}
	got := vectortest.Check(t, "receipt.json", want)
	for _, v := range got.Valid {
		id, err := manifest.ParseObjectID(v.Object)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(v.Bytes, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		msg := ReceiptBytes(id, vectortest.Bytes(t, v.Uploader), vectortest.Bytes(t, v.Downloader), n)
		if hex.EncodeToString(msg) != v.Message || !ed25519.Verify(vectortest.Bytes(t, v.Downloader), msg, vectortest.Bytes(t, v.Signature)) {
			t.Errorf("%s bytes: %x", v.Bytes, msg)
		}
	}
}

type loginVector struct {
	Nonce            string `json:"nonce"`
	InstallationSeed string `json:"installation_seed"`
	SessionSeed      string `json:"session_seed"`
	Message          string `json:"message"`
	Login            Login  `json:"login"`
}

type loginFile struct {
	About string        `json:"about"`
	Valid []loginVector `json:"valid"`
}

func TestVectorsLogin(t *testing.T) {
	inst, sess := testKey(3), testKey(4)
	nonce := "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	msg := LoginBytes(nonce, KeyOf(public(inst)), KeyOf(public(sess)))
	got := vectortest.Check(t, "login.json", loginFile{
		About: "What both signatures of a login cover: the nonce as it stands in the challenge. Seeds are private keys (RFC 8032).",
		Valid: []loginVector{{
			Nonce: nonce, InstallationSeed: hex.EncodeToString(inst.Seed()), SessionSeed: hex.EncodeToString(sess.Seed()), Message: hex.EncodeToString(msg),
			Login: Login{
				Version: ControlVersion, Installation: KeyOf(public(inst)), Session: KeyOf(public(sess)),
				InstallSig: ed25519.Sign(inst, msg), SessionSig: ed25519.Sign(sess, msg), Agent: "tandem/0.1",
			},
		}},
	})
	for _, v := range got.Valid {
		l := v.Login
		msg := LoginBytes(v.Nonce, l.Installation, l.Session)
		if hex.EncodeToString(msg) != v.Message || !ed25519.Verify(l.Installation.Public(), msg, l.InstallSig) || !ed25519.Verify(l.Session.Public(), msg, l.SessionSig) {
			t.Errorf("login %+v signs %x", l, msg)
		}
	}
}
