package manifest

import (
	"crypto/sha256"
	"fmt"
	"hash"

	"github.com/tandem-cdn/tandem/internal/twinhash"
)

// Builder makes a manifest from the bytes of an object written in order.
type Builder struct {
	m         *Manifest
	whole     hash.Hash
	piece     hash.Hash
	inPiece   int64
	written   int64
	pieceSize int64
}

// NewBuilder begins the manifest of an object of size bytes.
func NewBuilder(size int64) (*Builder, error) {
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("manifest: object of %d bytes: the limit is %d", size, MaxSize)
	}
	ps := PieceSizeFor(size)
	return &Builder{
		m:         &Manifest{Size: size, PieceSize: ps, Pieces: make([]Hash, 0, PieceCount(size, ps))},
		whole:     sha256.New(),
		piece:     sha256.New(),
		pieceSize: ps,
	}, nil
}

// Write hashes p. It fails when more is written than the object holds.
func (b *Builder) Write(p []byte) (int, error) {
	if b.written+int64(len(p)) > b.m.Size {
		return 0, fmt.Errorf("manifest: more than the %d bytes announced", b.m.Size)
	}
	n := len(p)
	b.written += int64(n)
	for len(p) > 0 {
		k := min(int64(len(p)), b.pieceSize-b.inPiece)
		twinhash.Write(b.whole, b.piece, p[:k])
		b.inPiece += k
		p = p[k:]
		if b.inPiece == b.pieceSize {
			b.endPiece()
		}
	}
	return n, nil
}

func (b *Builder) endPiece() {
	b.m.Pieces = append(b.m.Pieces, Hash(b.piece.Sum(nil)))
	b.piece.Reset()
	b.inPiece = 0
}

// Finish returns the manifest. It fails when bytes are missing.
func (b *Builder) Finish() (*Manifest, error) {
	if b.written != b.m.Size {
		return nil, fmt.Errorf("manifest: %d bytes of the %d announced", b.written, b.m.Size)
	}
	if b.inPiece > 0 {
		b.endPiece()
	}
	b.m.Digest = Hash(b.whole.Sum(nil))
	return b.m, nil
}
