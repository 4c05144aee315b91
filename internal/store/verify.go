package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

const (
	hashBuffer  = 256 << 10 // bytes read at a time while hashing
	hashWorkers = 4         // at most; beyond, disks are slower than SHA-256
)

// goodPieces hashes the pieces of data that are in want and returns those that
// are right. Pieces that cannot be read are not. It stops early when ctx ends.
func goodPieces(ctx context.Context, data io.ReaderAt, m *manifest.Manifest, want manifest.Bitfield) (manifest.Bitfield, error) {
	good := manifest.NewBitfield(m.NumPieces())
	var mu sync.Mutex
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(hashWorkers, runtime.GOMAXPROCS(0), want.Count()) {
		workers.Go(func() {
			buf := make([]byte, hashBuffer)
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= m.NumPieces() {
					return
				}
				if want.Has(i) && pieceGood(data, m, i, buf) {
					mu.Lock()
					good.Set(i)
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return good, ctx.Err()
}

// pieceGood hashes piece i of data, reading through buf.
func pieceGood(data io.ReaderAt, m *manifest.Manifest, i int, buf []byte) bool {
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.NewSectionReader(data, m.Offset(i), m.PieceLen(i)), buf)
	return err == nil && n == m.PieceLen(i) && manifest.Hash(h.Sum(nil)) == m.Pieces[i]
}

// receive fills b from r and returns its hash. What has come is hashed while more is
// read: on a fast line hashing is slower than reading.
func receive(b []byte, r io.Reader) (manifest.Hash, error) {
	came := make(chan []byte, len(b)/hashBuffer+1)
	sum := make(chan manifest.Hash, 1)
	go func() {
		h := sha256.New()
		for part := range came {
			h.Write(part)
		}
		sum <- manifest.Hash(h.Sum(nil))
	}()
	rest := b
	var err error
	for len(rest) > 0 && err == nil {
		part := rest[:min(len(rest), hashBuffer)]
		if _, err = io.ReadFull(r, part); err == nil {
			came <- part
			rest = rest[len(part):]
		}
	}
	close(came)
	if errors.Is(err, io.EOF) && len(rest) < len(b) {
		err = io.ErrUnexpectedEOF
	}
	return <-sum, err
}
