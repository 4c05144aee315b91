package fetch

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reading is a download of 64 MiB at 4 MiB/s for a reader, which a response of
// the whole has begun. It runs until the end of the test.
type reading struct {
	*world
	first *answer
	mu    sync.Mutex
	offs  []int64 // of the requests to the edge
	most  int64   // requests at once
	// wanted, if set, is the piece a reader waits for; beside are the requests
	// that were made meanwhile for others.
	wanted atomic.Int64
	beside []int64
}

func newReading(t *testing.T) *reading {
	r := &reading{world: newWorld(t, 64<<20)}
	r.first = &answer{w: r.world, b: r.data, closed: make(chan struct{}), stall: 1 << 40, cut: 1 << 40, flip: -1}
	r.options.Window, r.options.Stream = 16<<20, &Stream{Body: r.first, End: 64 << 20}
	r.open.Add(1)
	r.misdeed = func(_ int, off int64, _ *answer) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.offs = append(r.offs, off)
		if want := int(r.wanted.Load()); !r.store.Have().Has(want) && off != r.store.m.Offset(want) {
			r.beside = append(r.beside, off)
		}
		r.most = max(r.most, r.open.Load()+1)
		return nil
	}
	r.begin()
	return r
}

// run ends with the test.
func (r *reading) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
}

func (r *reading) requests() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.offs)
}

// pieceTime is how long the edge needs for a piece.
func (r *reading) pieceTime() time.Duration {
	return time.Duration(r.store.m.PieceSize * int64(time.Second) / r.rate)
}

// until waits for a piece.
func (r *reading) until(piece int) {
	for !r.store.Have().Has(piece) {
		<-time.After(time.Millisecond)
	}
}

// TestNothingBeforeAReader does not read for a while.
func TestNothingBeforeAReader(t *testing.T) {
	for _, tc := range []struct {
		wait   time.Duration
		off    int64
		stream bool // the first response serves the reader
	}{
		{time.Second, 0, true},
		{time.Second, 32 << 20, false},
		{time.Minute, 0, false}, // no server waits so long
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newReading(t)
			r.run(t)
			<-time.After(tc.wait)
			if n := r.sent.Load(); n > 0 || len(r.requests()) > 0 {
				t.Errorf("%d bytes, requests at %v before there is a reader", n, r.requests())
			}
			begin := time.Now()
			r.d.SetReader(tc.off)
			r.until(r.store.m.PieceAt(tc.off))
			if took, alone := time.Since(begin), r.pieceTime(); took > alone+alone/5 {
				t.Errorf("the piece at %d took %v, alone it takes %v", tc.off, took, alone)
			}
			asked := r.requests()
			if tc.stream && len(asked) > 0 || !tc.stream && (len(asked) == 0 || asked[0] != tc.off) {
				t.Errorf("requests at %v for a reader at %d after %v", asked, tc.off, tc.wait)
			}
			if over := r.first.isClosed(); over == tc.stream {
				t.Errorf("the first response is over: %v, for a reader at %d after %v", over, tc.off, tc.wait)
			}
		})
	}
}

func (a *answer) isClosed() bool {
	select {
	case <-a.closed:
		return true
	default:
		return false
	}
}

// TestNothingBesideAReader seeks: until the piece is there, it is all that the
// edge is asked for.
func TestNothingBesideAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.run(t)
		for _, off := range []int64{0, 40 << 20, 48 << 20, 46 << 20, 20 << 20} {
			piece := r.store.m.PieceAt(off)
			r.wanted.Store(int64(piece))
			begin := time.Now()
			r.d.SetReader(off)
			synctest.Wait()
			if n := r.open.Load(); n != 1 {
				t.Errorf("%d requests are under way for a reader at %d", n, off)
			}
			r.until(piece)
			if took, alone := time.Since(begin), r.pieceTime(); took > alone+alone/5 {
				t.Errorf("the piece at %d took %v, alone it takes %v", off, took, alone)
			}
			<-time.After(time.Second) // it goes on from there
		}
		synctest.Wait()
		if len(r.beside) > 0 {
			t.Errorf("requests at %v while a reader waits for other pieces", r.beside)
		}
	})
}

// TestSequentialReader has every piece read from memory, before it is stored, and
// goes on with the next at once.
func TestSequentialReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		last := r.store.m.NumPieces() - 1
		r.store.shown = func(i int) {
			r.d.SetReader(r.store.m.Offset(min(i+1, last)))
			<-time.After(time.Millisecond) // the disk
		}
		r.run(t)
		r.d.SetReader(0)
		r.until(last)
		if asked := r.requests(); len(asked) > 0 {
			t.Errorf("requests at %v beside the first response", asked)
		}
	})
}

// TestSeekingBackAndForth bounds what a reader leaves behind that never stays.
func TestSeekingBackAndForth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.run(t)
		rng := rand.New(rand.NewPCG(1, 2))
		for range 300 {
			r.d.SetReader(rng.Int64N(64 << 20))
			<-time.After(time.Duration(rng.IntN(30)) * time.Millisecond)
		}
		for off := int64(60 << 20); off > 44<<20; off -= 1 << 20 {
			r.d.SetReader(off) // the one before is in the window
			<-time.After(time.Millisecond)
		}
		synctest.Wait()
		if r.most > urgentPieces || r.most < 2 {
			t.Errorf("%d requests at once", r.most)
		}
		if n := r.open.Load(); n > 2 {
			t.Errorf("%d requests are under way in the end", n)
		}
	})
}
