// Package twinhash adds the same bytes to two running SHA-256, of an object and of
// its piece, for hardly more than one costs.
//
// Where the processor has instructions for SHA-256 each of them waits for the one
// before, so that half of what it could do is idle. The rounds of a second hash fit
// in between, and what is made of the bytes beforehand (the message schedule of
// FIPS 180-4 §6.2.2) is the same for both. Elsewhere, and for what is less than a
// block, it is crypto/sha256 twice; hashes are those of crypto/sha256 in any case.
package twinhash

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

const (
	// most is what is hashed in one go, in bytes: assembly cannot be preempted.
	most = 64 << 10
	// The state that crypto/sha256 gives and takes: a magic number, the eight words of
	// the hash, the bytes of the block that has begun, and the number of bytes so far.
	magic     = "sha\x03"
	atWords   = len(magic)
	atLength  = atWords + sha256.Size + sha256.BlockSize
	stateSize = atLength + 8
)

// order is where the instructions want the words a to h: two vectors, from the lowest
// lane on.
var order = [8]int{5, 4, 1, 0, 7, 6, 3, 2}

// fast says that there are the instructions, and that crypto/sha256 has the state
// that is expected.
var fast = supported() && proven()

// Write adds p to a and b, which crypto/sha256 has made.
func Write(a, b hash.Hash, p []byte) {
	if fast {
		p = p[writeBlocks(a, b, p):]
	}
	a.Write(p)
	b.Write(p)
}

// writeBlocks adds as much of p as it can, and says how much that was.
func writeBlocks(a, b hash.Hash, p []byte) int {
	if len(p) < 2*sha256.BlockSize {
		return 0
	}
	var x, y state
	if !x.from(a) || !y.from(b) || x.begun() != y.begun() {
		return 0
	}
	head := 0
	if n := x.begun(); n > 0 {
		head = sha256.BlockSize - n
		a.Write(p[:head])
		b.Write(p[:head])
		if !x.from(a) || !y.from(b) {
			return head
		}
	}
	body := p[head:]
	body = body[:len(body)&^(sha256.BlockSize-1)]
	v, w := x.words(), y.words()
	for rest := body; len(rest) > 0; {
		n := min(len(rest), most)
		blocks(&v, &w, &rest[0], n)
		rest = rest[n:]
	}
	x.to(a, &v, len(body))
	y.to(b, &w, len(body))
	return head + len(body)
}

// state is what crypto/sha256 has of a running hash.
type state [stateSize]byte

// from reads the state of h, if it is what is expected.
func (s *state) from(h hash.Hash) bool {
	gives, ok := h.(encoding.BinaryAppender)
	if _, takes := h.(encoding.BinaryUnmarshaler); !ok || !takes {
		return false
	}
	b, err := gives.AppendBinary(s[:0])
	return err == nil && len(b) == stateSize && &b[0] == &s[0] && string(b[:atWords]) == magic
}

// begun is how many bytes wait for the rest of their block.
func (s *state) begun() int {
	return int(binary.BigEndian.Uint64(s[atLength:]) % sha256.BlockSize)
}

func (s *state) words() (w [8]uint32) {
	for i, at := range order {
		w[i] = binary.BigEndian.Uint32(s[atWords+4*at:])
	}
	return w
}

// to has h go on from words, n bytes after s.
func (s *state) to(h hash.Hash, words *[8]uint32, n int) {
	for i, at := range order {
		binary.BigEndian.PutUint32(s[atWords+4*at:], words[i])
	}
	binary.BigEndian.PutUint64(s[atLength:], binary.BigEndian.Uint64(s[atLength:])+uint64(n))
	// A state that h gave is not refused: no more than words and length have changed.
	_ = h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s[:])
}

// proven tries on a few bytes whether all of it does what crypto/sha256 does.
func proven() bool {
	p := []byte("twinhash")
	for len(p) < 4*sha256.BlockSize {
		p = append(p, p...)
	}
	a, b := sha256.New(), sha256.New()
	b.Write(p[:sha256.BlockSize])
	n := writeBlocks(a, b, p)
	one, two := sha256.Sum256(p[:n]), sha256.Sum256(append(p[:sha256.BlockSize:sha256.BlockSize], p[:n]...))
	return n > 0 && bytes.Equal(a.Sum(nil), one[:]) && bytes.Equal(b.Sum(nil), two[:])
}
