package agent

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/swarm"
)

// allowEvery is how often it is looked at what may be uploaded.
const allowEvery = 5 * time.Second

// Hours are a part of every day, by the machine's own time. To may be before From:
// then they go over midnight.
type Hours struct {
	From, To time.Duration // since midnight
	// Rate is the most to upload meanwhile, in bytes per second; 0 is nothing.
	Rate int64
}

// holds reports whether a time is in the hours.
func (h Hours) holds(t time.Time) bool {
	since := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	if h.From <= h.To {
		return since >= h.From && since < h.To
	}
	return since >= h.From || since < h.To
}

// allowance is what may be uploaded for the moment.
type allowance struct {
	rate int64  // bytes per second; 0 is no limit
	left int64  // bytes
	why  string // nothing may be; "" where it may
}

// allowed is what the user's settings allow at a time, when used bytes were uploaded
// since the month began.
func (c *Config) allowed(now time.Time, used int64) allowance {
	a := allowance{rate: c.UploadLimit, left: math.MaxInt64}
	if c.UploadMonthly > 0 {
		if a.left = c.UploadMonthly - used; a.left <= 0 {
			a.why = fmt.Sprintf("the %d bytes of this month are used up", c.UploadMonthly)
		}
	}
	for _, h := range c.QuietHours {
		switch {
		case !h.holds(now):
		case h.Rate == 0:
			a.why = "quiet hours"
		case a.rate == 0 || h.Rate < a.rate:
			a.rate = h.Rate
		}
	}
	return a
}

// allow keeps uploads within what is allowed until the engine ends.
func (e *Engine) allow(ctx context.Context, node *swarm.Node, p *pacer) {
	tick := time.NewTicker(allowEvery)
	defer tick.Stop()
	for {
		a := e.cfg.allowed(time.Now(), e.ledger.Month().Uploaded)
		p.allow(a)
		if node.Pause(a.why != "") {
			e.log.Info("uploads paused or resumed", "paused", a.why)
			e.mu.Lock()
			controls := slices.Collect(maps.Values(e.controls))
			e.mu.Unlock()
			for _, c := range controls {
				c.pause(a.why != "")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Paused is why nothing is uploaded for the moment although sharing is on; mostly
// empty.
func (e *Engine) Paused() string {
	return e.cfg.allowed(time.Now(), e.ledger.Month().Uploaded).why
}

// Shared is what the ledger has: of this month, and by UTC date.
func (e *Engine) Shared() (month ledger.Day, days map[string]ledger.Day) {
	return e.ledger.Month(), e.ledger.Days()
}

// pause has control name this client to peers as one that uploads, or not.
func (c *control) pause(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach.Uploads = c.e.cfg.Upload && !paused
	if c.known {
		c.s.Update(c.reach)
	}
}
