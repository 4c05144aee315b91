package swarm

import (
	"math/bits"
	"sync"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// buffers recycles piece buffers, by the power of two above their size.
var buffers [32]sync.Pool

func getBuffer(n int) []byte {
	class := bits.Len(uint(max(n, manifest.MinPieceSize) - 1))
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<class)
}

func putBuffer(b []byte) {
	b = b[:cap(b)]
	if class := bits.Len(uint(len(b) - 1)); 1<<class == len(b) {
		buffers[class].Put(&b)
	}
}
