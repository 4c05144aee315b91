package pack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// load takes up the segments. The last goes on being appended to.
func (s *Store) load() error {
	ids, err := segmentIDs(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		seg, entries, err := s.openSegment(id)
		if err != nil {
			return err
		}
		s.last = id
		s.segments[id] = seg
		s.replay(seg, entries)
		if id == ids[len(ids)-1] && seg.end < s.cfg.SegmentSize {
			seg.entries, s.active = entries, seg
			os.Remove(s.path(id, "list")) // it will not be true for long
		} else if _, err := os.Stat(s.path(id, "list")); err != nil {
			seg.entries = entries
			err := s.writeList(seg)
			seg.entries = nil
			if err != nil {
				return err
			}
		}
	}
	s.loadOrder()
	return nil
}

// replay does what the entries of a segment say.
func (s *Store) replay(seg *segment, entries []entry) {
	for _, e := range entries {
		s.seq = max(s.seq, e.seq)
		old := s.findLocked(e.hash, e.seq)
		if old != 0 {
			if e.kind == kindRecord { // a compaction had copied it when it was broken off
				s.segments[s.slots.at(old).seg].stale = true
			}
			s.dropLocked(old)
		}
		if e.kind == kindRecord {
			s.addLocked(seg, e, 0)
		} else {
			s.bury(seg, e)
		}
	}
}

// saveOrder writes down the order of use: hash, sequence number and last use of
// every record, the least recently used first.
func (s *Store) saveOrder() error {
	f, err := os.Create(filepath.Join(s.cfg.Dir, orderFile))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	var b []byte
	for i := s.lru.back; i != 0; i = s.slots.at(i).prev {
		p := s.slots.at(i)
		b = binary.LittleEndian.AppendUint64(b[:0], p.hash)
		b = binary.LittleEndian.AppendUint64(b, p.seq)
		b = binary.LittleEndian.AppendUint64(b, p.used)
		if _, err := w.Write(b); err != nil {
			break // Flush says why
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// loadOrder restores it. Without it records count as used when they were stored.
func (s *Store) loadOrder() {
	path := filepath.Join(s.cfg.Dir, orderFile)
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer os.Remove(path) // it is of one end only
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		b, err := r.Peek(24)
		if err != nil {
			return
		}
		if i := s.findLocked(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])); i != 0 {
			s.slots.at(i).used = binary.LittleEndian.Uint64(b[16:])
			s.lru.remove(i)
			s.lru.pushFront(i)
		}
		if _, err := r.Discard(24); err != nil {
			return
		}
	}
}

// Close writes what waits and the order of use. Nothing may be called after it.
func (s *Store) Close() error {
	err := s.Flush()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if oerr := s.saveOrder(); oerr != nil {
		s.log.Warn("order of use is not saved", "error", oerr)
	}
	if err = errors.Join(err, s.closeFiles()); err != nil {
		return fmt.Errorf("close pack: %w", err)
	}
	return nil
}

func (s *Store) closeFiles() (err error) {
	for _, seg := range s.segments {
		err = errors.Join(err, seg.file.Close())
	}
	return err
}

// removeFiles removes the list first: one without its segment could be taken for that
// of another.
func (s *Store) removeFiles(id uint32) {
	os.Remove(s.path(id, "list"))
	os.Remove(s.path(id, "seg"))
}
