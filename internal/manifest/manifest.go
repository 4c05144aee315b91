// Package manifest is the signed description of one object: its size, its
// piece size, the SHA-256 of the whole and of every piece.
//
// Unsigned manifest, all integers big-endian:
//
//	offset  size  field
//	0       4     magic "TDMF"
//	4       1     version (1)
//	5       1     hash algorithm (1 = SHA-256)
//	6       1     log2 of the piece size (16..22)
//	7       1     reserved, 0
//	8       8     object size in bytes
//	16      32    SHA-256 of the whole object
//	48      32·n  SHA-256 of each piece, n = ⌈size / piece size⌉
//
// The Object ID is the SHA-256 of exactly these bytes. Equal content therefore
// has an equal Object ID, whichever edge made the manifest, and forms one
// swarm. A signed manifest (see [Signed]) is these bytes followed by a
// 104-byte signature block.
//
// The package does no I/O and reads no clock.
package manifest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
)

// Limits of the format. A parser refuses what lies outside before it allocates.
const (
	MinPieceSize = 64 << 10 // bytes
	MaxPieceSize = 4 << 20  // bytes
	// MaxPieces bounds the manifest at 32 MiB of piece hashes: 4 TiB of object.
	MaxPieces = 1 << 20
	// MaxSize is the largest object, in bytes.
	MaxSize = int64(MaxPieces) * MaxPieceSize
	// MaxEncoded is the largest signed manifest, in bytes.
	MaxEncoded = headerSize + MaxPieces*HashSize + SignatureSize
	// HashSize is the size of a SHA-256 digest, in bytes.
	HashSize = sha256.Size

	headerSize  = 48
	version     = 1
	algSHA256   = 1
	targetCount = 1024 // pieces an object is cut into, where the limits allow
)

var magic = [4]byte{'T', 'D', 'M', 'F'}

// ErrMalformed is wrapped by every error of [Parse] and [ParseSigned] about
// bytes that are not a manifest.
var ErrMalformed = errors.New("malformed manifest")

// Hash is a SHA-256 digest.
type Hash [HashSize]byte

// ObjectID names an object: the SHA-256 of its unsigned manifest.
type ObjectID Hash

// String returns the lower-case hexadecimal form.
func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// ParseObjectID reads the hexadecimal form that [ObjectID.String] writes.
func ParseObjectID(s string) (ObjectID, error) {
	var id ObjectID
	if len(s) != 2*HashSize {
		return id, fmt.Errorf("object id %.80q: want %d hexadecimal digits", s, 2*HashSize)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ObjectID{}, fmt.Errorf("object id %.80q: %w", s, err)
	}
	return id, nil
}

// MarshalText and UnmarshalText make an ObjectID a hexadecimal JSON string.
func (id ObjectID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the form written by MarshalText.
func (id *ObjectID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseObjectID(string(b))
	return err
}

// Manifest describes one object. It is immutable once made.
type Manifest struct {
	Size      int64 // bytes
	PieceSize int64 // bytes, a power of two
	Digest    Hash  // SHA-256 of the whole object
	Pieces    []Hash
}

// PieceSizeFor returns the piece size of an object of size bytes: the power of
// two nearest above size/1024, between [MinPieceSize] and [MaxPieceSize]. It is
// a function of the size alone, so that every edge cuts alike.
func PieceSizeFor(size int64) int64 {
	p := int64(MinPieceSize)
	for p < MaxPieceSize && p*targetCount < size {
		p <<= 1
	}
	return p
}

// PieceCount is the number of pieces of an object of size bytes.
func PieceCount(size, pieceSize int64) int {
	return int((size + pieceSize - 1) / pieceSize)
}

// NumPieces is the number of pieces.
func (m *Manifest) NumPieces() int { return len(m.Pieces) }

// Offset is the position of piece i in the object, in bytes.
func (m *Manifest) Offset(i int) int64 { return int64(i) * m.PieceSize }

// PieceLen is the length of piece i in bytes: the piece size but for the last.
func (m *Manifest) PieceLen(i int) int64 {
	return min(m.PieceSize, m.Size-m.Offset(i))
}

// PieceAt is the piece that holds the byte at off, which must lie in the object.
func (m *Manifest) PieceAt(off int64) int { return int(off / m.PieceSize) }

// Verify reports whether b is piece i.
func (m *Manifest) Verify(i int, b []byte) bool {
	return i >= 0 && i < len(m.Pieces) && int64(len(b)) == m.PieceLen(i) && sha256.Sum256(b) == m.Pieces[i]
}

// Validate reports whether the fields agree with each other and the limits.
func (m *Manifest) Validate() error {
	switch {
	case m.Size < 0 || m.Size > MaxSize:
		return fmt.Errorf("%w: object size %d outside 0..%d", ErrMalformed, m.Size, MaxSize)
	case m.PieceSize < MinPieceSize || m.PieceSize > MaxPieceSize || m.PieceSize&(m.PieceSize-1) != 0:
		return fmt.Errorf("%w: piece size %d is not a power of two in %d..%d", ErrMalformed, m.PieceSize, MinPieceSize, MaxPieceSize)
	case m.Size > MaxPieces*m.PieceSize:
		return fmt.Errorf("%w: %d bytes need more than %d pieces of %d", ErrMalformed, m.Size, MaxPieces, m.PieceSize)
	case len(m.Pieces) != PieceCount(m.Size, m.PieceSize):
		return fmt.Errorf("%w: %d piece hashes for %d bytes in pieces of %d", ErrMalformed, len(m.Pieces), m.Size, m.PieceSize)
	}
	return nil
}

// Append appends the unsigned encoding of m to b.
func (m *Manifest) Append(b []byte) []byte {
	b = append(b, magic[:]...)
	b = append(b, version, algSHA256, byte(bits.TrailingZeros64(uint64(m.PieceSize))), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Size))
	b = append(b, m.Digest[:]...)
	for i := range m.Pieces {
		b = append(b, m.Pieces[i][:]...)
	}
	return b
}

// Encoded is the size of the unsigned encoding, in bytes.
func (m *Manifest) Encoded() int { return headerSize + len(m.Pieces)*HashSize }

// ID returns the Object ID.
func (m *Manifest) ID() ObjectID {
	return sha256.Sum256(m.Append(make([]byte, 0, m.Encoded())))
}

// Parse reads an unsigned manifest at the start of b and returns it with the
// number of bytes it takes.
func Parse(b []byte) (*Manifest, int, error) {
	if len(b) < headerSize {
		return nil, 0, fmt.Errorf("%w: %d bytes, the header has %d", ErrMalformed, len(b), headerSize)
	}
	if [4]byte(b[:4]) != magic {
		return nil, 0, fmt.Errorf("%w: no manifest begins with %q", ErrMalformed, b[:4])
	}
	if b[4] != version || b[5] != algSHA256 || b[7] != 0 {
		return nil, 0, fmt.Errorf("%w: version %d, hash %d, flags %d; this program knows version %d with SHA-256", ErrMalformed, b[4], b[5], b[7], version)
	}
	size := binary.BigEndian.Uint64(b[8:16])
	if b[6] > 62 || size > uint64(MaxSize) {
		return nil, 0, fmt.Errorf("%w: object size %d, piece size 2^%d", ErrMalformed, size, b[6])
	}
	m := &Manifest{Size: int64(size), PieceSize: 1 << b[6], Digest: Hash(b[16:48])}
	if m.PieceSize < MinPieceSize || m.PieceSize > MaxPieceSize {
		return nil, 0, fmt.Errorf("%w: piece size 2^%d", ErrMalformed, b[6])
	}
	n := PieceCount(m.Size, m.PieceSize)
	end := headerSize + n*HashSize
	if n > MaxPieces || len(b) < end {
		return nil, 0, fmt.Errorf("%w: %d bytes where %d pieces need %d (truncated?)", ErrMalformed, len(b), n, end)
	}
	m.Pieces = make([]Hash, n)
	for i := range m.Pieces {
		m.Pieces[i] = Hash(b[headerSize+i*HashSize:])
	}
	if err := m.Validate(); err != nil {
		return nil, 0, err
	}
	return m, end, nil
}
