package session

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// Update tells control how this node is reached, now and after every login.
func (s *Session) Update(u wire.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.update = &u
	s.put(wire.Message{Type: wire.MsgUpdate, Update: &u})
}

// Join enters a swarm, or tells control anew of the membership; it is repeated
// until Leave.
func (s *Session) Join(j wire.Join) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joins[j.Object] = j
	s.put(wire.Message{Type: wire.MsgJoin, Join: &j})
}

// Leave quits a swarm.
func (s *Session) Leave(object manifest.ObjectID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.joins, object)
	s.put(wire.Message{Type: wire.MsgLeave, Leave: &wire.Leave{Object: object}})
}

// Find asks for more candidates, once.
func (s *Session) Find(f wire.Find) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j, ok := s.joins[f.Object]; ok {
		j.Have = min(f.Have, j.Total)
		s.joins[f.Object] = j
	}
	s.put(wire.Message{Type: wire.MsgFind, Find: &f})
}

// Links tells what became of candidates, once.
func (s *Session) Links(l wire.Links) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(wire.Message{Type: wire.MsgLinks, Links: &l})
}

// Blame names a bad peer, once.
func (s *Session) Blame(b wire.Blame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(wire.Message{Type: wire.MsgBlame, Blame: &b})
}

// Report delivers a report; it is repeated after every login until control
// acknowledges it.
func (s *Session) Report(r wire.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.reports[r.ID]; known {
		return
	}
	s.reports[r.ID] = r
	s.put(wire.Message{Type: wire.MsgReport, Report: &r})
}

// Flush waits until control has acknowledged every report, or ctx ends.
func (s *Session) Flush(ctx context.Context) {
	for {
		s.mu.Lock()
		left, drained := len(s.reports), s.drained
		s.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-drained:
		case <-ctx.Done():
			return
		}
	}
}

// begin makes a connection that has logged in the current one, and queues for it
// what the session stands for: control may know nothing of it.
func (s *Session) begin(w *wire.Welcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = State{Connected: true, Since: time.Now(), You: w.You}
	s.replay()
}

func (s *Session) replay() {
	s.queue, s.behind = nil, false
	clear(s.later)
	if s.update != nil {
		s.queue = append(s.queue, wire.Message{Type: wire.MsgUpdate, Update: s.update})
	}
	for _, j := range s.joins {
		s.queue = append(s.queue, wire.Message{Type: wire.MsgJoin, Join: &j})
	}
	for _, id := range slices.Sorted(maps.Keys(s.reports)) {
		r := s.reports[id]
		s.queue = append(s.queue, wire.Message{Type: wire.MsgReport, Report: &r})
	}
}

// renew repeats the joins to keep the memberships, without asking for peers.
func (s *Session) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range s.joins {
		j.Want = 0
		s.put(wire.Message{Type: wire.MsgJoin, Join: &j})
	}
}

// putDue repeats the reports that control had put off until now.
func (s *Session) putDue(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range s.later {
		if now.Before(at) {
			continue
		}
		delete(s.later, id)
		if r, ok := s.reports[id]; ok {
			s.put(wire.Message{Type: wire.MsgReport, Report: &r})
		}
	}
}

// put queues a message for the current connection; without one, the next replays
// what matters. The caller holds the mutex.
func (s *Session) put(m wire.Message) {
	if !s.state.Connected {
		return
	}
	if len(s.queue) >= maxQueue {
		s.behind = true
		return
	}
	s.queue = append(s.queue, m)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next takes a message off the queue.
func (s *Session) next() (wire.Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 && s.behind {
		s.replay()
	}
	if len(s.queue) == 0 {
		s.queue = nil
		return wire.Message{}, false
	}
	m := s.queue[0]
	s.queue = s.queue[1:]
	return m, true
}

// acked forgets a report that control needs no more.
func (s *Session) acked(id string) {
	s.mu.Lock()
	_, known := s.reports[id]
	if known {
		delete(s.reports, id)
		close(s.drained)
		s.drained = make(chan struct{})
	}
	s.mu.Unlock()
	if known && s.cfg.Acked != nil {
		s.cfg.Acked(id)
	}
}

// refused acts on what control refuses: a report that it will never accept is
// done with, one that it puts off is repeated.
func (s *Session) refused(e *wire.Error) {
	switch {
	case e.Report == "":
	case e.Code == wire.CodeBadReport:
		s.acked(e.Report)
	default:
		wait := min(max(time.Duration(e.Retry)*time.Second, minPause), maxRetry)
		s.mu.Lock()
		if _, known := s.reports[e.Report]; known {
			s.later[e.Report] = time.Now().Add(wait)
		}
		s.mu.Unlock()
	}
	if s.cfg.OnError != nil {
		s.cfg.OnError(*e)
	}
}

// setState records the end of a connection.
func (s *Session) setState(st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Since = time.Now()
	s.state = st
	s.queue = nil
}

// State returns what the session is doing.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.Reports = len(s.reports)
	return st
}
