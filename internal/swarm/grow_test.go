package swarm

import (
	"context"
	"crypto/ed25519"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// growing are the first pieces of an object, as a track's are known.
type growing struct {
	*manifest.Manifest
	n atomic.Int64
}

func (g *growing) NumPieces() int { return int(g.n.Load()) }

// listener notes what its peers have, and asks for nothing.
type listener struct {
	seed
	mu   sync.Mutex
	have []int
	lost []int
}

func (l *listener) PeerHave(_ *Peer, pieces []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.have = append(l.have, pieces...)
}

func (l *listener) PeerLost(_ *Peer, pieces []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, pieces...)
}

// joinTrack has m take part in the swarm of a track of which it knows n pieces, with a
// grant for the stream.
func (b *bed) joinTrack(m *member, n int, h Handler) *growing {
	stream := manifest.ObjectID{0x57}
	token, err := grant.Sign(grant.Claims{
		Object: stream, Key: wire.KeyOf(m.key.Public().(ed25519.PublicKey)), Expires: time.Now().Add(time.Hour),
	}, b.publisher, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	g := &growing{Manifest: b.object}
	g.n.Store(int64(n))
	m.swarm, err = m.Join(Membership{
		Object: b.object.ID(), Pieces: g, Grows: true, Grants: stream, Source: m.store, Grant: func() string { return token },
		Trusted: []ed25519.PublicKey{b.publisher.Public().(ed25519.PublicKey)}, Uploads: true, Handler: h,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

// settle lets a second pass on the test's own clock, and all that it brings.
func settle() {
	<-time.After(time.Second)
	synctest.Wait()
}

func upTo(n int) []int {
	var pieces []int
	for i := range n {
		pieces = append(pieces, i)
	}
	return pieces
}

// TestTrackGrows has one side know more of a track than the other.
func TestTrackGrows(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0) // 16 pieces
		ahead, behind := b.node(ctx, "ahead", true), b.node(ctx, "behind", false)
		behind.store.have = manifest.NewBitfield(3) // what it knows of is all it can have
		heard, other := &listener{}, &listener{}
		b.joinTrack(ahead, 16, other)
		g := b.joinTrack(behind, 3, heard)
		behind.swarm.Connect([]wire.Candidate{ahead.host.Candidate()})
		settle()
		if slices.Sort(heard.have); !slices.Equal(heard.have, upTo(3)) {
			t.Errorf("heard of pieces %v, knows three", heard.have)
		}
		ahead.swarm.Announce(15) // again: it adds nothing
		g.n.Store(12)
		behind.swarm.Grown()
		behind.swarm.Grown()
		synctest.Wait()
		if slices.Sort(heard.have); !slices.Equal(heard.have, upTo(12)) {
			t.Errorf("heard of pieces %v, knows 12", heard.have)
		}
		if len(ahead.swarm.Keys()) != 1 || len(other.have) != 0 {
			t.Errorf("%d peers, who have %v", len(ahead.swarm.Keys()), other.have)
		}
	})
}

// TestTrackIsServed has pieces fetched under a grant for the stream, and counted for it.
func TestTrackIsServed(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		ahead, behind := b.node(ctx, "ahead", true), b.node(ctx, "behind", false)
		h := newGreedy(behind)
		b.joinTrack(ahead, 16, nil)
		g := b.joinTrack(behind, 0, h)
		behind.swarm.Connect([]wire.Candidate{ahead.host.Candidate()})
		settle()
		g.n.Store(16)
		behind.swarm.Grown()
		<-h.done
		r := behind.swarm.Receipts()
		stream := manifest.ObjectID{0x57}
		if len(r) != 1 || !ed25519.Verify(behind.self.Public(), wire.ReceiptBytes(stream, r[0].Uploader[:], behind.self[:], r[0].Bytes), r[0].Signature) {
			t.Errorf("receipts %v are not good for the stream", r)
		}
	})
}

// TestTrackIsTakenBack has a peer drop pieces, say so, and have one of them again.
func TestTrackIsTakenBack(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		ahead, behind := b.node(ctx, "ahead", true), b.node(ctx, "behind", false)
		heard := &listener{}
		b.joinTrack(ahead, 16, nil)
		b.joinTrack(behind, 16, heard)
		behind.swarm.Connect([]wire.Candidate{ahead.host.Candidate()})
		settle()
		ahead.store.mu.Lock()
		ahead.store.have.Clear(4)
		ahead.store.have.Clear(9)
		ahead.store.mu.Unlock()
		ahead.swarm.Withdraw()
		settle()
		if slices.Sort(heard.lost); !slices.Equal(heard.lost, []int{4, 9}) || behind.swarm.rare(3) != behind.swarm.rare(5) {
			t.Errorf("pieces %v are gone, want 4 and 9", heard.lost)
		}
		before := len(heard.have)
		ahead.store.put(9, b.data[b.object.Offset(9):][:b.object.PieceLen(9)])
		ahead.swarm.Announce(9)
		settle()
		if got := heard.have[before:]; !slices.Equal(got, []int{9}) {
			t.Errorf("heard of %v, want 9", got)
		}
	})
}

// TestTrackHorizon: what a peer names far beyond what is known costs no memory and is no
// fault.
func TestTrackHorizon(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		liar, behind := b.node(ctx, "liar", false), b.node(ctx, "behind", false)
		heard := &listener{}
		liar.store.have = manifest.NewBitfield(1 << 20)
		liar.store.have.SetAll()
		b.joinTrack(liar, 1<<20, nil)
		b.joinTrack(behind, 2, heard)
		behind.swarm.Connect([]wire.Candidate{liar.host.Candidate()})
		settle()
		if !slices.Equal(heard.have, []int{0, 1}) {
			t.Errorf("heard of pieces %v, knows two", heard.have)
		}
		for _, p := range behind.swarm.peers {
			if got := p.have.Len(); got != 2+maxAhead {
				t.Errorf("%d pieces are kept of what it says", got)
			}
		}
	})
}
