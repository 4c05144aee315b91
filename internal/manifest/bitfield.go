package manifest

import (
	"fmt"
	"math/bits"
)

// Bitfield is a set of pieces. Bit i lies in byte i/8 under the mask 0x80>>(i%8);
// bits past the last piece are zero.
type Bitfield struct {
	b []byte
	n int
}

// NewBitfield returns an empty set over n pieces.
func NewBitfield(n int) Bitfield { return Bitfield{b: make([]byte, (n+7)/8), n: n} }

// ParseBitfield reads a set over n pieces. It fails on a wrong length or set
// bits past the end.
func ParseBitfield(b []byte, n int) (Bitfield, error) {
	if len(b) != (n+7)/8 {
		return Bitfield{}, fmt.Errorf("bitfield of %d bytes for %d pieces: %w", len(b), n, ErrMalformed)
	}
	if n%8 != 0 && b[len(b)-1]&(0xff>>(n%8)) != 0 {
		return Bitfield{}, fmt.Errorf("bitfield has pieces past the last of %d: %w", n, ErrMalformed)
	}
	return Bitfield{b: append([]byte(nil), b...), n: n}, nil
}

// Len is the number of pieces the set is over.
func (f Bitfield) Len() int { return f.n }

// Bytes is the encoded set; it must not be changed.
func (f Bitfield) Bytes() []byte { return f.b }

// Has reports whether piece i is in the set; pieces out of range are not.
func (f Bitfield) Has(i int) bool {
	return i >= 0 && i < f.n && f.b[i/8]&(0x80>>(i%8)) != 0
}

// Set adds piece i and reports whether it was new.
func (f Bitfield) Set(i int) bool {
	if i < 0 || i >= f.n || f.Has(i) {
		return false
	}
	f.b[i/8] |= 0x80 >> (i % 8)
	return true
}

// Clear removes piece i.
func (f Bitfield) Clear(i int) {
	if i >= 0 && i < f.n {
		f.b[i/8] &^= 0x80 >> (i % 8)
	}
}

// SetAll adds every piece.
func (f Bitfield) SetAll() {
	for i := range f.n {
		f.Set(i)
	}
}

// Count is the number of pieces in the set.
func (f Bitfield) Count() int {
	c := 0
	for _, x := range f.b {
		c += bits.OnesCount8(x)
	}
	return c
}

// Full reports whether every piece is in the set.
func (f Bitfield) Full() bool { return f.Count() == f.n }

// Grow returns a set over n pieces, no fewer than f is over, with the pieces of f.
// It may share memory with f, which must not be used any more.
func (f Bitfield) Grow(n int) Bitfield {
	if size := (n + 7) / 8; size > len(f.b) {
		f.b = append(f.b, make([]byte, size-len(f.b))...)
	}
	f.n = max(f.n, n)
	return f
}

// Clone returns an independent copy.
func (f Bitfield) Clone() Bitfield {
	return Bitfield{b: append([]byte(nil), f.b...), n: f.n}
}
