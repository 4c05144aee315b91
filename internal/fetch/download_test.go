package fetch

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

var (
	errBadPiece = errors.New("bad piece")
	errFull     = errors.New("disk full")
	errReset    = errors.New("connection reset")
	errGone     = lasting{errors.New("gone")}
)

type lasting struct{ error }

func (lasting) Permanent() bool { return true }

// shelf is a Store in memory.
type shelf struct {
	m    *manifest.Manifest
	mu   sync.Mutex
	have manifest.Bitfield
	room int // pieces it takes
	// shown, if set, is told of every piece from the edge before it is stored.
	shown func(i int)
}

func (s *shelf) Manifest() *manifest.Manifest { return s.m }

func (s *shelf) Have() manifest.Bitfield {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have.Clone()
}

func (s *shelf) WritePiece(i int, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.m.Verify(i, b):
		return errBadPiece
	case s.room == 0:
		return errFull
	case s.have.Set(i):
		s.room--
	}
	return nil
}

func (s *shelf) ReceivePiece(i int, b []byte, r io.Reader) error {
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if s.shown != nil {
		s.shown(i)
	}
	return s.WritePiece(i, b)
}

// world is one download with what it downloads from.
type world struct {
	t     *testing.T
	data  []byte
	store *shelf
	rate  int64 // of the edge, bytes per second
	// misdeed, if set, spoils answer number n of the edge, which begins at off.
	misdeed func(n int, off int64, r *answer) error
	asked   atomic.Int64 // requests to the edge
	open    atomic.Int64 // those whose answers have not been closed
	sent    atomic.Int64 // bytes from the edge
	// refreshed counts how often idle connections were given up.
	refreshed atomic.Int64
	mirror    *world // if set, a second edge
	options   Options
	d         *Download
}

func newWorld(t *testing.T, size int) *world {
	w := &world{t: t, data: make([]byte, size), rate: 4 << 20}
	_, _ = rand.NewChaCha8([32]byte{3}).Read(w.data)
	b, err := manifest.NewBuilder(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = b.Write(w.data)
	m, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	w.store = &shelf{m: m, have: manifest.NewBitfield(m.NumPieces()), room: m.NumPieces()}
	return w
}

// begin prepares the download.
func (w *world) begin() {
	o := w.options
	o.Store, o.Edge, o.Seed, o.Uploads, o.Corrupt = w.store, w, 1, true, errBadPiece
	o.Announce, o.Credit, o.Logger = func(int) {}, func(Peer, int) {}, slog.New(slog.DiscardHandler)
	w.d = NewDownload(o)
}

// run begins and downloads, and returns how long that took.
func (w *world) run(peers ...*mate) (time.Duration, error) {
	w.begin()
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, p := range peers {
		p.w, p.work = w, make(chan int, 1000)
		w.d.PeerOpen(p, uint64(i)+2)
		var all []int
		for k := range w.store.m.NumPieces() {
			all = append(all, k)
		}
		w.d.PeerHave(p, all)
		wg.Go(func() { p.serve(ctx) })
	}
	if w.mirror != nil {
		wg.Go(func() { w.d.AddEdge(w.mirror) })
	}
	start := time.Now()
	err := w.d.Run(ctx)
	return time.Since(start), err
}

// answer is the body of a response of the edge.
type answer struct {
	w      *world
	ctx    context.Context
	b      []byte
	at     int
	closed chan struct{}
	once   sync.Once
	stall  int   // goes silent after so many bytes
	cut    int   // breaks off after so many bytes
	flip   int64 // damages the byte here
}

func (w *world) Refresh() { w.refreshed.Add(1) }

func (w *world) Fetch(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	a := &answer{w: w, ctx: ctx, b: w.data[off : off+n], closed: make(chan struct{}), stall: 1 << 40, cut: 1 << 40, flip: -1}
	if w.misdeed != nil {
		if err := w.misdeed(int(w.asked.Load()), off, a); err != nil {
			w.asked.Add(1)
			return nil, err
		}
	}
	w.asked.Add(1)
	w.open.Add(1)
	return a, nil
}

func (a *answer) Read(p []byte) (int, error) {
	if a.at == len(a.b) {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 16<<10)], a.b[a.at:])
	wait := time.Duration(int64(n) * int64(time.Second) / a.w.rate)
	if a.at >= a.stall {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
	case <-a.closed:
		return 0, io.ErrClosedPipe
	}
	if a.at >= a.cut {
		return 0, errReset
	}
	if k := a.flip - int64(a.at); k >= 0 && k < int64(n) {
		p[k] ^= 1
	}
	a.at += n
	a.w.sent.Add(int64(n))
	return n, nil
}

func (a *answer) Close() error {
	a.once.Do(func() {
		a.w.open.Add(-1)
		close(a.closed)
	})
	return nil
}

// mate is a peer that has everything.
type mate struct {
	w       *world
	rate    int64 // bytes per second
	conduct string
	work    chan int
	mu      sync.Mutex
	gone    []int
	dropped string
}

func (p *mate) Request(i int, _ wire.Urgency) { p.work <- i }
func (p *mate) Uploads() bool                 { return true }
func (p *mate) Uplink() uint32                { return 0 }
func (p *mate) Near() int                     { return 0 }
func (p *mate) RTT() time.Duration            { return 10 * time.Millisecond }
func (p *mate) Cancel(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = append(p.gone, i)
}

func (p *mate) Drop(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dropped == "" {
		p.dropped = reason
		close(p.work)
	}
}

func (p *mate) cancelled(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := slices.Index(p.gone, i); k >= 0 {
		p.gone = slices.Delete(p.gone, k, k+1)
		return true
	}
	return false
}

func (p *mate) serve(ctx context.Context) {
	defer func() { p.w.d.PeerClose(p) }()
	for {
		select {
		case i, ok := <-p.work:
			if !ok {
				return
			}
			p.answer(ctx, i)
			if p.conduct == "flee" {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (p *mate) answer(ctx context.Context, i int) {
	m := p.w.store.m
	begin, length := p.w.d.Part(i)
	b := slices.Clone(p.w.data[m.Offset(i)+begin:][:length])
	switch p.conduct {
	case "corrupt", "flee":
		b[0] ^= 1
	case "lie":
		p.w.d.PeerReject(p, i, true, 0)
		return
	case "stall":
		<-ctx.Done()
		return
	}
	for at := 0; at < len(b) && !p.cancelled(i); {
		n := min(32<<10, len(b)-at)
		if p.conduct == "drip" {
			n = 1
		}
		select {
		case <-time.After(time.Duration(int64(n) * int64(time.Second) / p.rate)):
		case <-ctx.Done():
			return
		}
		p.w.d.PeerBytes(p, i, n)
		if at += n; at == len(b) {
			p.w.d.PeerPiece(p, i, begin, b)
		}
	}
}

func TestDownloadFromEdge(t *testing.T) {
	const size = 8<<20 + 77
	for _, tc := range []struct {
		name    string
		misdeed func(n int, off int64, a *answer) error
		room    int
		want    error
		within  time.Duration
	}{
		{name: "good", within: 2500 * time.Millisecond},
		{name: "refuses twice", within: 5 * time.Second, misdeed: func(n int, _ int64, _ *answer) error {
			if n < 2 {
				return errReset
			}
			return nil
		}},
		{name: "breaks off again and again", within: 60 * time.Second, misdeed: func(_ int, _ int64, a *answer) error {
			a.cut = 1 << 20
			return nil
		}},
		{name: "is silent", want: ErrStalled, within: stallAfter + time.Second, misdeed: func(_ int, _ int64, a *answer) error {
			a.stall = 0
			return nil
		}},
		{name: "is away", want: ErrStalled, within: giveUpAfter + time.Second, misdeed: func(int, int64, *answer) error { return errReset }},
		{name: "is gone", want: errGone, within: time.Second, misdeed: func(int, int64, *answer) error { return errGone }},
		{name: "damages a byte once", within: 10 * time.Second, misdeed: func(n int, _ int64, a *answer) error {
			if n == 0 {
				a.flip = 3 << 20
			}
			return nil
		}},
		{name: "damages always", want: ErrCorruptEdge, within: 10 * time.Second, misdeed: func(_ int, _ int64, a *answer) error {
			a.flip = 100
			return nil
		}},
		{name: "disk is full", want: errFull, room: 20, within: 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, size)
				w.misdeed = tc.misdeed
				if tc.room > 0 {
					w.store.room = tc.room
				}
				took, err := w.run()
				if !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
				if took > tc.within {
					t.Errorf("took %v, want at most %v", took, tc.within)
				}
				if st := w.d.Stats(); tc.want == nil && (!w.store.Have().Full() || st.FromEdge != size) {
					t.Errorf("%d of %d pieces, %d bytes from the edge", w.store.Have().Count(), w.store.m.NumPieces(), st.FromEdge)
				}
			})
		})
	}
}

func TestDownloadFromPeers(t *testing.T) {
	const size = 16 << 20 // four seconds from the edge alone
	good := func() *mate { return &mate{rate: 2 << 20} }
	bad := func(conduct string, n int) []*mate {
		var out []*mate
		for range n {
			out = append(out, &mate{rate: 2 << 20, conduct: conduct})
		}
		return out
	}
	for _, tc := range []struct {
		name   string
		peers  []*mate
		edge   func(n int, off int64, a *answer) error
		reason string // why the bad ones are dropped
		within time.Duration
	}{
		{name: "good", peers: []*mate{good(), good()}, within: 4 * time.Second},
		{name: "corrupt", peers: append(bad("corrupt", 3), good()), reason: DropCorrupt, within: 5 * time.Second},
		{name: "corrupt and away", peers: append(bad("flee", 3), good()), reason: DropCorrupt, within: 5 * time.Second},
		{name: "liars", peers: append(bad("lie", 3), good()), reason: DropLiar, within: 5 * time.Second},
		{name: "silent", peers: append(bad("stall", 3), good()), within: 6 * time.Second},
		{name: "edge away", peers: []*mate{good(), good()}, within: 10 * time.Second, edge: func(int, int64, *answer) error { return errReset }},
		{name: "edge silent", peers: []*mate{good(), good()}, within: 20 * time.Second, edge: func(_ int, _ int64, a *answer) error {
			a.stall = 0
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, size)
				w.misdeed = tc.edge
				took, err := w.run(tc.peers...)
				if err != nil || !w.store.Have().Full() {
					t.Fatalf("%d pieces, error %v", w.store.Have().Count(), err)
				}
				if took > tc.within {
					t.Errorf("took %v, want at most %v", took, tc.within)
				}
				for _, p := range tc.peers {
					if p.conduct != "" && p.conduct != "stall" && p.dropped != tc.reason && len(p.gone) == 0 {
						t.Errorf("peer that is %s was dropped for %q", p.conduct, p.dropped)
					}
				}
			})
		})
	}
}

// TestDripsDoNotHoldTheEnd has peers that spend the budget for duplicates with
// damaged pieces, and others that hold pieces with a byte now and then.
func TestDripsDoNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 16<<20)
		var peers []*mate
		for range 8 {
			peers = append(peers, &mate{rate: 8 << 20, conduct: "corrupt"}, &mate{rate: 1, conduct: "drip"})
		}
		took, err := w.run(peers...)
		if err != nil || took > 10*time.Second {
			t.Errorf("took %v (the edge alone 4 s), error %v", took, err)
		}
	})
}

// TestReaderMayPause reads a little, is away for minutes, and goes on.
func TestReaderMayPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 32<<20)
		w.options.Window = 4 << 20
		w.begin()
		done := make(chan error, 1)
		w.d.SetReader(0)
		go func() { done <- w.d.Run(t.Context()) }()
		select {
		case err := <-done:
			t.Fatalf("ended while the reader was away: %v", err)
		case <-time.After(5 * time.Minute):
		}
		if most := int64(8 << 20); w.sent.Load() > most {
			t.Errorf("the edge has sent %d bytes for a window of %d", w.sent.Load(), w.options.Window)
		}
		for off := int64(0); off < 32<<20; off += 1 << 20 {
			w.d.SetReader(off)
			<-time.After(time.Second)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestEndOfContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8<<20)
		w.misdeed = func(_ int, _ int64, a *answer) error { a.stall = 0; return nil }
		w.begin()
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		if err := w.d.Run(ctx); !errors.Is(err, why) {
			t.Errorf("error %v, want the cause", err)
		}
		p := &mate{w: w}
		w.d.PeerOpen(p, 3) // nobody listens, nobody waits
		w.d.PeerHave(p, []int{1})
		w.d.PeerClose(p)
	})
}
