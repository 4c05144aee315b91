package cache

import (
	"errors"
	"sync"
	"testing"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Maps that become ready at once are counted once each, and no more are kept than
// there is room for.
func TestMapsAtOnce(t *testing.T) {
	k := newMaps()
	var wg sync.WaitGroup
	for i := range 8 {
		w := &mapping{id: manifest.ObjectID{byte(i)}, done: make(chan struct{})}
		k.mu.Lock()
		e := k.byUse.PushFront(w)
		k.known[w.id] = e
		k.asked++
		k.mu.Unlock()
		wg.Go(func() { k.made(e, &chunkmap.Map{Chunks: make([]chunkmap.Chunk, maxMaps/2)}, nil) })
		wg.Go(func() { <-w.done; _ = len(w.m.Chunks) })
	}
	wg.Wait()
	sum := 0
	for e := k.byUse.Front(); e != nil; e = e.Next() {
		sum += len(e.Value.(*mapping).m.Chunks)
	}
	if sum != k.chunks || sum == 0 || sum > maxMaps || len(k.known) != k.byUse.Len() || k.asked != 0 {
		t.Errorf("%d chunks in %d maps, counted %d", sum, k.byUse.Len(), k.chunks)
	}
}

// More maps than may be on their way are refused, until one is made.
func TestMapsAsked(t *testing.T) {
	l := newLab(t, nil, nil)
	l.setHandler(l.object(content(2<<20, 1), `"v1"`, "Cache-Control", "max-age=60"))
	k := l.cache.maps
	k.asked = maxMapsAsked
	if _, _, err := l.cache.Chunks(t.Context(), "/o"); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	k.mu.Lock()
	k.asked--
	k.mu.Unlock()
	for range 2 {
		if _, m, err := l.cache.Chunks(t.Context(), "/o"); err != nil || m.Size != 2<<20 {
			t.Errorf("the last that may be: %v", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked != maxMapsAsked-1 || len(k.known) != 1 {
		t.Errorf("%d on their way, %d known", k.asked, len(k.known))
	}
}
