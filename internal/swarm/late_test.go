package swarm

import (
	"context"
	"crypto/ed25519"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport/memnet"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// asker is a handler that asks for the first piece it hears of.
type asker struct {
	seed
	bytes func(p *Peer) // at the first bytes
	late  int
}

func (a *asker) PeerHave(p *Peer, pieces []int) { p.Request(pieces[0], wire.UrgencyNormal) }

func (a *asker) PeerLost(*Peer, []int) {}
func (a *asker) PeerBytes(p *Peer, _, _ int) {
	if a.bytes != nil {
		a.bytes(p)
		a.bytes = nil
	}
}

func (a *asker) PeerLate(_ *Peer, n int) { a.late += n }

// pieces are n PIECE frames of request id, from the i-th on.
func pieces(id uint32, i, n int) []byte {
	var out []byte
	for k := i; k < i+n; k++ {
		out = (&wire.Piece{ID: id, Begin: uint32(k * leastData), Data: make([]byte, leastData)}).Append(out)
	}
	return out
}

// asked1 has a leech ask a peer that is played by hand for piece 0, as request 1.
func asked1(t *testing.T, ctx context.Context, h Handler) (leech *member, conn *memnet.Conn, key wire.Key) {
	b := newBed(t, 1<<20, 0)
	leech = b.node(ctx, "leech", false)
	b.join(leech, h)
	conn, private := raw(t, b, leech, "mallory")
	_, _ = conn.Write((&wire.Have{Channel: 9, Pieces: []uint32{0}}).Append(nil))
	for {
		f, err := readFrame(conn)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := f.(*wire.Request); ok {
			return leech, conn, wire.KeyOf(private.Public().(ed25519.PublicKey))
		}
	}
}

// TestDataAfterTheRequest: what comes of a request that was cancelled is what was on
// its way. Whoever sends more, or goes on where nothing is due, sends what nobody has
// asked for.
func TestDataAfterTheRequest(t *testing.T) {
	cancel := func(p *Peer) { p.Cancel(0) }
	reject := (&wire.Reject{ID: 1, Reason: wire.RejectBusy, Retry: 100}).Append(nil)
	for _, tc := range []struct {
		name   string
		bytes  func(p *Peer)
		send   [][]byte
		late   int
		banned bool
	}{
		{"rejected", nil, [][]byte{reject, pieces(1, 0, 1)}, 0, true},
		{"rejected when begun", nil, [][]byte{pieces(1, 0, 1), reject, pieces(1, 1, 1)}, 0, true},
		{"whole", nil, [][]byte{pieces(1, 0, 2), pieces(1, 0, 1)}, 0, true},
		{"cancelled", cancel, [][]byte{pieces(1, 0, 2)}, leastData, false},
		{"cancelled, twice", cancel, [][]byte{pieces(1, 0, 2), pieces(1, 1, 1)}, leastData, true},
		{"cancelled, repeated", cancel, [][]byte{pieces(1, 0, 1), pieces(1, 0, 1)}, 0, true},
		{"cancelled and rejected", cancel, [][]byte{pieces(1, 0, 1), reject, pieces(1, 1, 1)}, 0, true},
		{"cancelled long ago", func(p *Peer) {
			p.Cancel(0)
			for i := range 2 * maxLate {
				p.Request(1, wire.UrgencyNormal)
				p.Cancel(1)
				if i%100 == 0 {
					<-time.After(unsure) // or no more are let out
				}
			}
		}, [][]byte{pieces(1, 0, 1), pieces(1, 1, 1)}, 0, false},
		{"closed", nil, [][]byte{(&wire.Close{Channel: 9}).Append(nil), pieces(1, 0, 2)}, 0, false},
		{"closed, more", nil, [][]byte{(&wire.Close{Channel: 9}).Append(nil), pieces(1, 0, 2), pieces(1, 0, 1)}, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, func(t *testing.T, ctx context.Context) {
				h := &asker{bytes: tc.bytes}
				leech, conn, key := asked1(t, ctx, h)
				for _, frames := range tc.send {
					_, _ = conn.Write(frames)
					<-time.After(time.Second)
				}
				<-time.After(time.Minute) // the handler may have taken its time
				conn.Cut()
				synctest.Wait()
				leech.mu.Lock()
				defer leech.mu.Unlock()
				if _, banned := leech.banned[key]; banned != tc.banned {
					t.Errorf("banned: %v, want %v", banned, tc.banned)
				}
				if h.late != tc.late {
					t.Errorf("%d bytes late, want %d", h.late, tc.late)
				}
			})
		})
	}
}

// TestLateDataIsBounded sends of one request more than can be told from honest data
// when others, which were cancelled, are forgotten: as much as they were, no more.
func TestLateDataIsBounded(t *testing.T) {
	b := newBed(t, 1<<20, 0)
	l := &link{asked: newAsked()}
	p := &Peer{swarm: &Swarm{m: Membership{Pieces: b.object}}}
	for range 3 {
		l.lastID++
		l.requests[l.lastID] = &request{id: l.lastID, peer: p, size: 1 << 16}
	}
	if _, _, whole := l.arrived(1, 1<<16); !whole {
		t.Error("all bytes of a piece, and it is not whole")
	}
	l.arrived(2, 1000)
	l.forgetAll(p)
	left := 2<<16 - 1000
	if l.stray != int64(left) || len(l.requests) != 0 {
		t.Errorf("%d bytes may come still, want %d", l.stray, left)
	}
	for ; left > 0; left -= 1000 {
		if _, _, err := l.due(1, 0, min(left, 1000)); err != nil {
			t.Fatalf("%d bytes left: %v", left, err)
		}
		l.arrived(1, min(left, 1000))
	}
	if _, _, err := l.due(1, 0, 1); err == nil {
		t.Error("more than was ever asked for is taken")
	}
}
