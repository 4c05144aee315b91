package agent

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/hoststate"
	"github.com/tandem-cdn/tandem/internal/ledger"
	"github.com/tandem-cdn/tandem/internal/swarm"
)

// allowEvery is how often it is looked at what may be uploaded.
const allowEvery = 5 * time.Second

// hostWithin is how long nothing is uploaded at the beginning because the state of the
// machine is not known yet.
const hostWithin = time.Second

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
	wary bool   // somebody uses the machine
}

// allowed is what the user's settings allow at a time on a machine in a state, when used
// bytes were uploaded since the month began. What is not known of the machine forbids
// nothing.
func (c *Config) allowed(now time.Time, host hoststate.State, used int64) allowance {
	a := allowance{rate: c.UploadLimit, left: math.MaxInt64, wary: host.Idle == hoststate.No}
	if c.UploadMonthly > 0 {
		if a.left = c.UploadMonthly - used; a.left <= 0 {
			a.why = "the bytes of this month are used up"
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
	for _, r := range rests {
		if r.in(host) == hoststate.Yes && !slices.Contains(c.UploadAlso, r.state) {
			a.why = r.why
		}
	}
	return a
}

// rests are the states of the machine in which uploads rest; the last that holds is the
// one that users are told of.
var rests = []struct {
	state, why string
	in         func(hoststate.State) hoststate.Answer
}{
	{"vpn", "through a VPN", func(s hoststate.State) hoststate.Answer { return s.VPN }},
	{"metered", "on a metered link", func(s hoststate.State) hoststate.Answer { return s.Metered }},
	{"battery", "on battery", func(s hoststate.State) hoststate.Answer { return s.Battery }},
}

// States are what [Config.UploadAlso] may name.
func States() (all []string) {
	for _, r := range rests {
		all = append(all, r.state)
	}
	return all
}

// HostState is what is known of the machine.
func (e *Engine) HostState() (s hoststate.State) {
	if e.cfg.Host != nil {
		s = e.cfg.Host.State()
	}
	return s
}

// allowedNow is what is allowed at this moment.
func (e *Engine) allowedNow() allowance {
	return e.cfg.allowed(time.Now(), e.HostState(), e.ledger.Month().Uploaded)
}

// allow keeps uploads within what is allowed until the engine ends.
func (e *Engine) allow(ctx context.Context, node *swarm.Node, p *pacer) {
	tick := time.NewTicker(allowEvery)
	defer tick.Stop()
	var changed <-chan struct{}
	if e.cfg.Upload && e.cfg.Host != nil {
		changed = e.cfg.Host.Changed()
		first, cancel := context.WithTimeout(ctx, hostWithin)
		select {
		case <-first.Done():
		case <-changed:
		}
		cancel()
	}
	for {
		a := e.allowedNow()
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
		case <-changed:
		}
	}
}

// Paused is why nothing is uploaded for the moment although sharing is on; mostly
// empty.
func (e *Engine) Paused() string {
	return e.allowedNow().why
}

// Shared is what the ledger has: of this month, by UTC date, and by object.
func (e *Engine) Shared() (month ledger.Day, days map[string]ledger.Day, shares ledger.Shares) {
	e.down.settle()
	return e.ledger.Month(), e.ledger.Days(), e.ledger.Shares()
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
