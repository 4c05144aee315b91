package agent

import (
	"context"
	"maps"
	"time"

	"github.com/tandem-cdn/tandem/internal/stream"
)

// This file holds how a segment is found by the name that a player asks for.

// find returns the segment of a name. One that its track should have any moment, or once
// it is there, is waited for, where the player has something to play meanwhile.
func (s *streaming) find(ctx context.Context, name string, h hints) (id stream.TrackID, seg int, ok bool) {
	id, seg, ok = s.d.Find(name)
	if st := s.d.Stats(); !ok && st.FromEdge+st.FromPeers > 0 {
		id, seg, ok = s.await(ctx, name, h)
	}
	if !ok {
		return 0, 0, false
	}
	s.mu.Lock()
	t := s.byID[id]
	ok = t.names()
	s.mu.Unlock()
	t.last.Store(time.Now().UnixNano())
	tell(t.used)
	return id, seg, ok
}

// tell tells whoever waits, or comes next.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await waits for pages, of a hinted part no longer than [pageWithin] from when the
// playlist lists it. Where a hinted one was waited for in vain none is for [lateFor], so
// that an edge that does not go on costs nobody more than one wait.
func (s *streaming) await(ctx context.Context, name string, h hints) (id stream.TrackID, seg int, ok bool) {
	hinted := h.most > pageWithin && time.Now().UnixNano() >= s.late.Load()
	if !hinted {
		h = hints{most: pageWithin}
	}
	until := time.NewTimer(h.most)
	defer until.Stop()
	for {
		growing, again := s.growing()
		if id, seg, ok = s.d.Find(name); ok {
			return id, seg, true
		}
		if tell(again); growing == nil {
			return 0, 0, false
		}
		select {
		case <-growing:
		case <-h.over:
			h.over = nil
			until.Reset(pageWithin)
		case <-until.C:
			if hinted {
				s.late.Store(time.Now().Add(lateFor).UnixNano())
			}
			return 0, 0, false
		case <-ctx.Done():
			return 0, 0, false
		}
	}
}

// growing is closed when pages of a track have come; nil where the one that was used last
// has ended. again is told to ask for its pages, where that was put off.
func (s *streaming) growing() (growing <-chan struct{}, again chan<- struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var t *tracking
	for _, o := range s.byID {
		if t == nil || o.last.Load() > t.last.Load() {
			t = o
		}
	}
	if t == nil { // nobody hears it
		return nil, make(chan struct{}, 1)
	}
	if _, ended := t.Next(); ended {
		return nil, t.again
	}
	return s.grown, t.again
}

// arrival is a segment that a player has had by an ordinary GET.
type arrival struct {
	b    []byte
	at   time.Time
	took time.Duration // to come
}

// came has a segment that came by another way be shared, once it is in a track.
func (s *streaming) came(name string, a arrival) {
	if id, seg, ok := s.d.Find(name); ok {
		s.d.Adopt(id, seg, a.b, a.at, a.took)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits[name].b == nil && s.size+len(a.b) <= maxWaits {
		s.waits[name] = a
		s.size += len(a.b)
	}
}

// adopt takes over what has waited and is in a track by now.
func (s *streaming) adopt() {
	s.mu.Lock()
	waits := maps.Clone(s.waits)
	s.mu.Unlock()
	for name, a := range waits {
		if id, seg, ok := s.d.Find(name); ok {
			s.d.Adopt(id, seg, a.b, a.at, a.took)
			s.mu.Lock()
			delete(s.waits, name)
			s.size -= len(a.b)
			s.mu.Unlock()
		}
	}
}
