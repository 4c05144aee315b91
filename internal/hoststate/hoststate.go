// Package hoststate tells what a considerate program asks before it uses a machine
// in the background: does it run on battery, is its link paid for by the byte, does
// its traffic go through a VPN, is somebody using it.
//
// On Linux the answers come over the system's D-Bus, from UPower, NetworkManager and
// logind; elsewhere from what the system lets a program ask without more. What nobody
// tells is [Unknown], an answer of its own: a bus that is absent, slow or hostile costs
// a moment and is no failure.
package hoststate

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// lookEvery is how often the machine is looked at when nothing tells of a change:
	// routes change without a signal.
	lookEvery = 15 * time.Second
	// settle is how long after a sign of change it is looked at: one change makes
	// several signals, and a flood of them must not make work.
	settle = 200 * time.Millisecond
)

// Answer is to a question that may have none.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

func (a Answer) String() string { return [...]string{"unknown", "no", "yes"}[min(a, Yes)] }

// MarshalText writes "unknown", "no" or "yes".
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText writes; anything else is Unknown.
func (a *Answer) UnmarshalText(b []byte) error {
	*a = Unknown
	for _, known := range []Answer{No, Yes} {
		if known.String() == string(b) {
			*a = known
		}
	}
	return nil
}

// State is what is known of the machine at one moment.
type State struct {
	Battery Answer `json:"battery"` // it runs on battery
	Metered Answer `json:"metered"` // its link is paid for by the byte
	VPN     Answer `json:"vpn"`     // what it sends to the internet goes through a tunnel
	Idle    Answer `json:"idle"`    // nobody uses it for the moment
}

// Watcher follows the state of this machine while Run runs. It is safe for concurrent
// use.
type Watcher struct {
	log     *slog.Logger
	changed chan struct{}

	mu    sync.Mutex
	seen  bool
	state State
}

// New returns a Watcher that knows nothing until Run runs.
func New(log *slog.Logger) *Watcher {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{log: log, changed: make(chan struct{}, 1)}
}

// State is what is known now.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Changed has something to receive after the first look and whenever the state has
// changed since it was last received from. It is for one receiver.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Run follows the machine until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	s := newSystem(w.log)
	defer s.close()
	next := time.NewTimer(0)
	defer next.Stop()
	stirred := s.stirred()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-stirred:
			stirred = nil // until then
			next.Reset(settle)
			continue
		case <-next.C:
		}
		state, again := s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.set(state)
		stirred = s.stirred()
		next.Reset(again)
	}
}

func (w *Watcher) set(state State) {
	w.mu.Lock()
	told := w.seen && w.state == state
	w.seen, w.state = true, state
	w.mu.Unlock()
	if told {
		return
	}
	w.log.Debug("host state", "battery", state.Battery, "metered", state.Metered, "vpn", state.VPN, "idle", state.Idle)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
