package swarm

import (
	"context"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// mostOut is how many requests this side has outstanding on a link at most, for
	// all its swarms: they do not know of each other, and the other side ends a link
	// with more than wire.MaxRequests. What lies between is for those that count there
	// and of which this side does not know.
	mostOut = wire.MaxRequests * 3 / 4
	// backOff is when to ask again for what was not let out.
	backOff = 100 * time.Millisecond
	// unsure is how long a request counts that was cancelled before anything of it
	// came: it may have been refused, and the other side counts those.
	unsure = time.Second
)

// refusals are the requests that count as outstanding beside those that are, and
// those that were not let out for them. They are under the mutex of the link.
type refusals struct {
	counted []time.Time // until when
	kept    []kept      // of which the handlers are to be told
	keeping chan struct{}
}

// kept is a request that was not let out.
type kept struct {
	peer  *Peer
	piece int
}

// full reports whether another request would be too many for the other side.
func (r *refusals) full(now time.Time, outstanding int) bool {
	r.counted = slices.DeleteFunc(r.counted, func(t time.Time) bool { return t.Before(now) })
	return outstanding+len(r.counted) >= mostOut
}

// count has a request that is not outstanding count as if it were.
func (r *refusals) count(wait time.Duration) { r.counted = append(r.counted, time.Now().Add(wait)) }

// keep has the handler told that p is busy.
func (r *refusals) keep(p *Peer, piece int) {
	r.kept = append(r.kept, kept{p, piece})
	select {
	case r.keeping <- struct{}{}:
	default:
	}
}

// unkeep is keep undone, for all pieces of p where piece is negative.
func (r *refusals) unkeep(p *Peer, piece int) {
	r.kept = slices.DeleteFunc(r.kept, func(k kept) bool { return k.peer == p && (piece < 0 || k.piece == piece) })
}

// refuseLoop tells handlers of requests that were not let out. It is a goroutine of
// its own because whoever asks may be whom the handler waits for, and the reader may
// wait for bytes.
func (l *link) refuseLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.keeping:
			for l.refuse() {
			}
		}
	}
}

// refuse tells of the first request that was not let out, if there is one.
func (l *link) refuse() bool {
	l.calls.Lock()
	defer l.calls.Unlock()
	l.mu.Lock()
	if len(l.kept) == 0 {
		l.mu.Unlock()
		return false
	}
	k := l.kept[0]
	l.kept = slices.Delete(l.kept, 0, 1)
	l.mu.Unlock()
	k.peer.swarm.m.Handler.PeerReject(k.peer, k.piece, false, backOff)
	return true
}
