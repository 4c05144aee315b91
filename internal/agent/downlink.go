package agent

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/ledger"
)

const (
	// settleEvery is how often what was received is told to the ledger.
	settleEvery = time.Second
	// limitedRead is how much is read at once at most where the rate is limited, in bytes;
	// burst is how much a limit lets through at once, in time at its rate, and leastBurst
	// in bytes.
	limitedRead = 16 << 10
	burst       = 100 * time.Millisecond
	leastBurst  = 1200
)

// downlink is what all object data passes that is received. It counts, keeps to the rate
// that the user has set, and ends downloads when the bytes of the month are used up.
type downlink struct {
	limit  *rate.Limiter // nil: none
	polite *polite       // of background downloads; nil: they do not give way
	ledger *ledger.Ledger
	most   int64         // bytes in a month; 0 is no limit
	came   atomic.Int64  // what the ledger has not been told of
	left   atomic.Int64  // bytes that may come yet
	wake   chan struct{} // something has come
	urgent atomic.Int64  // running downloads that are not in the background

	mu      sync.Mutex
	running map[context.Context]context.CancelCauseFunc
}

// flow is a part of what is received.
type flow struct {
	*downlink
	background func() bool // it gives way to others now
}

// Wait is WaitN, and gives way but where n bytes take no way that others use.
func (f flow) Wait(ctx context.Context, n int, local bool) error {
	if err := f.WaitN(ctx, n); err != nil || !f.yields(local) {
		return err
	}
	return f.polite.WaitN(ctx, n, func() bool { return f.yields(local) })
}

func (f flow) yields(local bool) bool { return f.polite != nil && !local && f.background() }

// Step is how much of n bytes to read at once: little where sources share a rate.
func (f flow) Step(n int, local bool) int {
	if f.downlink == nil {
		return n
	}
	if f.limit != nil {
		n = min(n, limitedRead, f.limit.Burst())
	}
	if f.yields(local) {
		n = f.polite.step(n)
	}
	return n
}

func newDownlink(cfg Config, l *ledger.Ledger) *downlink {
	d := &downlink{ledger: l, most: cfg.DownloadMonthly, wake: make(chan struct{}, 1), running: map[context.Context]context.CancelCauseFunc{}}
	if !cfg.Ungoverned {
		d.polite = newPolite()
	}
	if cfg.DownloadLimit > 0 {
		d.limit = rate.NewLimiter(rate.Limit(cfg.DownloadLimit), max(leastBurst, int(float64(cfg.DownloadLimit)*burst.Seconds())))
	}
	d.settle()
	return d
}

// WaitN counts n bytes that have come, or are about to, and waits until the limit has
// room for them.
func (d *downlink) WaitN(ctx context.Context, n int) error {
	d.came.Add(int64(n))
	if d.left.Add(-int64(n)) <= 0 {
		d.settle()
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	if d.limit == nil {
		return nil
	}
	return d.limit.WaitN(ctx, n)
}

// links is what comes over links, which all downloads share: it gives way while none but
// background downloads run.
func (d *downlink) links() flow {
	return flow{d, func() bool { return d.urgent.Load() == 0 }}
}

// flow is what comes from servers for a download. A background download does not give
// way once half of the time is over in which it is to be done.
func (d *downlink) flow(req Request, began time.Time) flow {
	return flow{d, func() bool {
		return req.Class == fetch.Background && (req.FinishBy == 0 || time.Since(began) < req.FinishBy/2)
	}}
}

// during returns a context for a download of a class, which ends with [ErrMonthly] when
// the month's bytes are used up. The second result is to be called when the download has ended.
func (d *downlink) during(ctx context.Context, class fetch.Class) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	urgent := int64(1)
	if class == fetch.Background {
		urgent = 0
	}
	d.mu.Lock()
	d.running[ctx] = cancel
	d.mu.Unlock()
	d.urgent.Add(urgent)
	d.settle() // it may be so already
	return ctx, func() {
		d.mu.Lock()
		delete(d.running, ctx)
		d.mu.Unlock()
		d.urgent.Add(-urgent)
		cancel(nil)
	}
}

// settle tells the ledger what has come, and learns from it what is left: other
// processes count there too, and months end.
func (d *downlink) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.came.Swap(0); n > 0 {
		d.ledger.Received(n)
	}
	if d.most == 0 {
		d.left.Store(math.MaxInt64)
		return
	}
	left := d.most - d.ledger.Month().Received
	d.left.Store(left)
	if left > 0 {
		return
	}
	for _, cancel := range d.running {
		cancel(ErrMonthly)
	}
}

// run settles while something is received, until ctx ends.
func (d *downlink) run(ctx context.Context) {
	defer d.settle()
	tick := time.NewTimer(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		tick.Reset(settleEvery)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.settle()
	}
}
