package swarm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/governor"
	"github.com/tandem-cdn/tandem/internal/transport/memnet"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// diary is a handler that takes its time over everything and writes down when it
// begins and ends.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) slow(what string) {
	d.note(what)
	<-time.After(time.Second)
	d.note(what + ".")
}

func (d *diary) note(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, s)
}

func (d *diary) PeerOpen(*Peer) { d.slow("open") }
func (d *diary) PeerHave(p *Peer, pieces []int) {
	p.Request(pieces[0], wire.UrgencyNormal)
	d.slow("have")
}
func (d *diary) PeerLost(*Peer, []int)                      {}
func (d *diary) PeerBytes(*Peer, int, int)                  {}
func (d *diary) PeerLate(*Peer, int)                        {}
func (d *diary) PeerPiece(*Peer, int, int64, []byte)        { d.slow("piece") }
func (d *diary) PeerReject(*Peer, int, bool, time.Duration) { d.slow("reject") }
func (d *diary) PeerClose(*Peer, error)                     { d.slow("close") }

// TestHandlerHearsOneThingAtATime has a peer that opened long before this side
// joined, and a Leave while a piece is being handed over.
func TestHandlerHearsOneThingAtATime(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		b.join(seed, nil)
		seed.swarm.Connect([]wire.Candidate{leech.host.Candidate()})
		<-time.After(time.Second)
		d := &diary{}
		b.join(leech, d)
		<-time.After(2500 * time.Millisecond) // in the middle of the piece
		leech.swarm.Leave()
		want := []string{"open", "open.", "have", "have.", "piece", "piece.", "close", "close."}
		if !slices.Equal(d.lines, want) {
			t.Errorf("heard %v, want %v", d.lines, want)
		}
	})
}

// twin is another object on the network of b.
func (b *bed) twin(t *testing.T) *bed {
	o := newBed(t, len(b.data)+1, b.rate)
	o.net, o.publisher = b.net, b.publisher
	return o
}

// TestRejoinOnLiveLink leaves a swarm and enters it again, on a link that another
// swarm keeps.
func TestRejoinOnLiveLink(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		other := b.twin(t)
		seed, leech := b.node(ctx, "seed", true), b.node(ctx, "leech", false)
		b.join(seed, nil)
		b.join(leech, newGreedy(leech))
		for _, m := range []*member{seed, leech} {
			m2 := *m
			m2.store = newMemory(other.object)
			other.join(&m2, nil)
			m2.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		}
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		<-time.After(time.Second)
		for i := range 3 {
			leech.swarm.Leave()
			<-time.After(time.Second)
			leech.store = newMemory(b.object)
			g := newGreedy(leech)
			b.join(leech, g)
			select {
			case <-g.done:
			case <-time.After(10 * time.Second):
				t.Fatalf("round %d: nothing comes after joining again", i)
			}
			<-time.After(time.Second)
		}
		if n := leech.Links(); n != 1 {
			t.Errorf("%d links, want 1", n)
		}
	})
}

// quiet says HELLO and opens nothing.
func quiet(t *testing.T, b *bed, n *member) *memnet.Conn {
	conn, err := b.net.Host("mallory", 0, 0).Connect(t.Context(), n.host.Candidate())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write((&wire.Hello{Version: 1}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestIdleLinkEnds(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		seed := b.node(ctx, "seed", true)
		b.join(seed, nil)
		conn := quiet(t, b, seed)
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		for range 8 {
			_, _ = conn.Write((&wire.Ping{Nonce: 1}).Append(nil)) // alive
			<-time.After(10 * time.Second)
		}
		if seed.Links() != 0 {
			t.Error("a link without a swarm is kept")
		}
	})
}

// TestFloodOfAnswers asks for answers and does not read them. The link ends; but it
// may be the line that is to blame, so nobody is banned.
func TestFloodOfAnswers(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		seed := b.node(ctx, "seed", true)
		b.join(seed, nil)
		conn := quiet(t, b, seed)
		ping := bytes.Repeat((&wire.Ping{Nonce: 1}).Append(nil), 1000)
		go func() {
			for range 4000 {
				if _, err := conn.Write(ping); err != nil {
					return
				}
			}
		}()
		<-time.After(5 * time.Second)
		synctest.Wait()
		if seed.Links() != 0 {
			t.Error("link is still there")
		}
		seed.mu.Lock()
		defer seed.mu.Unlock()
		if len(seed.banned) > 0 || Misconduct(errDeaf) != "" {
			t.Errorf("banned for not reading: %v", seed.banned)
		}
	})
}

// TestCandidatesNobodyReaches names more candidates than a swarm may want.
func TestCandidatesNobodyReaches(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		b.join(leech, newGreedy(leech))
		for round := range 3 {
			var dead []wire.Candidate
			for i := range 4 * maxDials {
				h := b.net.Host(fmt.Sprintf("dead %d %d", round, i), 0, 0)
				h.Blackhole(true)
				dead = append(dead, h.Candidate())
			}
			leech.swarm.Connect(dead)
			leech.mu.Lock()
			if n := len(leech.dialing); n > maxDials {
				t.Errorf("%d dials at a time", n)
			}
			leech.mu.Unlock()
			<-time.After(connectWithin + time.Second)
		}
		b.join(seed, nil)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		<-time.After(time.Second)
		if n := len(leech.swarm.Keys()); n != 1 {
			t.Errorf("%d peers, want the one that can be reached", n)
		}
		leech.swarm.mu.Lock()
		defer leech.swarm.mu.Unlock()
		if n := len(leech.swarm.wanted); n != 0 {
			t.Errorf("%d candidates are still wanted", n)
		}
	})
}

func readFrame(r io.Reader) (wire.Frame, error) {
	h := make([]byte, wire.HeaderSize)
	if _, err := io.ReadFull(r, h); err != nil {
		return nil, err
	}
	t, n, err := wire.ParseHeader(h)
	if err != nil {
		return nil, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return wire.Parse(t, body)
}

// fixed is a [Pacer] of one rate.
type fixed struct {
	bucket *governor.Bucket
	start  time.Time
}

func (f *fixed) Rate() float64 { return 0 }

func (f *fixed) Take(n int, _ bool) (int, time.Duration) {
	now := time.Since(f.start)
	if wait := f.bucket.Wait(now); wait > 0 {
		return 0, wait
	}
	n = f.bucket.Portion(n)
	f.bucket.Take(now, n)
	return n, 0
}

// TestUploadLimitHoldsUpPiecesOnly checks that frames other than pieces do not
// wait for a limited uplink, and that the limit is kept.
func TestUploadLimitHoldsUpPiecesOnly(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		seed := b.node(ctx, "seed", true)
		seed.uploads.pacer = &fixed{bucket: governor.NewBucket(8 << 10), start: time.Now()}
		b.join(seed, nil)
		conn, _ := raw(t, b, seed, "leech")
		pongs := make(chan struct{}, 8)
		var pieces int64
		go func() {
			for {
				f, err := readFrame(conn)
				switch f := f.(type) {
				case *wire.Piece:
					pieces += int64(len(f.Data))
				case *wire.Pong:
					pongs <- struct{}{}
				}
				if err != nil {
					return
				}
			}
		}()
		for i := range uint32(16) {
			_, _ = conn.Write((&wire.Request{Channel: 9, ID: i + 1, Piece: i, Length: 65536}).Append(nil))
		}
		for range 5 {
			<-time.After(2 * time.Second)
			_, _ = conn.Write((&wire.Ping{Nonce: 1}).Append(nil))
			select {
			case <-pongs:
			case <-time.After(200 * time.Millisecond):
				t.Fatal("no PONG while pieces wait for the limit")
			}
		}
		synctest.Wait()
		if most := int64(10*(8<<10) + 96<<10); pieces > most {
			t.Errorf("sent %d bytes in ten seconds, the limit allows %d", pieces, most)
		}
		conn.Cut()
	})
}

// A node that pauses refuses what waits and what comes, and serves again later.
func TestPause(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		seed := b.node(ctx, "seed", true)
		seed.uploads.pacer = &fixed{bucket: governor.NewBucket(8 << 10), start: time.Now()}
		b.join(seed, nil)
		conn, _ := raw(t, b, seed, "leech")
		defer conn.Close()
		var rejected, pieces atomic.Int64
		go func() {
			for {
				f, err := readFrame(conn)
				switch f := f.(type) {
				case *wire.Piece:
					pieces.Add(int64(len(f.Data)))
				case *wire.Reject:
					rejected.Add(1)
				}
				if err != nil {
					return
				}
			}
		}()
		ask := func(from, to uint32) {
			for i := from; i < to; i++ {
				_, _ = conn.Write((&wire.Request{Channel: 9, ID: i + 1, Piece: i, Length: 65536}).Append(nil))
			}
		}
		ask(0, 4)
		<-time.After(time.Second)
		if !seed.Pause(true) || seed.Pause(true) {
			t.Error("a change is not told from none")
		}
		ask(4, 8)
		<-time.After(time.Second)
		before := pieces.Load()
		<-time.After(20 * time.Second)
		if rejected.Load() != 8 || pieces.Load() != before {
			t.Errorf("%d of 8 requests refused, %d bytes sent while paused", rejected.Load(), pieces.Load()-before)
		}
		seed.Pause(false)
		ask(8, 9)
		<-time.After(20 * time.Second)
		if pieces.Load() < before+65536 {
			t.Error("nothing is served any more")
		}
	})
}
