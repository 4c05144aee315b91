package swarm

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/upload"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// readLoop reads frames until the link ends.
func (l *link) readLoop(ctx context.Context) error {
	for {
		if !l.expect(ctx) {
			return errClosing
		}
		t, n, err := l.header()
		if err != nil {
			return fmt.Errorf("read from %s: %w", l.key.Short(), err)
		}
		if t == wire.TypePiece {
			err = l.piece(ctx, n)
		} else {
			err = l.other(t, n)
		}
		if err != nil {
			return fmt.Errorf("%v from %s: %w", t, l.key.Short(), err)
		}
	}
}

// expect has a read fail that brings nothing for long, and reports whether to read at all.
func (l *link) expect(ctx context.Context) bool {
	if now := time.Now(); now.Sub(l.expected) > time.Second {
		l.expected = now
		_ = l.conn.SetReadDeadline(now.Add(wire.DeadAfter))
	}
	return ctx.Err() == nil && !l.closing() // after that: who closes ends a read
}

func (l *link) closing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// piece reads a PIECE frame straight into the buffer of its request, or past it where that
// has gone, in steps that are waited for: a peer that is held back is not silent.
func (l *link) piece(ctx context.Context, n int) error {
	n -= wire.PieceFixed
	if n < 1 || n > wire.MaxData {
		return fmt.Errorf("%w: %d bytes of data", errProtocol, n)
	}
	var fixed [wire.PieceFixed]byte
	if _, err := io.ReadFull(l.r, fixed[:]); err != nil {
		return err
	}
	id, begin := wire.ParsePieceFixed(fixed)
	for begin, end := int(begin), int(begin)+n; begin < end; {
		step, err := l.step(ctx, end-begin)
		if err != nil {
			return err
		}
		buf, at, err := l.due(id, begin, step)
		switch {
		case err != nil:
			return err
		case buf == nil:
			_, err = l.r.Discard(step)
		default:
			_, err = io.ReadFull(l.r, buf[at:at+step])
		}
		if err != nil {
			return err
		}
		l.received(id, step, buf)
		begin += step
	}
	return nil
}

// step waits until some of n bytes may be read, and says how many.
func (l *link) step(ctx context.Context, n int) (int, error) {
	down := l.node.cfg.Down
	if down == nil {
		return n, nil
	}
	n = down.Step(n, l.local)
	if down.Wait(ctx, n, l.local) != nil || !l.expect(ctx) { // it may have been long
		return 0, errClosing
	}
	return n, nil
}

// received delivers n bytes of a request. They are late where it was cancelled, be
// it while they were read. A whole piece is checked and written by a goroutine of its
// own while the next one is read, but no more than one at a time: who reads faster
// than this side checks must wait, and memory stays bounded.
func (l *link) received(id uint32, n int, buf []byte) {
	l.calls.Lock()
	defer l.calls.Unlock()
	r, live, whole := l.arrived(id, n)
	if r != nil {
		r.peer.active.Store(time.Now().UnixNano())
		h := r.peer.swarm.m.Handler
		if live {
			h.PeerBytes(r.peer, r.piece, n)
		} else {
			h.PeerLate(r.peer, n)
		}
		if live && whole {
			l.handing.Lock()
			go func() {
				defer l.handing.Unlock()
				h.PeerPiece(r.peer, r.piece, int64(r.begin), buf)
				putBuffer(buf)
			}()
			return
		}
	}
	if buf != nil && (whole || !live) {
		putBuffer(buf)
	}
}

// other reads and handles any other frame.
func (l *link) other(t wire.Type, n int) error {
	body := make([]byte, n)
	if _, err := io.ReadFull(l.r, body); err != nil {
		return err
	}
	f, err := wire.Parse(t, body)
	if err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	l.calls.Lock()
	defer l.calls.Unlock()
	switch f := f.(type) {
	case *wire.Open:
		return l.onOpen(f)
	case *wire.Close:
		l.onClose(f)
	case *wire.Bitfield:
		return l.onBitfield(f)
	case *wire.Have:
		return l.onHave(f)
	case *wire.Request:
		return l.onRequest(f)
	case *wire.Cancel:
		l.onCancel(f)
	case *wire.Reject:
		l.onReject(f)
	case *wire.Ping:
		l.mu.Lock()
		l.send(&wire.Pong{Nonce: f.Nonce})
		l.mu.Unlock()
	case *wire.Bye:
		return errBye
	}
	return nil
}

func (l *link) onOpen(f *wire.Open) error {
	l.mu.Lock()
	switch o := l.offered[f.Channel]; {
	case o == nil && len(l.offered) >= wire.MaxChannels:
		l.mu.Unlock()
		return fmt.Errorf("%w: more than %d channels", errProtocol, wire.MaxChannels)
	case o != nil && o.Object != f.Object:
		l.mu.Unlock()
		return fmt.Errorf("%w: channel %d is of another object", errProtocol, f.Channel)
	}
	l.offered[f.Channel] = f
	m := l.opened[f.Object]
	l.mu.Unlock()
	if m == nil {
		l.node.mu.Lock()
		s := l.node.swarms[f.Object]
		l.node.mu.Unlock()
		if s != nil {
			l.openHeld(s) // admits, since the offer is known
		}
		return nil
	}
	l.admit(m, f)
	return nil
}

func (l *link) onClose(f *wire.Close) {
	l.mu.Lock()
	delete(l.offered, f.Channel)
	p := l.peers[f.Channel]
	gone := p != nil && l.drop(p)
	l.mu.Unlock()
	if gone {
		l.told(p, errBye) // this side's part goes on: the peer may come back
	}
}

// peerOn returns the peer of a channel, nil while this side has not opened the
// swarm.
func (l *link) peerOn(channel uint16) *Peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[channel]
}

func (l *link) onBitfield(f *wire.Bitfield) error {
	p := l.peerOn(f.Channel)
	if p == nil {
		return nil
	}
	b, err := p.swarm.announced(f.Bits)
	if err != nil {
		return err
	}
	if p.swarm.m.Grows {
		if lost := l.takenBack(p, b); len(lost) > 0 {
			p.swarm.m.Handler.PeerLost(p, lost)
		}
	}
	l.has(p, piecesOf(b))
	return nil
}

func (l *link) onHave(f *wire.Have) error {
	p := l.peerOn(f.Channel)
	if p == nil {
		return nil
	}
	pieces := make([]int, 0, len(f.Pieces))
	for _, i := range f.Pieces {
		if n := p.swarm.m.Pieces.NumPieces(); int64(i) >= int64(n) && !p.swarm.m.Grows {
			return fmt.Errorf("%w: piece %d of %d", errProtocol, i, n)
		}
		pieces = append(pieces, int(i))
	}
	l.has(p, pieces)
	return nil
}

func (l *link) onReject(f *wire.Reject) {
	retry := time.Duration(f.Retry) * time.Millisecond
	var busy time.Duration
	if f.Reason == wire.RejectBusy {
		busy = retry
	}
	l.mu.Lock()
	r := l.rejected(f.ID, busy)
	if r != nil && f.Reason == wire.RejectMissing && r.peer.have.Has(r.piece) {
		r.peer.have.Clear(r.piece)
		r.peer.held--
		r.peer.swarm.count([]int{r.piece}, -1)
	}
	l.mu.Unlock()
	if r != nil {
		r.peer.swarm.m.Handler.PeerReject(r.peer, r.piece, f.Reason == wire.RejectMissing, retry)
	}
}

// onRequest queues a request, or refuses it at once: a queue nobody waits for is
// better than one that makes slow tails.
func (l *link) onRequest(f *wire.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[f.Channel]
	switch {
	case p == nil || !p.swarm.m.Uploads || l.node.Paused() || time.Now().After(p.expires.Add(grantGrace)):
		l.send(&wire.Reject{ID: f.ID, Reason: wire.RejectDenied, Retry: 5000})
	case int(f.Piece) >= p.swarm.m.Pieces.NumPieces() ||
		int64(f.Begin)+int64(f.Length) > p.swarm.m.Pieces.PieceLen(int(f.Piece)):
		return fmt.Errorf("%w: bytes %d+%d of piece %d", errProtocol, f.Begin, f.Length, f.Piece)
	case !p.swarm.m.Source.Has(int(f.Piece)):
		l.send(&wire.Reject{ID: f.ID, Reason: wire.RejectMissing})
	default:
		return l.queue(p, f)
	}
	return nil
}

// queue has a request wait for its turn, or refuses it. The caller holds the mutex.
func (l *link) queue(p *Peer, f *wire.Request) error {
	busy, ok, queued := l.node.uploads.ask(l, upload.Request{Request: *f, Rare: p.swarm.rare(int(f.Piece)), Left: p.left()})
	if !ok {
		l.refusedOne(time.Now(), busy.Retry)
		l.send(&wire.Reject{
			ID: f.ID, Reason: wire.RejectBusy,
			Retry: uint32(busy.Retry.Milliseconds()), Uplink: uint32(min(busy.Rate*8/1000, math.MaxUint32)),
		})
	}
	if queued+l.refusedNow(time.Now()) > wire.MaxRequests {
		return fmt.Errorf("%w: more than %d requests outstanding", errProtocol, wire.MaxRequests)
	}
	return nil
}

// refusedNow is how many requests of the other side count as outstanding although
// they were refused. All are forgotten when the first of them may be repeated: who is
// told to wait long, and then, in other swarms, to wait less, repeats the latter often,
// and must not have them add up. The caller holds the mutex.
func (l *link) refusedNow(now time.Time) int {
	if !now.Before(l.busyUntil) {
		l.refused = 0
	}
	return l.refused
}

// refusedOne counts one that may be repeated after retry. The caller holds the mutex.
func (l *link) refusedOne(now time.Time, retry time.Duration) {
	until := now.Add(retry)
	if l.refusedNow(now) == 0 || until.Before(l.busyUntil) {
		l.busyUntil = until
	}
	l.refused++
}

// refuseAll refuses what waits to be served, but for a request whose turn it is unless
// the pacer holds that up: the writer may be sending it.
func (l *link) refuseAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.node.uploads
	u.do(func(a *upload.Allocator, now time.Duration) {
		turn, ok := l.asks.Turn()
		ok = ok && !slices.Contains(u.held, l)
		a.Drop(now, &l.asks, func(q *upload.Request) bool {
			if ok && q.ID == turn.ID {
				return false
			}
			l.send(&wire.Reject{ID: q.ID, Reason: wire.RejectDenied, Retry: 5000})
			return true
		})
	})
}

func (l *link) onCancel(f *wire.Cancel) {
	l.node.uploads.drop(l, func(q *upload.Request) bool { return q.ID == f.ID })
}
