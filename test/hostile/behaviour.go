package hostile

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/tandem-cdn/tandem/internal/transport"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Behaviour is what a peer does on a link once it has claimed every piece. It
// ends with the link or with ctx.
type Behaviour func(ctx context.Context, p *Peer, conn *transport.Conn) error

// Garbage sends bytes that are no frames.
func Garbage(ctx context.Context, _ *Peer, conn *transport.Conn) error {
	b := make([]byte, 1<<16)
	for ctx.Err() == nil {
		_, _ = rand.Read(b) // never fails
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Stall takes every request and answers none.
func Stall(_ context.Context, p *Peer, conn *transport.Conn) error {
	return p.requestsOf(conn, nil)
}

// Trickle answers the first request so slowly that it never ends.
func Trickle(ctx context.Context, p *Peer, conn *transport.Conn) error {
	answered := false
	return p.requestsOf(conn, func(r *wire.Request) error {
		if answered {
			return nil
		}
		answered = true
		p.wg.Go(func() {
			for i := uint32(0); i < r.Length && pause(ctx, 100*time.Millisecond) == nil; i++ {
				if _, err := conn.Write((&wire.Piece{ID: r.ID, Begin: r.Begin + i, Data: []byte{0}}).Append(nil)); err != nil {
					return
				}
			}
		})
		return nil
	})
}

// Lie says of every piece it is asked for that it is missing, then claims it
// again.
func Lie(_ context.Context, p *Peer, conn *transport.Conn) error {
	return p.requestsOf(conn, func(r *wire.Request) error {
		b := (&wire.Reject{ID: r.ID, Reason: wire.RejectMissing}).Append(nil)
		b = (&wire.Have{Channel: channel, Pieces: []uint32{r.Piece}}).Append(b)
		_, err := conn.Write(b)
		return err
	})
}

// Corrupt answers with bytes that are not the piece's.
func Corrupt(_ context.Context, p *Peer, conn *transport.Conn) error {
	data := make([]byte, wire.MaxData)
	_, _ = rand.Read(data) // never fails
	return p.requestsOf(conn, func(r *wire.Request) error {
		for off := uint32(0); off < r.Length; off += wire.MaxData {
			n := min(wire.MaxData, r.Length-off)
			if _, err := conn.Write((&wire.Piece{ID: r.ID, Begin: r.Begin + off, Data: data[:n]}).Append(nil)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Flood asks for everything as fast as it can and reads what comes.
func Flood(ctx context.Context, p *Peer, conn *transport.Conn) error {
	p.wg.Go(func() { _ = p.requestsOf(conn, nil) }) // the writer tells of the end
	var b []byte
	for id := uint32(0); ctx.Err() == nil; {
		b = b[:0]
		for range 256 {
			id++
			piece := int(id) % p.pieces.NumPieces()
			b = (&wire.Request{Channel: channel, ID: id, Piece: uint32(piece), Length: uint32(p.pieces.PieceLen(piece))}).Append(b)
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	return ctx.Err()
}
