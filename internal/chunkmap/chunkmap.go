// Package chunkmap describes the content of an object so that somebody who holds
// an older version finds what has not changed, wherever it has moved: the object
// is cut into chunks where its content says so ([Chunker]), and the map lists their
// lengths and hashes.
//
// The map is no root of trust. What is found by it is bytes to try: a piece counts
// only when it has the SHA-256 of the manifest. The map is signed all the same, so
// that nobody else can make a client waste its time.
//
// # Encoding
//
// All integers big-endian:
//
//	offset  size  field
//	0       4     magic "TDCM"
//	4       1     version (1)
//	5       1     log2 of the average size of chunks, 14 to 22
//	6       2     reserved, 0
//	8       8     size of the object in bytes
//	16      32    Object ID
//	48      4     n, number of chunks
//	52      11·n  for each chunk in order: 3 bytes length − 1, 8 bytes hash
//
// followed by a signature block as in manifests.
package chunkmap

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	headerSize = 52
	entrySize  = 3 + SumSize
	version    = 1
	// sigContext separates the signatures of maps from everything else a key signs.
	sigContext = "tandem chunk map v1\x00"
)

// MinObject is the size from which objects have maps, in bytes: what is smaller is
// fetched whole.
const MinObject = 1 << 20

// MaxEncoded is the size of the largest signed map of an object of size bytes: it has
// no more chunks than there is room for at the least size.
func MaxEncoded(size int64) int64 {
	return headerSize + maxChunks(size, AverageFor(size))*entrySize + manifest.SignatureSize
}

func maxChunks(size int64, log int) int64 { return size/(1<<log/spread) + 1 }

var magic = [4]byte{'T', 'D', 'C', 'M'}

// ErrMalformed is wrapped by all errors about maps that break the format or its
// limits.
var ErrMalformed = errors.New("malformed chunk map")

// Map is the chunk map of an object.
type Map struct {
	Size   int64 // of the object, in bytes
	Log    int   // log2 of the average size of chunks
	Object manifest.ObjectID
	Chunks []Chunk
}

// Builder makes the map of an object whose bytes are written to it in order.
type Builder struct {
	m Map
	c *Chunker
}

// NewBuilder begins the map of an object of size bytes.
func NewBuilder(size int64) *Builder {
	b := &Builder{m: Map{Log: AverageFor(size)}}
	b.m.Chunks = make([]Chunk, 0, size>>b.m.Log+1)
	b.c = NewChunker(b.m.Log, func(c Chunk) {
		b.m.Chunks = append(b.m.Chunks, c)
		b.m.Size += int64(c.Len)
	})
	return b
}

// Write implements [io.Writer]. It does not fail.
func (b *Builder) Write(p []byte) (int, error) { return b.c.Write(p) }

// Finish returns the map of what was written, which is the object of that ID.
func (b *Builder) Finish(id manifest.ObjectID) *Map {
	_ = b.c.Close() // it does not fail
	b.m.Object = id
	return &b.m
}

// Append appends the unsigned encoding to b.
func (m *Map) Append(b []byte) []byte {
	b = append(b, magic[:]...)
	b = append(b, version, byte(m.Log), 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Size))
	b = append(b, m.Object[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Chunks)))
	for i := range m.Chunks {
		c := &m.Chunks[i]
		b = append(b, byte((c.Len-1)>>16), byte((c.Len-1)>>8), byte(c.Len-1))
		b = append(b, c.Sum[:]...)
	}
	return b
}

// Sign returns the signed encoding.
func (m *Map) Sign(key ed25519.PrivateKey) []byte {
	n := headerSize + len(m.Chunks)*entrySize
	b := m.Append(make([]byte, 0, n+manifest.SignatureSize))
	return manifest.AppendSignature(b, key, sigContext, sha256.Sum256(b))
}

// Parse reads an unsigned map that fills b exactly.
func Parse(b []byte) (*Map, error) {
	if len(b) < headerSize || [4]byte(b[:4]) != magic {
		return nil, fmt.Errorf("%w: %d bytes that do not begin as one", ErrMalformed, len(b))
	}
	if b[4] != version || b[6] != 0 || b[7] != 0 {
		return nil, fmt.Errorf("%w: version %d, flags %d %d; this program knows version %d", ErrMalformed, b[4], b[6], b[7], version)
	}
	m := &Map{Log: int(b[5]), Object: manifest.ObjectID(b[16:48])}
	size, n := binary.BigEndian.Uint64(b[8:16]), binary.BigEndian.Uint32(b[48:52])
	if size > uint64(manifest.MaxSize) || m.Log < AverageFor(int64(size)) || m.Log > MaxLog {
		return nil, fmt.Errorf("%w: chunks of 2^%d bytes, object of %d", ErrMalformed, m.Log, size)
	}
	m.Size = int64(size)
	if int64(n) > maxChunks(m.Size, m.Log) || len(b) != headerSize+int(n)*entrySize {
		return nil, fmt.Errorf("%w: %d bytes for %d chunks", ErrMalformed, len(b), n)
	}
	m.Chunks = make([]Chunk, n)
	left := m.Size
	for i := range m.Chunks {
		e := b[headerSize+i*entrySize:]
		c := Chunk{Len: 1 + (int32(e[0])<<16 | int32(e[1])<<8 | int32(e[2])), Sum: Sum(e[3:])}
		least, most := int32(1)<<m.Log/spread, int32(1)<<m.Log*spread
		if left -= int64(c.Len); left == 0 && i == len(m.Chunks)-1 {
			least = 1
		}
		if c.Len < least || c.Len > most || left < 0 {
			return nil, fmt.Errorf("%w: chunk %d of %d has %d bytes", ErrMalformed, i, n, c.Len)
		}
		m.Chunks[i] = c
	}
	if left != 0 {
		return nil, fmt.Errorf("%w: the chunks are %d bytes short of the object", ErrMalformed, left)
	}
	return m, nil
}

// ParseSigned reads a signed map that fills b exactly and checks that one of the
// trusted keys has signed it; else the error is [manifest.ErrSignature].
func ParseSigned(b []byte, trusted []ed25519.PublicKey) (*Map, error) {
	n := len(b) - manifest.SignatureSize
	if n < headerSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if err := manifest.CheckSignature(b[n:], trusted, sigContext, sha256.Sum256(b[:n])); err != nil {
		return nil, fmt.Errorf("chunk map: %w", err)
	}
	return Parse(b[:n])
}
