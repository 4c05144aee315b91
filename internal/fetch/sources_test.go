package fetch

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// later is the error of an edge that is full.
type later struct{ error }

func (later) RetryAfter() time.Duration { return time.Second }

var errBusy = later{errors.New("full")}

// withMirror downloads 16 MiB, four seconds' worth of one edge, from two.
func withMirror(t *testing.T, first, mirror func(n int, off int64, a *answer) error) (*world, time.Duration, error) {
	t.Helper()
	w, m := newWorld(t, 16<<20), newWorld(t, 16<<20) // of the same bytes
	w.misdeed, m.misdeed = first, mirror
	w.mirror = m
	took, err := w.run()
	return w, took, err
}

func well(int, int64, *answer) error { return nil }

func after(bytes int) func(int, int64, *answer) error {
	return func(_ int, _ int64, a *answer) error { a.stall = bytes; return nil }
}

func always(err error) func(int, int64, *answer) error {
	return func(int, int64, *answer) error { return err }
}

func flips(_ int, _ int64, a *answer) error { a.flip = 7; return nil }

// TestTwoEdges has one of two edges misbehave in every way. It is dropped when it
// has other bytes, left when it brings none, and the download ends well and in time.
func TestTwoEdges(t *testing.T) {
	const whichever = -2
	for _, tc := range []struct {
		name          string
		first, mirror func(n int, off int64, a *answer) error
		within        time.Duration
		dropped       int // edge
		want          error
	}{
		{name: "both well", first: well, mirror: well, within: 2500 * time.Millisecond, dropped: -1},
		{name: "first goes silent", first: after(3 << 20), mirror: well, within: 4500 * time.Millisecond, dropped: -1},
		{name: "mirror goes silent", first: well, mirror: after(1 << 20), within: 4200 * time.Millisecond, dropped: -1},
		{name: "first full", first: always(errBusy), mirror: well, within: 4500 * time.Millisecond, dropped: -1},
		{name: "mirror full", first: well, mirror: always(errBusy), within: 4500 * time.Millisecond, dropped: -1},
		{name: "mirror refuses", first: well, mirror: always(errReset), within: 4500 * time.Millisecond, dropped: -1},
		{name: "mirror has not got it", first: well, mirror: always(errGone), within: 4500 * time.Millisecond, dropped: 1},
		{name: "mirror has other bytes", first: well, mirror: flips, within: 4500 * time.Millisecond, dropped: 1},
		{name: "first has other bytes", first: flips, mirror: well, within: 6 * time.Second, dropped: whichever},
		{name: "both have other bytes", first: flips, mirror: flips, within: 6 * time.Second, dropped: whichever, want: ErrCorruptEdge},
		{name: "first is gone", first: always(errGone), mirror: well, within: 4500 * time.Millisecond, dropped: -1, want: errGone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, took, err := withMirror(t, tc.first, tc.mirror)
				if !errors.Is(err, tc.want) {
					t.Fatalf("error %v, want %v", err, tc.want)
				}
				st := w.d.Stats()
				if took > tc.within || tc.want == nil && st.Wasted > 16<<20/50 {
					t.Errorf("took %v, at most %v wanted; %d bytes wasted", took, tc.within, st.Wasted)
				}
				for i, e := range st.Edges {
					if tc.dropped != whichever && e.Dropped != (i == tc.dropped) {
						t.Errorf("edge %d: dropped %v", i, e.Dropped)
					}
				}
				if tc.want == nil && st.Edges[0].Bytes+st.Edges[1].Bytes != st.FromEdge {
					t.Errorf("%d from edges, of which %d and %d", st.FromEdge, st.Edges[0].Bytes, st.Edges[1].Bytes)
				}
			})
		})
	}
}

// TestPatience has an edge that is full for a while, and one that is for good: the
// first is waited for, the second until patience runs out.
func TestPatience(t *testing.T) {
	for _, full := range []time.Duration{3 * time.Minute, time.Hour} {
		t.Run(full.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 4<<20)
				w.options.Patience = 5 * time.Minute
				start := time.Now()
				w.misdeed = func(int, int64, *answer) error {
					if time.Since(start) < full {
						return errBusy
					}
					return nil
				}
				took, err := w.run()
				switch {
				case full < w.options.Patience && (err != nil || took > full+4*time.Second):
					t.Errorf("full for %v: error %v after %v", full, err, took)
				case full > w.options.Patience && (!errors.Is(err, ErrStalled) || took < w.options.Patience || took > w.options.Patience+time.Second):
					t.Errorf("full for good: error %v after %v", err, took)
				}
				if most := int64(took/time.Second) + 1; w.asked.Load() > most {
					t.Errorf("asked %d times in %v", w.asked.Load(), took)
				}
			})
		})
	}
}

// TestDeadConnection has the only edge's first connection die without a word:
// another one is tried, after the idle ones were given up.
func TestDeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16<<20)
		w.misdeed = func(n int, _ int64, a *answer) error {
			if n == 0 {
				a.stall = 5 << 20
			}
			return nil
		}
		took, err := w.run()
		if err != nil || took > 4*time.Second+edgeSilence+time.Second {
			t.Errorf("error %v after %v", err, took)
		}
		if w.refreshed.Load() == 0 {
			t.Error("the idle connections were kept")
		}
	})
}
