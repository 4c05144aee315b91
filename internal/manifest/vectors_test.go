package manifest_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"testing"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/manifest/vectortest"
)

type reject struct {
	Name   string `json:"name"`
	Hex    string `json:"hex"`
	Reason string `json:"reason"`
}

type pieceSize struct {
	Size      int64 `json:"size"`
	PieceSize int64 `json:"piece_size"`
	Pieces    int   `json:"pieces"`
	LastPiece int64 `json:"last_piece"`
}

func TestVectorsPieceSize(t *testing.T) {
	type file struct {
		About string      `json:"about"`
		Sizes []pieceSize `json:"sizes"`
	}
	want := file{About: "Piece size, number of pieces and length of the last piece, in bytes, of objects by size."}
	for _, size := range []int64{0, 1, 65535, 65536, 65537, 1 << 20, 64 << 20, 64<<20 + 1, 250_000_000, 1 << 30, 1<<30 + 1, 4 << 30, 4<<30 + 1, manifest.MaxSize} {
		v := pieceSize{Size: size, PieceSize: manifest.PieceSizeFor(size)}
		v.Pieces = manifest.PieceCount(size, v.PieceSize)
		if v.Pieces > 0 {
			v.LastPiece = size - int64(v.Pieces-1)*v.PieceSize
		}
		want.Sizes = append(want.Sizes, v)
	}
	vectortest.Check(t, "piecesize.json", want)
}

type bitfield struct {
	Pieces int    `json:"pieces"`
	Has    []int  `json:"has"`
	Hex    string `json:"hex"`
}

type badBitfield struct {
	Pieces int    `json:"pieces"`
	Hex    string `json:"hex"`
	Reason string `json:"reason"`
}

type bitfieldFile struct {
	About  string        `json:"about"`
	Valid  []bitfield    `json:"valid"`
	Reject []badBitfield `json:"reject"`
}

func TestVectorsBitfield(t *testing.T) {
	want := bitfieldFile{
		About: "Sets of pieces: piece i is the bit 0x80>>(i%8) of byte i/8.",
		Reject: []badBitfield{
			{9, "80", "too short"},
			{9, "800000", "too long"},
			{9, "8040", "a bit past the last piece"},
			{0, "00", "too long"},
			{7, "01", "a bit past the last piece"},
		},
	}
	for _, c := range []bitfield{{Pieces: 0, Has: []int{}}, {Pieces: 1, Has: []int{0}}, {Pieces: 8, Has: []int{0, 7}}, {Pieces: 9, Has: []int{8}}, {Pieces: 20, Has: []int{1, 2, 3, 17}}, {Pieces: 12, Has: []int{}}} {
		f := manifest.NewBitfield(c.Pieces)
		for _, i := range c.Has {
			f.Set(i)
		}
		c.Hex = hex.EncodeToString(f.Bytes())
		want.Valid = append(want.Valid, c)
	}
	got := vectortest.Check(t, "bitfield.json", want)
	for _, v := range got.Valid {
		f, err := manifest.ParseBitfield(vectortest.Bytes(t, v.Hex), v.Pieces)
		if err != nil {
			t.Errorf("%s: %v", v.Hex, err)
			continue
		}
		if f.Count() != len(v.Has) {
			t.Errorf("%s: %d pieces, want %d", v.Hex, f.Count(), len(v.Has))
		}
		for _, i := range v.Has {
			if !f.Has(i) {
				t.Errorf("%s: piece %d is missing", v.Hex, i)
			}
		}
	}
	for _, v := range got.Reject {
		if _, err := manifest.ParseBitfield(vectortest.Bytes(t, v.Hex), v.Pieces); err == nil {
			t.Errorf("%s over %d pieces was accepted: %s", v.Hex, v.Pieces, v.Reason)
		}
	}
}

type vector struct {
	Name      string   `json:"name"`
	Size      int64    `json:"size"`
	PieceSize int64    `json:"piece_size"`
	Digest    string   `json:"digest"`
	Pieces    []string `json:"pieces"`
	Hex       string   `json:"hex"`
	Object    string   `json:"object"`
}

type manifestFile struct {
	About  string   `json:"about"`
	Valid  []vector `json:"valid"`
	Reject []reject `json:"reject"`
}

func TestVectorsManifest(t *testing.T) {
	want := manifestFile{About: "Unsigned manifests. In the object that is described, byte i is i mod 251. object is the Object ID."}
	for _, c := range []struct {
		name string
		size int
	}{{"empty object", 0}, {"one byte", 1}, {"one piece", 65536}, {"one piece and a byte", 65537}, {"four pieces", 200000}} {
		m := vectortest.Made(t, c.size)
		v := vector{Name: c.name, Size: m.Size, PieceSize: m.PieceSize, Digest: hex.EncodeToString(m.Digest[:]), Pieces: []string{}, Hex: hex.EncodeToString(m.Append(nil)), Object: m.ID().String()}
		for _, p := range m.Pieces {
			v.Pieces = append(v.Pieces, hex.EncodeToString(p[:]))
		}
		want.Valid = append(want.Valid, v)
	}
	want.Reject = badManifests(t)
	got := vectortest.Check(t, "manifest.json", want)
	for _, v := range got.Valid {
		b := vectortest.Bytes(t, v.Hex)
		m, n, err := manifest.Parse(b)
		if err != nil || n != len(b) {
			t.Errorf("%s: %d bytes of %d, %v", v.Name, n, len(b), err)
			continue
		}
		if m.ID().String() != v.Object || m.Size != v.Size || m.PieceSize != v.PieceSize || hex.EncodeToString(m.Digest[:]) != v.Digest || m.NumPieces() != len(v.Pieces) {
			t.Errorf("%s: read as %+v", v.Name, m)
		}
		if !bytes.Equal(m.Append(nil), b) {
			t.Errorf("%s: written back differently", v.Name)
		}
	}
	for _, v := range got.Reject {
		if _, _, err := manifest.Parse(vectortest.Bytes(t, v.Hex)); err == nil {
			t.Errorf("%s was accepted: %s", v.Name, v.Reason)
		}
	}
}

func badManifests(t *testing.T) []reject {
	t.Helper()
	good := vectortest.Made(t, 65537).Append(nil)
	with := func(at int, v ...byte) string {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return hex.EncodeToString(b)
	}
	return []reject{
		{"nothing", "", "shorter than the header"},
		{"header cut", hex.EncodeToString(good[:47]), "shorter than the header"},
		{"magic", with(0, 'X'), "the magic is TDMF"},
		{"version 0", with(4, 0), "the version is 1"},
		{"version 2", with(4, 2), "the version is 1"},
		{"hash 2", with(5, 2), "the only hash is 1, SHA-256"},
		{"piece size 2^15", with(6, 15), "piece sizes are 2^16 to 2^22"},
		{"piece size 2^23", with(6, 23), "piece sizes are 2^16 to 2^22"},
		{"piece size 2^255", with(6, 255), "piece sizes are 2^16 to 2^22"},
		{"reserved byte", with(7, 1), "reserved bytes are 0"},
		{"hash missing", hex.EncodeToString(good[:len(good)-1]), "fewer hashes than the size needs"},
		{"size says more", with(8, 0, 0, 0, 0, 0, 2, 0, 1), "fewer hashes than the size needs"},
		{"size over the limit", with(8, 0, 0, 4, 0, 0, 0, 0, 1), "objects have at most 2^42 bytes"},
		{"size negative", with(8, 255, 255, 255, 255, 255, 255, 255, 255), "objects have at most 2^42 bytes"},
		{"too many pieces", with(8, 0, 0, 0, 16, 0, 0, 0, 1), "objects have at most 2^20 pieces"},
	}
}

type signedVector struct {
	Name      string `json:"name"`
	Seed      string `json:"seed"`
	Key       string `json:"key"`
	Object    string `json:"object"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
	Hex       string `json:"hex"`
}

type signedFile struct {
	About  string         `json:"about"`
	Valid  []signedVector `json:"valid"`
	Reject []reject       `json:"reject"`
}

func TestVectorsSigned(t *testing.T) {
	want := signedFile{About: "Signed manifests. seed is the Ed25519 private key (RFC 8032), key its public key, message what is signed. Those in reject are refused by one who trusts the key of the first valid one."}
	for i, size := range []int{1, 65537} {
		seed := bytes.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize)
		s := manifest.Sign(vectortest.Made(t, size), ed25519.NewKeyFromSeed(seed))
		want.Valid = append(want.Valid, signedVector{
			Name: []string{"one byte", "two pieces"}[i], Seed: hex.EncodeToString(seed), Key: hex.EncodeToString(s.Key),
			Object: s.Object.String(), Message: hex.EncodeToString(manifest.SignedBytes(s.Object)),
			Signature: hex.EncodeToString(s.Signature), Hex: hex.EncodeToString(s.Append(nil)),
		})
	}
	want.Reject = badSigned(t, want.Valid)
	got := vectortest.Check(t, "signed.json", want)
	for _, v := range got.Valid {
		b := vectortest.Bytes(t, v.Hex)
		s, err := manifest.ParseSigned(b, []ed25519.PublicKey{vectortest.Bytes(t, v.Key)})
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if s.Object.String() != v.Object || !bytes.Equal(s.Append(nil), b) {
			t.Errorf("%s: read as %+v", v.Name, s)
		}
	}
	trusted := []ed25519.PublicKey{vectortest.Bytes(t, got.Valid[0].Key)}
	for _, v := range got.Reject {
		if _, err := manifest.ParseSigned(vectortest.Bytes(t, v.Hex), trusted); err == nil {
			t.Errorf("%s was accepted: %s", v.Name, v.Reason)
		}
	}
}

func badSigned(t *testing.T, valid []signedVector) []reject {
	t.Helper()
	good := vectortest.Bytes(t, valid[0].Hex)
	block := len(good) - 104
	with := func(at int) string {
		b := bytes.Clone(good)
		b[at] ^= 1
		return hex.EncodeToString(b)
	}
	return []reject{
		{"stranger", valid[1].Hex, "the signer is not trusted"},
		{"digest changed", with(16), "the signature covers the digest"},
		{"piece hash changed", with(48), "the signature covers the hashes"},
		{"key changed", with(block + 8), "the signer is not trusted"},
		{"signature changed", with(block + 40), "the signature is wrong"},
		{"block magic", with(block), "the magic is TDSG"},
		{"block version", with(block + 4), "the version is 1"},
		{"block reserved", with(block + 5), "reserved bytes are 0"},
		{"no block", hex.EncodeToString(good[:block]), "the signature is missing"},
		{"truncated", hex.EncodeToString(good[:len(good)-1]), "the signature is cut"},
		{"trailing byte", valid[0].Hex + "00", "nothing follows the signature"},
	}
}
