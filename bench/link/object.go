//go:build linux

package main

import (
	"crypto/sha256"
	"math/rand/v2"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// blockSize is how much of the object there is in memory: it repeats.
const blockSize = 64 << 20

// object is what moves, the same in every process.
type object struct {
	m     *manifest.Manifest
	block []byte
}

func newObject(size int64) *object {
	o := &object{
		m:     &manifest.Manifest{Size: size, PieceSize: manifest.PieceSizeFor(size)},
		block: make([]byte, blockSize),
	}
	_, _ = rand.NewChaCha8([32]byte{}).Read(o.block) // never fails
	hashes := map[int64]manifest.Hash{}              // by place in the block and length
	for i := range manifest.PieceCount(size, o.m.PieceSize) {
		off, n := o.m.Offset(i)%blockSize, o.m.PieceLen(i)
		key := off<<32 | n
		h, ok := hashes[key]
		if !ok {
			h = sha256.Sum256(o.block[off : off+n])
			hashes[key] = h
		}
		o.m.Pieces = append(o.m.Pieces, h)
	}
	return o
}

// piece is piece i.
func (o *object) piece(i int) []byte {
	off := o.m.Offset(i) % blockSize
	return o.block[off : off+o.m.PieceLen(i)]
}

// Have, Has and ReadAt make the object a source of package swarm.
func (o *object) Have() manifest.Bitfield {
	b := manifest.NewBitfield(o.m.NumPieces())
	for i := range b.Len() {
		b.Set(i)
	}
	return b
}

// Has reports that there is every piece.
func (o *object) Has(int) bool { return true }

// ReadAt reads within a piece.
func (o *object) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, o.block[off%blockSize:]), nil
}
