package edge

import (
	"crypto/ed25519"
	"sync"
	"testing"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// All who ask at once for the map of a new version are given one signed copy.
func TestChunksSignedOnce(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(key)
	m := &chunkmap.Map{Object: manifest.ObjectID{1}, Chunks: make([]chunkmap.Chunk, 1<<20)}
	got := make([][]byte, 16)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			<-start
			got[i] = s.signChunks(m)
		})
	}
	close(start)
	wg.Wait()
	for _, c := range got {
		if &c[0] != &got[0][0] {
			t.Fatal("the same map was signed more than once")
		}
	}
}
