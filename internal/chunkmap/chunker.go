package chunkmap

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

const (
	// MinLog and MaxLog are the binary logarithms of the least and the greatest
	// average size of chunks in bytes.
	MinLog = 14
	MaxLog = 22

	// window is how many bytes before a place decide whether it is a cut: the gear
	// hash has shifted out whatever is older.
	window = 64
	// spread is the ratio of the average to the least size, and of the greatest size
	// to the average.
	spread = 4
	// normal is by how many bits a cut is made less likely before the average size,
	// and more likely behind it (normalized chunking, level 2).
	normal = 2
)

// SumSize is the size of a chunk's hash, in bytes: the first of its SHA-256. It
// has but to find chunks. By chance, one of 2^28 pairs of objects of 2^18 chunks
// has two that are taken for one another, which costs a piece.
const SumSize = 8

// Sum is the beginning of the SHA-256 of a chunk.
type Sum [SumSize]byte

// Chunk is one chunk of an object.
type Chunk struct {
	Len int32 // bytes
	Sum Sum
}

// gear is the table of the rolling hash: number b is the first 8 bytes of the
// SHA-256 of "tandem gear" and the byte b.
var gear = makeGear()

func makeGear() (t [256]uint64) {
	for b := range t {
		sum := sha256.Sum256(append([]byte("tandem gear"), byte(b)))
		t[b] = binary.BigEndian.Uint64(sum[:])
	}
	return t
}

// AverageFor is the log2 of the average size of the chunks that an object of size
// bytes is cut into: 16 KiB, or as much as keeps a map at about 2^18 chunks.
func AverageFor(size int64) int {
	log := MinLog
	for log < MaxLog && size>>log > 1<<18 {
		log++
	}
	return log
}

// Chunker cuts a stream of bytes where its content says so, hence at the same
// places however much was put in or taken out before. It is FastCDC (W. Xia et al.,
// USENIX ATC 2016; IEEE TPDS 31(9), 2020): a gear hash, no cut before the least size,
// whose bytes are not even looked at, and normalized chunking. Two things differ.
// The upper bits of the hash are looked at, on which all bytes of the window have a
// say, so that a comparison is enough; and the hash is begun one window before the
// least size, so that a cut depends on the window alone.
//
// It needs memory for one hash, whatever the size of the chunks.
type Chunker struct {
	least, mean, most int    // sizes of chunks in bytes
	early, late       uint64 // a hash below them is a cut, before and behind mean
	emit              func(Chunk)

	n    int    // bytes of the chunk so far
	roll uint64 // gear hash
	sum  hash.Hash
	full [sha256.Size]byte
}

// NewChunker returns a chunker for chunks of 2^log bytes on average, of which emit
// is told. log lies within [MinLog] and [MaxLog].
func NewChunker(log int, emit func(Chunk)) *Chunker {
	return &Chunker{
		least: 1 << log / spread, mean: 1 << log, most: 1 << log * spread,
		early: 1 << (64 - log - normal), late: 1 << (64 - log + normal),
		emit: emit, sum: sha256.New(),
	}
}

// Write implements [io.Writer]. It does not fail.
func (c *Chunker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k, cut := c.scan(p)
		c.sum.Write(p[:k])
		p = p[k:]
		if cut {
			c.end()
		}
	}
	return n, nil
}

// Close ends the last chunk. The chunker can be used for another stream then.
func (c *Chunker) Close() error {
	if c.n > 0 {
		c.end()
	}
	return nil
}

func (c *Chunker) end() {
	c.emit(Chunk{Len: int32(c.n), Sum: Sum(c.sum.Sum(c.full[:0])[:SumSize])})
	c.sum.Reset()
	c.n, c.roll = 0, 0
}

// scan takes the bytes up to the next cut, or all, and reports whether there is one.
func (c *Chunker) scan(p []byte) (n int, cut bool) {
	if n = min(c.least-window-c.n, len(p)); n > 0 {
		c.n += n
	} else {
		n = 0
	}
	for _, phase := range [...]struct {
		until int
		below uint64
	}{{c.least, 0}, {c.mean, c.early}, {c.most, c.late}} {
		if c.n >= phase.until {
			continue
		}
		part := p[n:min(len(p), n+phase.until-c.n)]
		k := find(part, &c.roll, phase.below)
		if k >= 0 {
			c.n += k
			return n + k, true
		}
		n += len(part)
		c.n += len(part)
	}
	return n, c.n == c.most
}

// find rolls the hash over p and returns how many bytes it took to bring it below a
// bound, -1 where none did.
func find(p []byte, roll *uint64, below uint64) int {
	h := *roll
	for i, b := range p {
		if h = h<<1 + gear[b]; h < below {
			*roll = h
			return i + 1
		}
	}
	*roll = h
	return -1
}
