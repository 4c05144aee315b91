package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// This file holds the membership of a stream at control: grants, candidates, reports.

// enter gets a grant, joins at control and opens the swarms of the tracks.
func (s *streaming) enter() {
	if s.doc.Grants == "" {
		return
	}
	var expires int64
	for pause := minRenew; ; pause = min(2*pause, maxSeedPause) {
		var err error
		if expires, err = s.renew(); err == nil {
			break
		}
		s.e.log.Info("no grant for the stream", "stream", s.id.String()[:16], "error", err)
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	s.e.ledger.Name(s.id, s.base.Host, s.url)
	var c *control
	if len(s.doc.Control) > 0 {
		c = s.e.control(s.doc.Control[0], s.p2p, s.guard)
	}
	s.mu.Lock()
	s.control = c
	tracks := slices.Clone(s.byID)
	s.mu.Unlock()
	for _, t := range tracks {
		t.join()
	}
	if c != nil {
		c.join(s, s.joining())
		s.e.start(func() { s.seek(s.ctx, c) })
	}
	renewing(s.ctx, expires, s.stale, s.renew)
}

// renew gets a grant for the stream and shows it.
func (s *streaming) renew() (expires int64, err error) {
	g, err := s.e.grantFor(s.ctx, s.web, s.doc, s.p2p, s.id, wire.GrantRequest{URL: s.url})
	if err != nil {
		return 0, err
	}
	first := s.grant.Swap(&g.Grant) == nil
	if first {
		return g.Expires, nil
	}
	for _, w := range s.swarms() {
		w.Renew()
	}
	if s.control != nil { // set before, by the same goroutine
		s.control.join(s, s.joining())
	}
	return g.Expires, nil
}

// joining implements participant. A member of a stream is never complete.
func (s *streaming) joining() wire.Join {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, total := 0, 1
	for _, t := range s.byID {
		have += s.store.Have(t.id).Count()
		total += t.NumPieces()
	}
	total = min(total, manifest.MaxPieces)
	return wire.Join{Object: s.id, Grant: *s.grant.Load(), Have: min(have, total-1), Total: total, Want: wantPeers}
}

// meet implements participant: the candidates are for all tracks.
func (s *streaming) meet(told wire.Peers) {
	s.mu.Lock()
	for _, c := range told.Peers {
		if len(s.peers) < maxStreamPeers {
			s.peers[c.Key] = c
		}
	}
	s.mu.Unlock()
	for _, w := range s.swarms() {
		w.Connect(told.Peers)
	}
}

// wantGrant implements participant.
func (s *streaming) wantGrant() {
	select {
	case s.stale <- struct{}{}:
	default:
	}
}

// seek tells control what became of candidates, and asks for more while there are few.
func (s *streaming) seek(ctx context.Context, c *control) {
	every(ctx, seekEvery, func() {
		linked := map[wire.Key]bool{}
		for _, w := range s.swarms() {
			if made, failed := w.Outcomes(); len(made)+len(failed) > 0 {
				c.s.Links(wire.Links{Object: s.id, Made: made, Failed: failed})
			}
			for _, k := range w.Keys() {
				linked[k] = true
			}
		}
		if len(linked) < fewPeers {
			except := slices.Collect(maps.Keys(linked))
			c.s.Find(wire.Find{Object: s.id, Want: wantPeers - len(except), Except: except, Have: s.joining().Have})
		}
	})
}

// report accounts for what was had of the stream.
func (s *streaming) report() {
	st := s.d.Stats()
	token := s.grant.Load()
	s.mu.Lock()
	c := s.control
	s.mu.Unlock()
	if c == nil || token == nil || st.FromEdge+st.FromPeers == 0 {
		return
	}
	var receipts []wire.PeerReceipt
	if all := s.swarms(); len(all) > 0 { // which have one account
		receipts = all[0].Receipts()
	}
	r := wire.Report{
		ID: rand.Text(), Object: s.id, Grant: *token, Session: s.p2p.node.Key(),
		Size: st.FromEdge + st.FromPeers, FromEdge: st.FromEdge, FromPeers: st.FromPeers, Wasted: st.Wasted,
		Millis: time.Since(s.start).Milliseconds(), Complete: true, Receipts: receipts[:min(len(receipts), wire.MaxReceipts)],
	}
	r.Signature = ed25519.Sign(s.p2p.key, r.SignedBytes())
	if err := s.e.ledger.Add(c.url, r); err != nil {
		s.e.log.Warn("report not kept", "stream", s.id.String()[:16], "error", err)
	}
	c.s.Report(r)
}
