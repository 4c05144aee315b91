package swarm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

// Many swarms on one link ask for more than the link may have outstanding: the other
// side would take them for a flood. What is too much comes back as busy, to handlers
// that may hold then what they need to hear of it.
func TestManySwarmsOnOneLink(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		first := newBed(t, 4<<20, 0)
		seed, leech := first.node(ctx, "seed", true), first.node(ctx, "leech", false)
		var all []*greedy
		for i := range 9 {
			b := newBed(t, 4<<20-i, 0)
			b.net, b.publisher = first.net, first.publisher
			s, l := *seed, *leech
			s.store, l.store = newMemory(b.object), newMemory(b.object)
			s.store.data = b.data
			s.store.have.SetAll()
			g := newGreedy(&l)
			b.join(&s, nil)
			b.join(&l, g)
			l.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
			all = append(all, g)
		}
		refused := 0
		for i, g := range all {
			select {
			case <-g.done:
			case <-time.After(time.Minute):
				t.Fatalf("object %d does not come", i)
			}
			refused += g.reject
			if len(g.closed) > 0 {
				t.Errorf("object %d: the peer left: %v", i, g.closed)
			}
		}
		if refused == 0 {
			t.Error("nothing was too much")
		}
	})
}

// mute is a handler that is told of requests that do not go out.
type mute struct {
	seed
	peers  chan *Peer
	reject []int
}

func (m *mute) PeerOpen(p *Peer) { m.peers <- p }

func (m *mute) PeerReject(_ *Peer, piece int, missing bool, retry time.Duration) {
	if !missing && retry == backOff {
		m.reject = append(m.reject, piece)
	}
}

// Requests that were refused count until they may be repeated, and such that were
// cancelled while they may have been. Nothing is heard of one that was too much and
// is cancelled, or whose swarm is left.
func TestRequestsThatAreTooMuch(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		m := &mute{peers: make(chan *Peer, 1)}
		b := newBed(t, 1<<20, 0)
		leech := b.node(ctx, "leech", false)
		b.join(leech, m)
		conn, _ := raw(t, b, leech, "mallory")
		defer conn.Cut()
		asked := 0
		go func() {
			for {
				f, err := readFrame(conn)
				if err != nil {
					return
				}
				if r, ok := f.(*wire.Request); ok {
					if asked++; asked%2 == 0 {
						_, _ = conn.Write((&wire.Reject{ID: r.ID, Reason: wire.RejectBusy, Retry: 3000}).Append(nil))
					}
				}
			}
		}()
		p := <-m.peers
		ask := func(n, want int, when string) {
			t.Helper()
			before := asked
			for range n {
				p.Request(1, wire.UrgencyNormal)
			}
			<-time.After(100 * time.Millisecond)
			if synctest.Wait(); asked-before != want {
				t.Errorf("%d requests went out %s, want %d", asked-before, when, want)
			}
		}
		ask(mostOut+10, mostOut, "at once")
		if len(m.reject) != 10 {
			t.Errorf("told of %d that did not, want 10", len(m.reject))
		}
		ask(10, 0, "when half were refused")
		<-time.After(3 * time.Second)
		ask(10, 10, "when those may be repeated")
		for range 20 { // of which nothing has come
			p.Cancel(1)
		}
		ask(mostOut, mostOut/2-10, "when some were cancelled")
		<-time.After(unsure)
		before := len(m.reject)
		ask(mostOut, 20, "when it is known what became of them")
		if n := len(m.reject) - before; n != mostOut-20 {
			t.Errorf("told of %d that did not, want %d", n, mostOut-20)
		}
		p.link.calls.Lock() // nobody is told meanwhile
		before = len(m.reject)
		for range 10 {
			p.Request(2, wire.UrgencyNormal)
		}
		synctest.Wait()
		p.Cancel(2)
		p.link.calls.Unlock()
		if synctest.Wait(); len(m.reject) != before {
			t.Errorf("told of %d that were withdrawn", len(m.reject)-before)
		}
		for range 10 {
			p.Request(2, wire.UrgencyNormal)
		}
		leech.swarm.Leave()
		before = len(m.reject)
		if synctest.Wait(); len(m.reject) != before {
			t.Errorf("told of %d after having left", len(m.reject)-before)
		}
	})
}

// TestRefusedTwiceInAWhile: one who was told to wait long for one request and little
// for others has few outstanding, however often he repeats the latter.
func TestRefusedTwiceInAWhile(t *testing.T) {
	l, now := &link{}, time.Now()
	l.refusedOne(now, 4*time.Second)
	for range 39 {
		for range 20 {
			l.refusedOne(now, 100*time.Millisecond)
		}
		if n := l.refusedNow(now); n > 21 {
			t.Fatalf("%d count as outstanding, of 21 that are", n)
		}
		now = now.Add(100 * time.Millisecond)
	}
	if n := l.refusedNow(now); n != 0 {
		t.Errorf("%d count as outstanding that may be repeated", n)
	}
}
