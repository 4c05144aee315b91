// Package inbox hands events to the one goroutine that owns a state machine, with the
// time as the machine reckons it: since its start.
package inbox

import "time"

// Inbox takes events from any goroutine. Its owner takes them from [Inbox.C], handles
// them by [Inbox.Handle], and closes it when it takes no more.
type Inbox struct {
	Start  time.Time
	events chan func(now time.Duration)
	done   chan struct{}
}

// room is how many events may wait; who posts another is held up.
const room = 256

// New returns an inbox whose time begins at start.
func New(start time.Time) *Inbox {
	return &Inbox{start, make(chan func(time.Duration), room), make(chan struct{})}
}

// Now is the time since the start.
func (b *Inbox) Now() time.Duration { return time.Since(b.Start) }

// C is where the owner takes events.
func (b *Inbox) C() <-chan func(now time.Duration) { return b.events }

// Close has nobody be held up by events that are not taken any more.
func (b *Inbox) Close() { close(b.done) }

// Done is closed by Close.
func (b *Inbox) Done() <-chan struct{} { return b.done }

// Handle runs f, which was taken from C, and all that wait behind it, so that the machine
// can be asked once what to do about them together.
func (b *Inbox) Handle(f func(now time.Duration)) {
	f(b.Now())
	for range room {
		select {
		case f := <-b.events:
			f(b.Now())
		default:
			return
		}
	}
}

// Post has the owner run f, unless the inbox is closed.
func (b *Inbox) Post(f func(now time.Duration)) {
	select {
	case b.events <- f:
	case <-b.done:
	}
}

// Call is Post that waits until f has run. It reports whether it has.
func (b *Inbox) Call(f func(now time.Duration)) bool {
	ran := make(chan struct{})
	b.Post(func(now time.Duration) { f(now); close(ran) })
	select {
	case <-ran:
		return true
	case <-b.done:
		return false
	}
}
