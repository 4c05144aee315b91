package swarm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// slowDisk is a handler that asks for three pieces and holds every one up.
type slowDisk struct {
	seed
	bytes   int
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

func (d *slowDisk) PeerBytes(_ *Peer, _, n int) { d.bytes += n }

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
			if want := min(stored+2, 3) * piece; d.bytes != want || d.pieces != stored {
				t.Errorf("with %d pieces stored %d bytes are read, want %d", d.pieces, d.bytes, want)
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
