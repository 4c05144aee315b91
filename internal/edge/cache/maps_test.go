package cache

import (
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
		k.mu.Unlock()
		wg.Go(func() { k.made(e, &chunkmap.Map{Chunks: make([]chunkmap.Chunk, maxMaps/2)}, nil) })
		wg.Go(func() { <-w.done; _ = len(w.m.Chunks) })
	}
	wg.Wait()
	sum := 0
	for e := k.byUse.Front(); e != nil; e = e.Next() {
		sum += len(e.Value.(*mapping).m.Chunks)
	}
	if sum != k.chunks || sum == 0 || sum > maxMaps || len(k.known) != k.byUse.Len() {
		t.Errorf("%d chunks in %d maps, counted %d", sum, k.byUse.Len(), k.chunks)
	}
}
