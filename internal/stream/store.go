package stream

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Key names a piece of a stream.
type Key struct {
	Track TrackID
	Piece int
}

// Store holds verified pieces of a stream: in memory those used last, others in files,
// one each, and none of what was not used for longest beyond a quota. What is read back
// from a file is verified again. It is safe for concurrent use.
type Store struct {
	dir           string
	memory, quota int64

	mu    sync.Mutex
	held  map[Key]*list.Element // of *held
	used  *list.List            // the last used first
	have  map[TrackID]*bits
	inMem int64
	total int64
	// cold is the first in used that is in a file, with all behind it; nil: none.
	cold *list.Element
}

// held is a piece; data is nil where it is in a file.
type held struct {
	key  Key
	data []byte
	size int64
}

// NewStore returns an empty store with files in dir, which must exist and be its own.
// Up to memory bytes are in memory, up to quota in all.
func NewStore(dir string, memory, quota int64) *Store {
	return &Store{
		dir: dir, memory: memory, quota: max(quota, memory),
		held: map[Key]*list.Element{}, used: list.New(), have: map[TrackID]*bits{},
	}
}

// Close removes the files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("pieces of a stream: %w", err)
	}
	return nil
}

func (s *Store) file(k Key) string {
	return filepath.Join(s.dir, fmt.Sprintf("%d-%d", k.Track, k.Piece))
}

// Put stores a verified piece, of which it keeps a copy, and returns what it has dropped
// for it.
func (s *Store) Put(k Key, b []byte) (dropped []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[k] != nil {
		return nil
	}
	h := &held{key: k, data: append([]byte(nil), b...), size: int64(len(b))}
	s.held[k] = s.used.PushFront(h)
	s.inMem += h.size
	s.total += h.size
	if s.have[k.Track] == nil {
		s.have[k.Track] = &bits{}
	}
	s.have[k.Track].put(k.Piece)
	return s.shrink()
}

// shrink brings memory and the whole below their bounds. The caller holds the mutex.
func (s *Store) shrink() (dropped []Key) {
	for s.inMem > s.memory {
		e := s.used.Back()
		if s.cold != nil {
			e = s.cold.Prev()
		}
		h := e.Value.(*held)
		if err := os.WriteFile(s.file(h.key), h.data, 0o600); err != nil { // a full disk, mostly
			dropped = append(dropped, h.key)
			s.drop(e)
			continue
		}
		s.inMem -= h.size
		h.data, s.cold = nil, e
	}
	for s.total > s.quota {
		e := s.used.Back()
		dropped = append(dropped, e.Value.(*held).key)
		s.drop(e)
	}
	return dropped
}

// drop forgets a piece. The caller holds the mutex.
func (s *Store) drop(e *list.Element) {
	h := e.Value.(*held)
	if e == s.cold {
		s.cold = e.Next()
	}
	if h.data == nil {
		_ = os.Remove(s.file(h.key)) // Close removes them all
	} else {
		s.inMem -= h.size
	}
	s.total -= h.size
	s.used.Remove(e)
	delete(s.held, h.key)
	s.have[h.key.Track].Clear(h.key.Piece)
}

// errMissing: the piece is not in the store.
var errMissing = errors.New("no such piece here")

// Get returns a piece, which must not be changed. What verify refuses is dropped.
func (s *Store) Get(k Key, verify func(b []byte) bool) (b []byte, dropped []Key, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.held[k]
	if e == nil {
		return nil, nil, errMissing
	}
	h := e.Value.(*held)
	if h.data == nil {
		b, err := os.ReadFile(s.file(k))
		if err != nil || !verify(b) {
			s.drop(e)
			return nil, []Key{k}, fmt.Errorf("%w: piece %d was damaged in its file", errMissing, k.Piece)
		}
		_ = os.Remove(s.file(k))
		h.data = b
		s.inMem += h.size
	}
	b = h.data
	if e == s.cold {
		s.cold = e.Next()
	}
	s.used.MoveToFront(e)
	return b, s.shrink(), nil
}

// Has reports whether a piece is there.
func (s *Store) Has(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[k] != nil
}

// Have is the set of pieces of a track that are there.
func (s *Store) Have(t TrackID) manifest.Bitfield {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have[t] == nil {
		return manifest.NewBitfield(0)
	}
	return s.have[t].Clone()
}
