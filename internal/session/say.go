package session

import (
	"context"
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
	s.put(wire.Message{Type: wire.MsgJoin, Join: &j})
	s.joins[j.Object] = j
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
	if s.state.Connected {
		s.put(wire.Message{Type: wire.MsgFind, Find: &f})
	}
}

// Blame names a bad peer, once.
func (s *Session) Blame(b wire.Blame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Connected {
		s.put(wire.Message{Type: wire.MsgBlame, Blame: &b})
	}
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

func (s *Session) acked(id string) {
	s.mu.Lock()
	delete(s.reports, id)
	close(s.drained)
	s.drained = make(chan struct{})
	s.mu.Unlock()
	if s.cfg.Acked != nil {
		s.cfg.Acked(id)
	}
}

// refused drops what control says it will never accept.
func (s *Session) refused(e *wire.Error) {
	if e.Code == wire.CodeBadReport && e.Report != "" {
		s.acked(e.Report)
	}
}

func (s *Session) setState(st State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.Since.IsZero() {
		st.Since = time.Now()
	}
	s.state = st
}

// State returns what the session is doing.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.Reports = len(s.reports)
	return st
}
