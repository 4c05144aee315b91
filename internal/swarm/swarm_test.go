package swarm

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/transport/memnet"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// memory is a Source that verifies what is put into it.
type memory struct {
	m    *manifest.Manifest
	mu   sync.Mutex
	have manifest.Bitfield
	data []byte
}

func newMemory(m *manifest.Manifest) *memory {
	return &memory{m: m, have: manifest.NewBitfield(m.NumPieces()), data: make([]byte, m.Size)}
}

func (s *memory) Have() manifest.Bitfield {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have.Clone()
}

func (s *memory) Has(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have.Has(i)
}

func (s *memory) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copy(p, s.data[off:]), nil
}

func (s *memory) put(i int, b []byte) bool {
	if !s.m.Verify(i, b) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	copy(s.data[s.m.Offset(i):], b)
	s.have.Set(i)
	return true
}

// bed is a network in memory with one publisher and one object.
type bed struct {
	t         *testing.T
	publisher ed25519.PrivateKey
	object    *manifest.Manifest
	data      []byte
	net       *memnet.Switch
	rate      int64 // bytes per second, up and down
}

func newBed(t *testing.T, size int, rate int64) *bed {
	b := &bed{t: t, rate: rate, net: memnet.NewSwitch(memnet.Options{Latency: 20 * time.Millisecond}), publisher: memnet.PrivateKey("publisher"), data: make([]byte, size)}
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b.data)
	mb, err := manifest.NewBuilder(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = mb.Write(b.data)
	if b.object, err = mb.Finish(); err != nil {
		t.Fatal(err)
	}
	return b
}

// member is one node of a bed.
type member struct {
	*Node
	host  *memnet.Host
	key   ed25519.PrivateKey
	store *memory
	swarm *Swarm
}

// host shows a memnet host as a Connector.
type host struct{ *memnet.Host }

func (h host) Connect(ctx context.Context, c wire.Candidate) (Conn, error) {
	conn, err := h.Host.Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (h host) Accept(ctx context.Context) (Conn, error) {
	conn, err := h.Host.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (b *bed) node(ctx context.Context, name string, full bool) *member {
	h := b.net.Host(name, b.rate, b.rate)
	m := &member{host: h, key: h.PrivateKey(), store: newMemory(b.object)}
	if full {
		m.store.data = b.data
		m.store.have.SetAll()
	}
	m.Node = NewNode(ctx, Config{Key: m.key, Connector: host{h}, Agent: "test/1", Logger: slog.New(slog.DiscardHandler)})
	go func() { _ = m.Run() }()
	return m
}

func (b *bed) grant(key ed25519.PrivateKey, signer ed25519.PrivateKey, ttl time.Duration) string {
	s, err := grant.Sign(grant.Claims{
		Object: b.object.ID(), Key: wire.KeyOf(key.Public().(ed25519.PublicKey)), Expires: time.Now().Add(ttl),
	}, signer, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bed) join(m *member, h Handler) {
	token := b.grant(m.key, b.publisher, time.Hour)
	var err error
	m.swarm, err = m.Join(Membership{
		Object: b.object.ID(), Pieces: b.object, Source: m.store, Grant: func() string { return token },
		Trusted: []ed25519.PublicKey{b.publisher.Public().(ed25519.PublicKey)}, Uploads: true, Handler: h,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// greedy asks every peer for all that is missing.
type greedy struct {
	m      *member
	mu     sync.Mutex
	asked  map[int]bool
	opened int
	closed []error
	bad    int
	reject int
	done   chan struct{}
}

func newGreedy(m *member) *greedy {
	return &greedy{m: m, asked: map[int]bool{}, done: make(chan struct{})}
}

func (g *greedy) PeerOpen(*Peer) { g.mu.Lock(); g.opened++; g.mu.Unlock() }
func (g *greedy) PeerHave(p *Peer, pieces []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range pieces {
		if !g.m.store.Has(i) && !g.asked[i] {
			g.asked[i] = true
			p.Request(i, wire.UrgencyNormal)
		}
	}
}
func (g *greedy) PeerLost(*Peer, []int)     {}
func (g *greedy) PeerBytes(*Peer, int, int) {}
func (g *greedy) PeerLate(*Peer, int)       {}
func (g *greedy) PeerPiece(p *Peer, i int, _ int64, data []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.m.store.put(i, data) {
		g.bad++
		p.Drop("corrupt")
		return
	}
	p.swarm.Announce(i)
	p.swarm.Credit(p, len(data))
	if g.m.store.Have().Full() {
		close(g.done)
	}
}

// PeerReject asks again when it may.
func (g *greedy) PeerReject(p *Peer, i int, missing bool, retry time.Duration) {
	g.mu.Lock()
	g.reject++
	g.mu.Unlock()
	if !missing {
		time.AfterFunc(retry, func() { p.Request(i, wire.UrgencyNormal) })
	}
}

func (g *greedy) PeerClose(_ *Peer, err error) {
	g.mu.Lock()
	g.closed = append(g.closed, err)
	g.mu.Unlock()
}

func run(t *testing.T, f func(t *testing.T, ctx context.Context)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f(t, ctx)
		cancel()
		synctest.Wait()
	})
}

func TestDownloadFromSeedOverRelay(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 3<<20+5, 1<<20)
		seed, relay, leech := b.node(ctx, "seed", true), b.node(ctx, "relay", false), b.node(ctx, "leech", false)
		gr, gl := newGreedy(relay), newGreedy(leech)
		b.join(seed, nil)
		b.join(relay, gr)
		b.join(leech, gl)
		relay.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		leech.swarm.Connect([]wire.Candidate{relay.host.Candidate()})
		start := time.Now()
		<-gl.done
		if !bytes.Equal(leech.store.data, b.data) {
			t.Error("leech has other bytes than the seed")
		}
		// Cut-through by pieces: the relay passes a piece on while it gets the next.
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("3 MiB over two hops of 1 MiB/s took %v", took)
		}
		if got := relay.swarm.Uploaded(); got != b.object.Size {
			t.Errorf("relay counts %d bytes sent, want %d", got, b.object.Size)
		}
		r := leech.swarm.Receipts()
		if len(r) != 1 || r[0].Bytes != uint64(b.object.Size) {
			t.Fatalf("receipts %v", r)
		}
		id := b.object.ID()
		if !ed25519.Verify(leech.self.Public(), wire.ReceiptBytes(id, r[0].Uploader[:], leech.self[:], r[0].Bytes), r[0].Signature) {
			t.Error("receipt does not verify")
		}
	})
}

// parts asks for a part of each piece.
type parts struct {
	*greedy
	b *bed
}

const partBegin, partLen = 1000, 40_000

func (g parts) PeerPiece(p *Peer, i int, begin int64, data []byte) {
	piece := g.b.data[g.b.object.Offset(i):]
	if begin != partBegin || !bytes.Equal(data, piece[partBegin:partBegin+partLen]) {
		g.b.t.Errorf("piece %d: %d bytes from %d on, or wrong ones", i, len(data), begin)
	}
	g.greedy.PeerPiece(p, i, 0, piece[:g.b.object.PieceLen(i)])
}

func TestPartsOfPieces(t *testing.T) {
	run(t, func(t *testing.T, ctx context.Context) {
		b := newBed(t, 1<<20, 0)
		seed, leech := b.node(ctx, "seed", true), b.node(ctx, "leech", false)
		b.join(seed, nil)
		g := parts{newGreedy(leech), b}
		token := b.grant(leech.key, b.publisher, time.Hour)
		leech.swarm, _ = leech.Join(Membership{
			Object: b.object.ID(), Pieces: b.object, Source: leech.store, Grant: func() string { return token },
			Trusted: []ed25519.PublicKey{b.publisher.Public().(ed25519.PublicKey)}, Handler: g,
			Part: func(int) (begin, n int64) { return partBegin, partLen },
		})
		leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
		<-g.done
		if sent := seed.swarm.Uploaded(); sent != int64(b.object.NumPieces())*partLen {
			t.Errorf("%d bytes sent", sent)
		}
	})
}

func TestGrantsAreRequired(t *testing.T) {
	for _, tc := range []struct {
		name  string
		token func(b *bed, m *member) string
	}{
		{"none", func(*bed, *member) string { return "" }},
		{"expired", func(b *bed, m *member) string { return b.grant(m.key, b.publisher, -time.Hour) }},
		{"other signer", func(b *bed, m *member) string { return b.grant(m.key, memnet.PrivateKey("x"), time.Hour) }},
		{"other key", func(b *bed, m *member) string { return b.grant(memnet.PrivateKey("x"), b.publisher, time.Hour) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, func(t *testing.T, ctx context.Context) {
				b := newBed(t, 1<<20, 0)
				seed, leech := b.node(ctx, "seed", true), b.node(ctx, "leech", false)
				b.join(seed, nil)
				g := newGreedy(leech)
				token := tc.token(b, leech)
				leech.swarm, _ = leech.Join(Membership{
					Object: b.object.ID(), Pieces: b.object, Source: leech.store, Grant: func() string { return token },
					Trusted: []ed25519.PublicKey{b.publisher.Public().(ed25519.PublicKey)}, Handler: g,
				})
				leech.swarm.Connect([]wire.Candidate{seed.host.Candidate()})
				<-time.After(5 * time.Second)
				if leech.store.Have().Count() > 0 || seed.swarm.Uploaded() > 0 {
					t.Error("pieces were served without a good grant")
				}
			})
		})
	}
}

// raw opens the swarm by hand on a link to node n and returns the connection.
func raw(t *testing.T, b *bed, n *member, name string) (*memnet.Conn, ed25519.PrivateKey) {
	h := b.net.Host(name, 0, 0)
	key := h.PrivateKey()
	mine, err := h.Connect(t.Context(), n.host.Candidate())
	if err != nil {
		t.Fatal(err)
	}
	hello := wire.Hello{Version: 1, Agent: "hostile"}
	open := wire.Open{Channel: 9, Object: b.object.ID(), Uploads: true, Grant: []byte(b.grant(key, b.publisher, time.Hour))}
	if _, err := mine.Write(open.Append(hello.Append(nil))); err != nil {
		t.Fatal(err)
	}
	return mine, key
}

func TestHostilePeersAreDropped(t *testing.T) {
	for _, tc := range []struct {
		name string
		send func(b *bed) []byte
	}{
		{"garbage", func(*bed) []byte { return bytes.Repeat([]byte{0xff}, 64) }},
		{"bitfield too long", func(b *bed) []byte {
			return (&wire.Bitfield{Channel: 9, Bits: make([]byte, 4096)}).Append(nil)
		}},
		{"piece out of range", func(*bed) []byte {
			return (&wire.Have{Channel: 9, Pieces: []uint32{1 << 30}}).Append(nil)
		}},
		{"data nobody asked for", func(*bed) []byte {
			return (&wire.Piece{ID: 77, Data: []byte("x")}).Append(nil)
		}},
		{"request past the end", func(*bed) []byte {
			return (&wire.Request{Channel: 9, ID: 1, Piece: 15, Begin: 65530, Length: 100}).Append(nil)
		}},
		{"channel of another object", func(*bed) []byte {
			return (&wire.Open{Channel: 9, Object: manifest.ObjectID{1}, Grant: []byte("x")}).Append(nil)
		}},
		{"flood of requests", func(*bed) []byte {
			var out []byte
			for i := range uint32(4 * wire.MaxRequests) {
				out = (&wire.Request{Channel: 9, ID: i, Piece: 0, Length: 65536}).Append(out)
			}
			return out
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, func(t *testing.T, ctx context.Context) {
				b := newBed(t, 1<<20, 0)
				seed := b.node(ctx, "seed", true)
				b.join(seed, nil)
				conn, key := raw(t, b, seed, "mallory")
				synctest.Wait()
				go func() { _, _ = conn.Write(tc.send(b)) }()
				<-time.After(2 * time.Second)
				conn.Cut()
				synctest.Wait()
				seed.mu.Lock()
				defer seed.mu.Unlock()
				if _, banned := seed.banned[wire.KeyOf(key.Public().(ed25519.PublicKey))]; !banned {
					t.Error("peer is not banned")
				}
				if len(seed.links) != 0 {
					t.Error("link is still there")
				}
			})
		})
	}
}
