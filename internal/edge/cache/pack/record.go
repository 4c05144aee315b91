package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Limits of a record, in bytes.
const (
	MaxKey  = 8 << 10
	MaxMeta = 512 << 10
	MaxBody = 64 << 10
)

// Record is what is stored under a key. There may be several of one key.
type Record struct {
	Key  string
	Meta []byte
	Body []byte
	// Sum is the SHA-256 of the body; of a record that is read.
	Sum [sha256.Size]byte
}

// ErrCorrupt says that the bytes are not those that were written.
var ErrCorrupt = errors.New("record does not verify")

// A record on disk, integers little endian:
//
//	 0 magic        4
//	 4 kind         4
//	 8 hash of key  8
//	16 sequence     8   names the record, also when it is copied
//	24 segment      4   of a tombstone: where the record was
//	28 key length   4
//	32 meta length  4
//	36 body length  4
//	40 SHA-256 of the body  32
//	72 CRC-32C of what stands before it, key and meta  4
//	76 key, meta, body
const (
	recordMagic = 0x314b5054 // "TPK1"
	headerSize  = 76
	maxRecord   = headerSize + MaxKey + MaxMeta + MaxBody

	kindRecord    = 1
	kindTombstone = 2
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// entry is what a segment's list says of a record.
type entry struct {
	kind uint32
	at   uint32 // offset; of a tombstone the segment of the record
	size uint32 // of the whole record, in bytes
	hash uint64
	seq  uint64
}

// header is a record's header, checked against the limits only.
type header struct {
	entry
	key, meta, body int
}

func (h header) length() int { return headerSize + h.key + h.meta + h.body }

// appendRecord encodes a record.
func appendRecord(b []byte, e entry, r Record) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, recordMagic)
	b = binary.LittleEndian.AppendUint32(b, e.kind)
	b = binary.LittleEndian.AppendUint64(b, e.hash)
	b = binary.LittleEndian.AppendUint64(b, e.seq)
	seg := uint32(0)
	if e.kind == kindTombstone {
		seg = e.at
	}
	b = binary.LittleEndian.AppendUint32(b, seg)
	for _, n := range []int{len(r.Key), len(r.Meta), len(r.Body)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	sum := sha256.Sum256(r.Body)
	b = append(b, sum[:]...)
	crc := crc32.Checksum(b[start:], castagnoli())
	crc = crc32.Update(crc, castagnoli(), []byte(r.Key))
	crc = crc32.Update(crc, castagnoli(), r.Meta)
	b = binary.LittleEndian.AppendUint32(b, crc)
	b = append(b, r.Key...)
	b = append(b, r.Meta...)
	return append(b, r.Body...)
}

// parseHeader reads the fields of a header and bounds them.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || binary.LittleEndian.Uint32(b) != recordMagic {
		return h, ErrCorrupt
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	h.kind = u32(4)
	h.hash, h.seq = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	h.at = u32(24)
	if u32(28) > MaxKey || u32(32) > MaxMeta || u32(36) > MaxBody {
		return h, ErrCorrupt
	}
	h.key, h.meta, h.body = int(u32(28)), int(u32(32)), int(u32(36))
	h.size = uint32(h.length())
	if (h.kind != kindRecord || h.at != 0) && (h.kind != kindTombstone || h.length() != headerSize) {
		return h, ErrCorrupt
	}
	return h, nil
}

// checkHead checks a header with the key and the meta that follow it; b holds at
// least these.
func checkHead(b []byte, h header) error {
	crc := crc32.Checksum(b[:headerSize-4], castagnoli())
	crc = crc32.Update(crc, castagnoli(), b[headerSize:headerSize+h.key+h.meta])
	if crc != binary.LittleEndian.Uint32(b[headerSize-4:]) {
		return fmt.Errorf("header: %w", ErrCorrupt)
	}
	return nil
}

// parseRecord reads one whole record, and nothing that does not verify. The parts
// of the record share b.
func parseRecord(b []byte) (h header, r Record, err error) {
	if h, err = parseHeader(b); err != nil {
		return h, r, err
	}
	if len(b) != h.length() {
		return h, r, fmt.Errorf("%d bytes of %d: %w", len(b), h.length(), ErrCorrupt)
	}
	if err := checkHead(b, h); err != nil {
		return h, r, err
	}
	meta := headerSize + h.key
	body := meta + h.meta
	r = Record{Key: string(b[headerSize:meta]), Meta: b[meta:body:body], Body: b[body:], Sum: sha256.Sum256(b[body:])}
	if r.Sum != [sha256.Size]byte(b[40:72]) {
		return h, Record{}, fmt.Errorf("body: %w", ErrCorrupt)
	}
	return h, r, nil
}
