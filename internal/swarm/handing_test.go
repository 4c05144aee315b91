package swarm

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// slowDisk is a handler that asks for three pieces and holds every one up.
type slowDisk struct {
	seed
	bytes   atomic.Int64
	pieces  int
	holding int
	release chan struct{}
	closed  bool
	t       *testing.T
}

func (d *slowDisk) PeerHave(p *Peer, pieces []int) {
	for _, i := range pieces[:3] {
		p.Request(i, wire.UrgencyNormal)
	}
}

func (d *slowDisk) PeerBytes(_ *Peer, _, n int) { d.bytes.Add(int64(n)) }

func (d *slowDisk) PeerPiece(*Peer, int, int64, []byte) {
	d.holding++
	if d.holding > 1 {
		d.t.Error("two pieces of one peer at a time")
	}
	<-d.release
	d.holding--
	d.pieces++
	if d.closed {
		d.t.Error("a piece after PeerClose")
	}
}

func (d *slowDisk) PeerClose(*Peer, error) { d.closed = true }

// TestReaderReadsOnWhileAPieceIsStored: the next piece is read while one is with its
// handler, and no third. The last call is PeerClose all the same.
func TestReaderReadsOnWhileAPieceIsStored(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		b.join(seed, nil)
		d := &slowDisk{t: t, release: make(chan struct{})}
		b.join(leech, d)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		piece := int(b.object.PieceSize)
		for stored := range 2 {
			<-time.After(time.Second)
			synctest.Wait()
			if want := int64(min(stored+2, 3) * piece); d.bytes.Load() != want || d.pieces != stored {
				t.Errorf("with %d pieces stored %d bytes are read, want %d", d.pieces, d.bytes.Load(), want)
			}
			d.release <- struct{}{}
		}
		left := make(chan struct{})
		go func() {
			leech.swarm.Leave()
			close(left)
		}()
		synctest.Wait()
		if d.closed {
			t.Error("closed while a piece is with the handler")
		}
		d.release <- struct{}{}
		<-left
		if !d.closed || d.pieces != 3 {
			t.Errorf("closed: %v, %d pieces stored, want 3", d.closed, d.pieces)
		}
	})
}

// Frames grow on a link that takes them at once, and shrink on one that does not.
func TestFrameSize(t *testing.T) {
	n := leastData
	for range 4 {
		n = nextData(n, time.Microsecond)
	}
	if n != wire.MaxData {
		t.Errorf("%d bytes on a fast link, want %d", n, wire.MaxData)
	}
	if got := nextData(n, 5*time.Millisecond); got != n {
		t.Errorf("%d bytes after 5 ms, want %d", got, n)
	}
	for range 4 {
		n = nextData(n, 50*time.Millisecond)
	}
	if n != leastData {
		t.Errorf("%d bytes on a slow link, want %d", n, leastData)
	}
}

// reluctant is a Limiter that lets a quarter of a frame through now and then.
type reluctant struct{}

func (reluctant) Step(n int, _ bool) int { return min(n, leastData/4) }

func (reluctant) Wait(ctx context.Context, _ int, _ bool) error {
	select {
	case <-time.After(wire.DeadAfter * 2 / 3):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestHeldBackIsNotDead: a peer is not given up for the time in which nothing is read,
// and what is read is told of at once.
func TestHeldBackIsNotDead(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		leech.cfg.Down = reluctant{}
		b.join(seed, nil)
		d := &slowDisk{t: t, release: make(chan struct{}, 3)}
		d.release <- struct{}{}
		b.join(leech, d)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		steps := int(4 * b.object.PieceSize / leastData)
		<-time.After(10 * time.Second)
		for i := range steps {
			<-time.After(wire.DeadAfter * 2 / 3)
			synctest.Wait()
			if want := int64((i + 1) * leastData / 4); d.bytes.Load() != want {
				t.Fatalf("%d bytes after %d steps, want %d", d.bytes.Load(), i+1, want)
			}
		}
		if d.pieces != 1 || d.closed {
			t.Errorf("%d pieces came, the link ended: %v", d.pieces, d.closed)
		}
		close(d.release)
	})
}
