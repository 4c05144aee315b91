package pack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segment is one file of records. Its fields but id and file are guarded by the
// store's mu.
type segment struct {
	id      uint32
	file    *os.File
	end     int64   // bytes
	live    int64   // bytes of records that are not dropped, and of tombstones that are needed
	entries []entry // of the active segment; of a sealed one they are in its list
	stale   bool    // a compaction of it was broken off

	// owed are the bytes of tombstones by the segment that they are needed for.
	owed map[uint32]int64
}

// bury counts a tombstone of seg. The caller holds mu.
func (s *Store) bury(seg *segment, e entry) {
	if s.segments[e.at] == nil {
		return
	}
	if seg.owed == nil {
		seg.owed = make(map[uint32]int64)
	}
	seg.owed[e.at] += headerSize
	seg.live += headerSize
}

// forget takes a segment out of the books. The caller holds mu.
func (s *Store) forget(id uint32) {
	delete(s.segments, id)
	for _, seg := range s.segments {
		seg.live -= seg.owed[id]
		delete(seg.owed, id)
	}
}

const (
	listMagic = 0x314c5054 // "TPL1"
	listEntry = 28         // bytes of an entry in a list
	// maxSegment bounds what a file is taken for; offsets are 32 bits.
	maxSegment = 1 << 30
)

func (s *Store) path(id uint32, kind string) string {
	return filepath.Join(s.cfg.Dir, fmt.Sprintf("%08d.%s", id, kind))
}

// segmentIDs are those of the files in a directory, in order.
func segmentIDs(dir string) (ids []uint32, err error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		name, ok := strings.CutSuffix(n.Name(), ".seg")
		if id, err := strconv.ParseUint(name, 10, 32); ok && err == nil && id > 0 {
			ids = append(ids, uint32(id))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// openSegment opens a segment and finds its records: in its list, or by scanning.
// What follows the last record that verifies is cut off.
func (s *Store) openSegment(id uint32) (*segment, []entry, error) {
	f, err := os.OpenFile(s.path(id, "seg"), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	seg := &segment{id: id, file: f}
	entries, end, err := readList(s.path(id, "list"))
	if err != nil || end != st.Size() { // more was appended, or less reached the disk
		entries, end = scan(f, min(st.Size(), maxSegment))
		os.Remove(s.path(id, "list"))
	}
	seg.end = end
	if end < st.Size() {
		err = f.Truncate(end)
	} else {
		err = nil
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return seg, entries, nil
}

// scan reads records up to the first that is not whole. Bodies are checked when
// they are read.
func scan(f io.ReaderAt, size int64) (entries []entry, end int64) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), maxRecord)
	for {
		b, err := r.Peek(headerSize)
		if err != nil {
			return entries, end
		}
		h, err := parseHeader(b)
		if err != nil || end+int64(h.length()) > size {
			return entries, end
		}
		if b, err = r.Peek(headerSize + h.key + h.meta); err != nil || checkHead(b, h) != nil {
			return entries, end
		}
		if h.kind == kindRecord {
			h.at = uint32(end)
		}
		entries = append(entries, h.entry)
		if _, err := r.Discard(h.length()); err != nil {
			return entries[:len(entries)-1], end
		}
		end += int64(h.length())
	}
}

// writeList seals a segment.
func (s *Store) writeList(seg *segment) error {
	b := make([]byte, 0, 16+len(seg.entries)*listEntry+4)
	b = binary.LittleEndian.AppendUint32(b, listMagic)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(seg.entries)))
	b = binary.LittleEndian.AppendUint64(b, uint64(seg.end))
	for _, e := range seg.entries {
		for _, v := range []uint32{e.kind, e.at, e.size} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		b = binary.LittleEndian.AppendUint64(b, e.hash)
		b = binary.LittleEndian.AppendUint64(b, e.seq)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	path := s.path(seg.id, "list")
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func readList(path string) (entries []entry, end int64, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	return parseList(b)
}

// parseList reads a list, and nothing of one that does not verify.
func parseList(b []byte) (entries []entry, end int64, err error) {
	le := binary.LittleEndian
	n := len(b) - 20
	if n < 0 || n%listEntry != 0 || le.Uint32(b) != listMagic || int64(le.Uint32(b[4:])) != int64(n/listEntry) ||
		le.Uint64(b[8:]) > maxSegment || crc32.Checksum(b[:16+n], castagnoli()) != le.Uint32(b[16+n:]) {
		return nil, 0, fmt.Errorf("list: %w", ErrCorrupt)
	}
	end = int64(le.Uint64(b[8:]))
	entries = make([]entry, 0, n/listEntry)
	for p := b[16 : 16+n]; len(p) > 0; p = p[listEntry:] {
		e := entry{kind: le.Uint32(p), at: le.Uint32(p[4:]), size: le.Uint32(p[8:]), hash: le.Uint64(p[12:]), seq: le.Uint64(p[20:])}
		if e.size < headerSize || e.size > maxRecord || e.kind == kindRecord && int64(e.at)+int64(e.size) > end {
			return nil, 0, fmt.Errorf("list: %w", ErrCorrupt)
		}
		entries = append(entries, e)
	}
	return entries, end, nil
}
