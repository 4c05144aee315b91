package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/chunkmap"
	"github.com/tandem-cdn/tandem/internal/manifest"
)

// Stream is a response that goes on as one source beside others: Body has the bytes
// from offset At, the beginning of a piece, up to End.
type Stream struct {
	Body    io.ReadCloser
	At, End int64
}

// Useful reports whether the stream has a whole piece.
func (s *Stream) Useful(m *manifest.Manifest) bool {
	first, end := s.pieces(m)
	return first < end
}

// pieces are those that the stream has whole, from first up to end.
func (s *Stream) pieces(m *manifest.Manifest) (first, end int) {
	if s == nil {
		return 0, 0
	}
	first, end = int(s.At/m.PieceSize), int(s.End/m.PieceSize)
	if s.End >= m.Size {
		end = m.NumPieces()
	}
	return first, end
}

// edgeRun is one running request to an edge.
type edgeRun struct {
	req    int
	edge   EdgeID
	from   Edge
	end    atomic.Int64 // pieces from here on are not wanted
	at     atomic.Int64 // piece in progress
	cancel context.CancelFunc
	pace   *readPace
}

// trim makes the run end before piece end, at once if that has begun.
func (e *edgeRun) trim(end int) {
	e.end.Store(int64(end))
	if int64(end) <= e.at.Load() {
		e.cancel()
	}
}

// runEdge starts a request, or goes on with a body that has been opened already.
func (d *Download) runEdge(ctx context.Context, a AskEdge, body io.ReadCloser) {
	ctx, cancel := context.WithCancel(ctx)
	first, end := a.First, a.First+a.Count
	e := &edgeRun{req: a.Req, edge: a.Edge, from: d.sources[a.Edge], cancel: cancel, pace: newReadPace()}
	e.at.Store(int64(first))
	e.end.Store(int64(end))
	d.edge[a.Req] = e
	d.count(a.Edge, func(st *EdgeStats) { st.Requests++ })
	if a.Fresh {
		refresh(e.from)
	}
	d.wg.Go(func() {
		defer cancel()
		err := d.stream(ctx, e, first, end, body)
		trimmed := ctx.Err() != nil && e.end.Load() <= e.at.Load()
		d.in.Post(func(now time.Duration) {
			delete(d.edge, a.Req)
			d.due = true
			d.ended(now, e, err, trimmed)
		})
	})
}

// stream reads pieces off the edge, verifies and stores them.
func (d *Download) stream(ctx context.Context, e *edgeRun, first, end int, body io.ReadCloser) error {
	given := body != nil
	gaps := make([][]chunkmap.Range, end-first)
	for i := range gaps {
		gaps[i] = d.gaps(first + i) // they may change, but not what was asked for
	}
	if !given {
		var err error
		if body, err = d.ask(ctx, e.from, gaps); err != nil {
			return err
		}
	}
	defer body.Close()
	if given && !d.awaitReader(ctx) {
		return nil
	}
	r := &response{run: e, body: body, first: first, end: end, gaps: gaps, turns: make(chan turn, 1)}
	if err := d.pieces(ctx, r); !errors.Is(err, errSpoilt) {
		return err
	}
	return nil
}

// errSpoilt ends a response of which a piece did not verify with what an older
// version has of it: it is nobody's failure, and what follows is asked for anew.
var errSpoilt = errors.New("spoilt by an older version")

// response is a body that pieces are read from, one after the other.
type response struct {
	run        *edgeRun
	body       io.ReadCloser
	first, end int                // pieces, as it was asked for
	gaps       [][]chunkmap.Range // that it has of each
	turns      chan turn
	err        error // of the first piece that failed, which those behind it do not hide
}

// lanes is how many pieces of a response are in hand at once: while one is on its
// way to the disk the next one is read.
const lanes = 2

// turn is the right to read the next piece of a response.
type turn struct {
	piece  int
	before <-chan struct{} // closed when the piece before is dealt with
}

// pieces reads the pieces of a response up to the run's end, which is the response's
// unless it was trimmed.
func (d *Download) pieces(ctx context.Context, r *response) error {
	over, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(over, func() { r.body.Close() })()
	none := make(chan struct{})
	close(none)
	r.turns <- turn{r.first, none}
	var g sync.WaitGroup
	for range lanes {
		g.Go(func() {
			defer stop()
			var buf []byte
			defer func() { d.recycle(buf) }()
			for {
				select {
				case <-over.Done():
					return
				case t := <-r.turns:
					r.run.at.Store(int64(t.piece)) // before end is looked at: trim does it the other way round
					if end := r.run.end.Load(); int64(t.piece) >= end {
						if end == int64(r.end) {
							_, _ = io.CopyN(io.Discard, r.body, 1) // reach the end, so that the connection is kept
						}
						return
					}
					if buf == nil {
						buf = d.buffer()
					}
					if !d.piece(ctx, r, t, buf) {
						return
					}
				}
			}
		})
	}
	g.Wait()
	if r.err != nil {
		return r.err
	}
	return ctx.Err()
}

// piece reads the piece whose turn it is into buf, verifies and stores it, and reports
// whether that went well. The next one has its turn before it is stored.
func (d *Download) piece(ctx context.Context, r *response, t turn, buf []byte) bool {
	dealt := make(chan struct{})
	defer close(dealt)
	i, gaps := t.piece, r.gaps[t.piece-r.first]
	n := total(gaps)
	in := &incoming{d: d, ctx: ctx, run: r.run, body: r.body, left: n, whole: func() { r.turns <- turn{i + 1, dealt} }}
	if n == 0 { // all of it is there already
		in.whole()
	}
	err := d.o.Store.ReceivePiece(i, buf[:d.m.PieceLen(i)], d.patched(i, gaps, in))
	<-t.before
	if err != nil {
		if err = d.failed(i, n, in.left, err); r.err == nil {
			r.err = err
		}
		return false
	}
	d.o.Announce(i)
	d.in.Post(func(time.Duration) {
		d.due = true
		if d.plan.EdgePiece(r.run.req, i) {
			d.arrived(i, n, &d.stats.FromEdge)
			d.count(r.run.edge, func(st *EdgeStats) { st.Bytes += n })
		}
	})
	return true
}

// failed says whose fault it is that piece i, of which n bytes had to come and left
// have not, is not in the store.
func (d *Download) failed(i int, n, left int64, err error) error {
	switch {
	case d.spoilt(i, n < d.m.PieceLen(i), err):
		return errSpoilt
	case left > 0:
		return fmt.Errorf("edge: piece %d: %w", i, err)
	}
	d.stored(err)
	return err
}

// ask opens the body of a request for gaps of pieces.
func (d *Download) ask(ctx context.Context, from Edge, gaps [][]chunkmap.Range) (io.ReadCloser, error) {
	all := merged(slices.Concat(gaps...))
	if len(all) == 1 {
		return from.Fetch(ctx, all[0].Off, all[0].Len)
	}
	return &ranges{ctx: ctx, from: from, rest: all}, nil
}

// patched reads piece i where in has its gaps alone.
func (d *Download) patched(i int, gaps []chunkmap.Range, in io.Reader) io.Reader {
	if d.o.Basis == nil {
		return in
	}
	off := d.m.Offset(i)
	return &patched{basis: d.o.Basis, sender: in, gaps: gaps, at: off, end: off + d.m.PieceLen(i)}
}

// holdFor is how long the response that began a download waits for a reader:
// servers end connections on which nothing is read.
const holdFor = 5 * time.Second

// awaitReader waits until the plan knows where the reader is and has not ended
// the stream, for which it reports true.
func (d *Download) awaitReader(ctx context.Context) bool {
	if d.o.Window == 0 {
		return true
	}
	timer := time.NewTimer(holdFor)
	defer timer.Stop()
	select {
	case <-d.placed:
		return ctx.Err() == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// Progress is told of for each so many bytes, or so much time: on a fast line there
// would be more to tell than to read.
const (
	tellBytes = 256 << 10
	tellEvery = 5 * time.Millisecond
)

// incoming is a piece on its way from the edge. It reports progress.
type incoming struct {
	d     *Download
	ctx   context.Context
	run   *edgeRun
	body  io.Reader
	left  int64  // bytes
	whole func() // called when none is left
	came  int64  // bytes not told of yet
	told  time.Time
}

// Read implements [io.Reader].
func (in *incoming) Read(p []byte) (int, error) {
	n := in.run.pace.next(in.ctx, len(p))
	if n == 0 && len(p) > 0 {
		return 0, in.ctx.Err()
	}
	n, err := in.body.Read(p[:n])
	if n > 0 {
		in.run.pace.paid(n)
		in.left -= int64(n)
		in.came += int64(n)
		in.tell(err)
		if in.left == 0 {
			in.whole()
		}
	}
	return n, err
}

// tell tells of what came, at the latest with the last byte.
func (in *incoming) tell(err error) {
	now := time.Now()
	if in.left > 0 && err == nil && in.came < tellBytes && now.Sub(in.told) < tellEvery {
		return
	}
	n := in.came
	in.came, in.told = 0, now
	in.d.in.Post(func(now time.Duration) {
		in.d.progress = now
		in.d.plan.EdgeBytes(now, in.run.req, n)
	})
}
