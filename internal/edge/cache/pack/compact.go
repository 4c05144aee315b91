package pack

import (
	"context"
	"fmt"
)

// wasted is the share of the disk that dropped records may take: a quarter of what
// the others take, and one segment.
const wastedShare = 4

// Wasteful says whether [Store.Compact] has something to do.
func (s *Store) Wasteful() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.worstLocked() != nil
}

// worstLocked is the segment with the most bytes to win, nil when it is not worth
// the while.
func (s *Store) worstLocked() (worst *segment) {
	var disk, live int64
	for _, seg := range s.segments {
		disk += seg.end
		live += seg.live
		switch {
		case seg == s.active:
		case seg.stale:
			return seg
		case worst == nil || seg.end-seg.live > worst.end-worst.live:
			worst = seg
		}
	}
	if worst == nil || worst.end == worst.live || disk <= live+live/wastedShare+s.cfg.SegmentSize {
		return nil
	}
	return worst
}

// Compact copies what is left of wasteful segments to the active one and removes
// them, until there are none or ctx ends.
func (s *Store) Compact(ctx context.Context) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		seg := s.worstLocked()
		s.mu.Unlock()
		if seg == nil {
			return nil
		}
		if err := s.empty(ctx, seg); err != nil {
			s.mu.Lock()
			seg.stale = true // copies of what is still in it must not go before it
			s.mu.Unlock()
			return fmt.Errorf("compact segment %d: %w", seg.id, err)
		}
	}
	return context.Cause(ctx)
}

// empty copies what counts of a sealed segment and removes it.
func (s *Store) empty(ctx context.Context, seg *segment) error {
	entries, end, err := readList(s.path(seg.id, "list"))
	if err != nil || end != seg.end {
		entries, _ = scan(seg.file, seg.end)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.copyOver(seg, e); err != nil {
			return err
		}
	}
	if err := s.Flush(); err != nil { // tombstones that stood in it
		return err
	}
	s.mu.Lock()
	s.forget(seg.id)
	s.mu.Unlock()
	s.removeFiles(seg.id)
	return seg.file.Close()
}

// copyOver appends an entry of seg once more, if it counts.
func (s *Store) copyOver(seg *segment, e entry) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if e.kind == kindTombstone {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.segments[e.at] != nil && e.at != seg.id {
			s.pending = append(s.pending, e) // the record is still on disk
		}
		return nil
	}
	s.mu.Lock()
	i := s.findLocked(e.hash, e.seq)
	here := i != 0 && s.slots.at(i).seg == seg.id
	s.mu.Unlock()
	if !here {
		return nil
	}
	b := make([]byte, e.size)
	_, err := seg.file.ReadAt(b, int64(e.at))
	if err == nil {
		_, _, err = parseRecord(b)
	}
	if err != nil {
		s.log.Warn("stored record is lost", "segment", seg.id, "error", err)
		s.Drop(Ref{i, e.seq})
		return nil
	}
	to, moved, err := s.write(entry{kind: kindRecord, hash: e.hash, seq: e.seq}, b)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i = s.findLocked(e.hash, e.seq); i == 0 { // dropped meanwhile
		s.pending = append(s.pending, entry{kind: kindTombstone, at: to.id, hash: e.hash, seq: e.seq})
		return nil
	}
	p := s.slots.at(i)
	p.seg, p.at = to.id, moved.at
	seg.live -= int64(e.size)
	to.live += int64(e.size)
	return nil
}
