package fetch

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An edge that damages a piece and breaks off behind it is found out, although the
// next piece fails first.
func TestDamageIsNotHidden(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1<<20)
			w.misdeed = func(_ int, _ int64, a *answer) error {
				a.flip, a.cut = 100, int(w.store.m.PieceSize)+1
				return nil
			}
			w.store.shown = func(int) { <-time.After(10 * time.Millisecond) }
			if _, err := w.run(); !errors.Is(err, ErrCorruptEdge) {
				t.Fatal(err)
			}
			if n := w.d.Stats().Edges[0].Failures; n != w.d.corrupt[0] {
				t.Fatalf("%d of %d failures told as damage", w.d.corrupt[0], n)
			}
		})
	}
}

// A request that is ended while a piece of it is checked, and the next one comes, does
// not hide that the piece is wrong.
func TestDamageInTrimmedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.misdeed = func(_ int, off int64, a *answer) error {
			a.flip = off
			return nil
		}
		var damaged atomic.Int64
		w.store.shown = func(i int) {
			if damaged.Add(1) > 100 {
				return
			}
			<-time.After(time.Millisecond) // the next one is on its way
			w.d.in.Post(func(time.Duration) {
				for _, e := range w.d.edge {
					e.trim(i + 1)
				}
			})
			<-time.After(time.Millisecond)
		}
		_, err := w.run()
		if n := damaged.Load(); !errors.Is(err, ErrCorruptEdge) || n > 20 {
			t.Errorf("after %d damaged pieces: %v", n, err)
		}
	})
}
