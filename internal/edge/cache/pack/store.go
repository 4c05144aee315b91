package pack

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Config is what a Store needs; Dir is required.
type Config struct {
	// Dir holds the segments. It belongs to this store alone.
	Dir string
	// SegmentSize is from how many bytes on a segment is sealed; 0 is 64 MiB.
	SegmentSize int64
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

const (
	defaultSegment = 64 << 20
	maxTombs       = 1 << 16 // tombstones that are written at once, 5 MB
	seedFile       = "seed"
	orderFile      = "order"
	seedSize       = 16
)

// ErrGone says that there is no such record (any more).
var ErrGone = errors.New("record is gone")

// Ref names a record of a store. The zero Ref names none.
type Ref struct {
	slot uint32
	seq  uint64
}

// Store is a set of records. It is safe for concurrent use.
type Store struct {
	cfg  Config
	log  *slog.Logger
	seed []byte // of the hash, so that nobody can choose keys that collide

	// wmu is held while something is appended; it is taken before mu.
	wmu    sync.Mutex
	active *segment // nil until something is appended

	mu       sync.Mutex
	index    map[uint64]uint32 // hash of a key → first slot of its chain
	slots    slots
	lru      lru
	segments map[uint32]*segment
	pending  []entry // tombstones to be written
	seq      uint64  // of the last record
	last     uint32  // the last segment's number
	live     int64
	count    int
}

// Open opens the store in cfg.Dir with what an earlier one left there.
func Open(cfg Config) (*Store, error) {
	if cfg.SegmentSize == 0 {
		cfg.SegmentSize = defaultSegment
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg, log: cfg.Logger, index: make(map[uint64]uint32), segments: make(map[uint32]*segment)}
	s.lru.slots = &s.slots
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open pack: %w", err)
	}
	if err := s.loadSeed(); err != nil {
		return nil, fmt.Errorf("open pack: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open pack: %w", errors.Join(err, s.closeFiles()))
	}
	return s, nil
}

// loadSeed reads the seed of the hash. Without it the records cannot be found, and
// go.
func (s *Store) loadSeed() error {
	path := filepath.Join(s.cfg.Dir, seedFile)
	seed, err := os.ReadFile(path)
	if err == nil && len(seed) == seedSize {
		s.seed = seed
		return nil
	}
	ids, err := segmentIDs(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s.removeFiles(id)
	}
	s.seed = make([]byte, seedSize)
	rand.Read(s.seed) // never fails
	return os.WriteFile(path, s.seed, 0o600)
}

func (s *Store) hash(key string) uint64 {
	b := make([]byte, 0, 256)
	sum := sha256.Sum256(append(append(b, s.seed...), key...))
	return binary.LittleEndian.Uint64(sum[:])
}

// Put stores a record as the most recently used one, at the time used, which never
// runs backwards. Others of the same key stay.
func (s *Store) Put(r Record, used uint64) (Ref, error) {
	if len(r.Key) > MaxKey || len(r.Meta) > MaxMeta || len(r.Body) > MaxBody {
		return Ref{}, fmt.Errorf("pack %.60q: %d, %d and %d bytes are too many", r.Key, len(r.Key), len(r.Meta), len(r.Body))
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.mu.Lock()
	s.seq++
	e := entry{kind: kindRecord, hash: s.hash(r.Key), seq: s.seq}
	s.mu.Unlock()
	seg, e, err := s.write(e, appendRecord(nil, e, r))
	if err != nil {
		return Ref{}, fmt.Errorf("pack %.60q: %w", r.Key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(seg, e, used), nil
}

// write appends an encoded record to the active segment, after tombstones that wait. The caller holds wmu.
func (s *Store) write(e entry, data []byte) (*segment, entry, error) {
	s.mu.Lock()
	n := min(len(s.pending), maxTombs)
	waiting := s.pending[:n:n]
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil // with the memory
	}
	s.mu.Unlock()
	var tombs []byte
	for _, t := range waiting {
		tombs = appendRecord(tombs, t, Record{})
	}
	seg, err := s.room(int64(len(tombs) + len(data)))
	if err == nil {
		if _, err = seg.file.WriteAt(append(tombs, data...), seg.end); err != nil {
			err = errors.Join(err, seg.file.Truncate(seg.end)) // a part is no record
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.pending = slices.Concat(waiting, s.pending)
		return nil, e, err
	}
	for _, t := range waiting {
		t.size = headerSize
		seg.entries = append(seg.entries, t)
		s.bury(seg, t)
	}
	seg.end += int64(len(tombs))
	if len(data) == 0 {
		return seg, e, nil
	}
	e.size = uint32(len(data))
	if e.kind == kindRecord {
		e.at = uint32(seg.end)
	}
	seg.entries = append(seg.entries, e)
	seg.end += int64(len(data))
	return seg, e, nil
}

// room is the segment that n more bytes are appended to. The caller holds wmu.
func (s *Store) room(n int64) (*segment, error) {
	if s.active != nil && (s.active.end == 0 || s.active.end+n <= s.cfg.SegmentSize) {
		return s.active, nil
	}
	if s.active != nil {
		if err := s.writeList(s.active); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.last++
	id := s.last
	s.mu.Unlock()
	f, err := os.OpenFile(s.path(id, "seg"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active != nil {
		s.active.entries = nil
	}
	s.active = &segment{id: id, file: f}
	s.segments[id] = s.active
	return s.active, nil
}

// addLocked makes a record findable.
func (s *Store) addLocked(seg *segment, e entry, used uint64) Ref {
	i := s.slots.take()
	*s.slots.at(i) = slot{hash: e.hash, seq: e.seq, used: used, seg: seg.id, at: e.at, size: e.size, chain: s.index[e.hash]}
	s.index[e.hash] = i
	s.lru.pushFront(i)
	seg.live += int64(e.size)
	s.live += int64(e.size)
	s.count++
	return Ref{i, e.seq}
}

// findLocked is the slot of the record with a sequence number, 0 for none.
func (s *Store) findLocked(hash, seq uint64) uint32 {
	for i := s.index[hash]; i != 0; i = s.slots.at(i).chain {
		if s.slots.at(i).seq == seq {
			return i
		}
	}
	return 0
}

func (s *Store) hasLocked(ref Ref) bool {
	return ref.seq != 0 && s.slots.at(ref.slot).seq == ref.seq
}

// Has says whether the record is there.
func (s *Store) Has(ref Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasLocked(ref)
}

// Refs are the records that may have the key: [Store.Read] tells.
func (s *Store) Refs(key string) (refs []Ref) {
	hash := s.hash(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := s.index[hash]; i != 0; i = s.slots.at(i).chain {
		refs = append(refs, Ref{i, s.slots.at(i).seq})
	}
	return refs
}

// Touch makes the record the most recently used one, at the time used.
func (s *Store) Touch(ref Ref, used uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasLocked(ref) {
		s.slots.at(ref.slot).used = used
		s.lru.remove(ref.slot)
		s.lru.pushFront(ref.slot)
	}
}

// Oldest is the least recently used record that ok accepts. It calls ok with its
// lock held.
func (s *Store) Oldest(ok func(Ref) bool) (Ref, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := s.lru.back; i != 0; i = s.slots.at(i).prev {
		if ref := (Ref{i, s.slots.at(i).seq}); ok(ref) {
			return ref, true
		}
	}
	return Ref{}, false
}

// Drop forgets a record. The tombstone that keeps it from coming back is written
// by the next [Store.Flush] or [Store.Put].
func (s *Store) Drop(ref Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasLocked(ref) {
		s.pending = append(s.pending, s.dropLocked(ref.slot))
	}
}

// dropLocked takes a record out of the index and returns its tombstone.
func (s *Store) dropLocked(i uint32) entry {
	d := *s.slots.at(i)
	if s.index[d.hash] == i {
		if d.chain == 0 {
			delete(s.index, d.hash)
		} else {
			s.index[d.hash] = d.chain
		}
	} else {
		for j := s.index[d.hash]; j != 0; j = s.slots.at(j).chain {
			if p := s.slots.at(j); p.chain == i {
				p.chain = d.chain
				break
			}
		}
	}
	s.lru.remove(i)
	s.slots.give(i)
	if seg := s.segments[d.seg]; seg != nil {
		seg.live -= int64(d.size)
	}
	s.live -= int64(d.size)
	s.count--
	return entry{kind: kindTombstone, at: d.seg, hash: d.hash, seq: d.seq}
}

// Flush writes the tombstones that wait.
func (s *Store) Flush() error {
	s.wmu.Lock() // first: a compaction may be about to have one more written
	defer s.wmu.Unlock()
	for {
		s.mu.Lock()
		none := len(s.pending) == 0
		s.mu.Unlock()
		if none {
			return nil
		}
		if _, _, err := s.write(entry{}, nil); err != nil {
			return fmt.Errorf("pack: tombstones: %w", err)
		}
	}
}

// Read returns a record that verifies. One that does not is dropped. Errors are
// [ErrGone], [ErrCorrupt], or the disk's.
func (s *Store) Read(ref Ref) (Record, error) {
	for {
		at, file, err := s.where(ref)
		if err != nil {
			return Record{}, err
		}
		b := make([]byte, at.size)
		_, err = file.ReadAt(b, int64(at.at))
		var h header
		var r Record
		if err == nil {
			if h, r, err = parseRecord(b); err == nil && (h.seq != ref.seq || h.hash != at.hash) {
				err = ErrCorrupt
			}
		}
		if err == nil {
			return r, nil
		}
		if now, _, werr := s.where(ref); werr == nil && (now.seg != at.seg || now.at != at.at) {
			continue // it was copied meanwhile
		}
		if !errors.Is(err, os.ErrClosed) {
			s.Drop(ref)
		}
		return Record{}, fmt.Errorf("pack: record %d of segment %d: %w", ref.seq, at.seg, err)
	}
}

func (s *Store) where(ref Ref) (slot, *os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasLocked(ref) {
		return slot{}, nil, ErrGone
	}
	at := *s.slots.at(ref.slot)
	seg := s.segments[at.seg]
	if seg == nil { // its segment could not be read to the end when that was compacted
		s.dropLocked(ref.slot)
		return slot{}, nil, ErrGone
	}
	return at, seg.file, nil
}

// Used is when the record was used last, 0 if it is gone or nobody knows.
func (s *Store) Used(ref Ref) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hasLocked(ref) {
		return 0
	}
	return s.slots.at(ref.slot).used
}

// LastUse is when a record was used last.
func (s *Store) LastUse() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lru.front == 0 {
		return 0
	}
	return s.slots.at(s.lru.front).used
}

// Live is the number of records and their bytes on disk.
func (s *Store) Live() (records int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.live
}

// Disk is what the segments take, with what was dropped and is not compacted yet.
func (s *Store) Disk() (bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		bytes += seg.end
	}
	return bytes
}

// Walk calls fn with every record's key, as far as they verify, in no order. What
// is stored meanwhile may be left out.
func (s *Store) Walk(fn func(Ref, string)) {
	for i := uint32(1); ; i++ {
		s.mu.Lock()
		if i > s.slots.most() {
			s.mu.Unlock()
			return
		}
		ref := Ref{i, s.slots.at(i).seq}
		s.mu.Unlock()
		if key, ok := s.key(ref); ok {
			fn(ref, key)
		}
	}
}

// key reads the key of a record.
func (s *Store) key(ref Ref) (string, bool) {
	for {
		at, file, err := s.where(ref)
		if err != nil {
			return "", false
		}
		b := make([]byte, min(int64(at.size), headerSize+MaxKey))
		if _, err := file.ReadAt(b, int64(at.at)); err == nil {
			h, err := parseHeader(b)
			ok := err == nil && h.seq == ref.seq && headerSize+h.key <= len(b)
			if !ok {
				return "", false
			}
			return string(b[headerSize : headerSize+h.key]), true
		}
		if now, _, err := s.where(ref); err != nil || now.seg == at.seg && now.at == at.at {
			return "", false
		} // else it was copied meanwhile
	}
}
