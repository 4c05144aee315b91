package agent

import (
	"context"
	"slices"
	"sync"
	"time"
)

// turnAfter is how long a reader may wait while the download works for another one.
const turnAfter = time.Second

// turn is a reader at one place of an object.
type turn struct {
	off   int64
	since time.Time // it waits
}

// turns has several readers of one object take turns. A plan works for one reading
// position; it would be torn between two that both tell theirs at every chance, and
// leave for good what lies before the one that told last.
type turns struct {
	mu   sync.Mutex
	wait []*turn // the one that has waited longest first
	lead *turn   // whom the plan works for; nil while nobody waits
}

// leads reports whether the plan is to work for me: while nobody else waits, or since
// it was my turn, or now that I have waited long enough.
func (t *turns) leads(me *turn, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.wait) > 0 {
		if first := t.wait[0]; now.Sub(first.since) >= turnAfter {
			t.lead = first
		}
	}
	return t.lead == nil || t.lead == me
}

// enter notes that me waits.
func (t *turns) enter(me *turn, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !me.since.IsZero() {
		return
	}
	me.since = now
	t.wait = append(t.wait, me)
	if t.lead == nil {
		t.lead = me
	}
}

// leave notes that me waits no more.
func (t *turns) leave(me *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if me.since.IsZero() {
		return
	}
	t.wait = slices.DeleteFunc(t.wait, func(o *turn) bool { return o == me })
	if t.lead == me {
		t.lead = nil
	}
}

// awaitTurn is await that also ends when it may be the reader's turn, who may have lost it.
func (d *Download) awaitTurn(ctx context.Context, changed <-chan struct{}) error {
	alarm, cancel := context.WithTimeout(ctx, turnAfter)
	defer cancel()
	if err := d.await(alarm, changed); err != nil && (alarm.Err() == nil || ctx.Err() != nil) {
		return err
	}
	return nil
}
