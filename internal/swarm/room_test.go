package swarm

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// full returns a seed that has connected to all the peers it seeks.
func (b *bed) full(ctx context.Context) *member {
	old := b.node(ctx, "old", true)
	b.join(old, nil)
	var all []wire.Candidate
	for i := range maxPeers {
		m := b.node(ctx, fmt.Sprint("other ", i), true)
		b.join(m, nil)
		all = append(all, m.host.Candidate())
	}
	old.swarm.Connect(all)
	return old
}

// A node with all the peers it seeks parts with one that has been of no use for
// long when somebody new comes, and not before.
func TestNewcomersFindRoom(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		old := b.full(ctx)
		<-time.After(2 * time.Second)
		if n := len(old.swarm.Keys()); n != maxPeers {
			t.Fatalf("%d peers, want %d", n, maxPeers)
		}
		late := b.node(ctx, "late", false)
		g := newGreedy(late)
		b.join(late, g)
		c := late.host.Candidate()
		old.swarm.Connect([]wire.Candidate{c})
		<-time.After(5 * time.Second)
		if late.Links() != 0 {
			t.Error("room was made among peers that have just come")
		}
		<-time.After(dullAfter)
		old.swarm.Connect([]wire.Candidate{c})
		<-time.After(5 * time.Second)
		if n := len(old.swarm.Keys()); n != maxPeers || !slices.Contains(old.swarm.Keys(), late.self) {
			t.Errorf("%d peers; the newcomer is not among them, or nobody left", n)
		}
		select {
		case <-g.done:
		default:
			t.Error("the newcomer has not got the object")
		}
	})
}

func TestOutcomes(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		b.join(leech, newGreedy(leech))
		b.join(seed, nil)
		dead := b.net.Host("dead", 0, 0)
		dead.Blackhole(true)
		near := seed.host.Candidate()
		near.Near = wire.NearAS
		leech.swarm.Connect([]wire.Candidate{near, dead.Candidate()})
		<-time.After(connectWithin + time.Second)
		made, failed := leech.swarm.Outcomes()
		if !slices.Equal(made, []wire.Key{seed.self}) || !slices.Equal(failed, []wire.Key{dead.Candidate().Key}) {
			t.Errorf("made %v, failed %v", made, failed)
		}
		if made, failed = leech.swarm.Outcomes(); len(made)+len(failed) > 0 {
			t.Errorf("told again: %v, %v", made, failed)
		}
		leech.swarm.mu.Lock()
		p := leech.swarm.peers[seed.self]
		leech.swarm.mu.Unlock()
		if p.Near() != wire.NearAS {
			t.Errorf("peer is %d near, control said %d", p.Near(), wire.NearAS)
		}
	})
}

// An asker beyond what the uplink carries soon is told when to come back and what
// it could count on, and is served then.
func TestBusy(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 8<<20, 1<<20)
		seed, leech := b.node(ctx, "seed", true), b.node(ctx, "leech", false)
		g := newGreedy(leech) // asks for everything at once
		b.join(seed, nil)
		b.join(leech, g)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		began := time.Now()
		<-g.done
		if g.reject == 0 {
			t.Error("nothing was refused")
		}
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("8 MiB at 1 MiB/s took %v", took)
		}
		if _, load := seed.Measure(); load < 60 {
			t.Errorf("load %d%%, the uplink was busy all the time", load)
		}
		// 1 MiB/s is 8389 kbit/s.
		if up := seed.Uplink(); up != 8192 {
			t.Errorf("uplink %d kbit/s", up)
		}
		seed.swarm.Leave()
	})
}

// The uplink that is measured reaches peers, rounded.
func TestUplinkIsTold(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 8<<20, 1<<20)
		seed, leech := b.node(ctx, "seed", true), b.node(ctx, "leech", false)
		g := newGreedy(leech)
		b.join(seed, nil)
		b.join(leech, g)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		<-g.done
		leech.swarm.mu.Lock()
		p := leech.swarm.peers[seed.self]
		leech.swarm.mu.Unlock()
		if p.Uplink() != 0 {
			t.Errorf("uplink %d before it was measured", p.Uplink())
		}
		seed.Measure()
		<-time.After(time.Second)
		if p.Uplink() != seed.Uplink() || p.Uplink() == 0 {
			t.Errorf("peer knows %d kbit/s, told were %d", p.Uplink(), seed.Uplink())
		}
	})
}

// The mutex of the node is never waited for with that of a swarm held: the node holds
// its own while it looks at its swarms.
func TestMakingRoomHoldsUpNobody(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		old := b.full(ctx)
		<-time.After(2 * dullAfter)
		late := b.node(ctx, "late", true)
		old.mu.Lock()
		connected := make(chan struct{})
		go func() {
			old.swarm.Connect([]wire.Candidate{late.host.Candidate()})
			close(connected)
		}()
		free := false
		for range 1_000_000 {
			if free = old.swarm.mu.TryLock(); free {
				free = len(old.swarm.peers) < maxPeers
				old.swarm.mu.Unlock()
			}
			if free {
				break
			}
			runtime.Gosched()
		}
		old.mu.Unlock()
		<-connected
		if !free {
			t.Error("the swarm is held while the node is waited for")
		}
	})
}

// fickle is a handler that asks for all and cancels each request as it is served.
type fickle struct {
	seed
	got, late int
}

func (f *fickle) PeerHave(p *Peer, pieces []int) {
	for _, i := range pieces {
		p.Request(i, wire.UrgencyNormal)
	}
}

func (f *fickle) PeerLost(*Peer, []int) {}
func (f *fickle) PeerBytes(p *Peer, piece, n int) {
	f.got += n
	p.Cancel(piece)
}

func (f *fickle) PeerLate(_ *Peer, n int) { f.late += n }

// TestLateBytesAreCounted: what was on its way of a request that was cancelled has
// been sent, and is waste.
func TestLateBytesAreCounted(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 8<<20, 1<<20)
		leech, seed := b.node(ctx, "leech", false), b.node(ctx, "seed", true)
		f := &fickle{}
		b.join(seed, nil)
		b.join(leech, f)
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		<-time.After(time.Minute)
		if sent := int(seed.swarm.Uploaded()); f.late == 0 || f.got+f.late != sent {
			t.Errorf("%d bytes heard of and %d late ones, %d were sent", f.got, f.late, sent)
		}
	})
}
