package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/grant"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// handle acts on one message. An error ends the session; what is merely refused
// is answered with a [wire.Error]. Types not known are ignored.
func (s *session) handle(m *wire.Message) error {
	switch m.Type {
	case wire.MsgUpdate:
		s.update(m.Update)
	case wire.MsgJoin:
		return s.join(m.Join)
	case wire.MsgFind:
		return s.find(m.Find)
	case wire.MsgLeave:
		s.leave(m.Leave.Object)
	case wire.MsgReport:
		s.report(m.Report)
	case wire.MsgLinks:
		s.links(m.Links)
	case wire.MsgBlame:
		s.blame(m.Blame)
	case wire.MsgLogin:
		return errors.New("second login")
	}
	return nil
}

func (s *session) update(u *wire.Update) {
	before := s.peer.Facts()
	f := &directory.Facts{Uploads: u.Uploads, Uplink: wire.RoundUplink(u.Uplink), Load: min(max(u.Load, 0), 100)}
	f.Addrs, f.TCP = cleanAddrs(u.Addrs, s.addr.Addr())
	switch u.NAT {
	case wire.NATOpen, wire.NATCone, wire.NATSymmetric, wire.NATBlocked:
		f.NAT = u.NAT
	default:
	}
	s.peer.Set(f)
	if f.Uploads != before.Uploads {
		for _, m := range s.swarms {
			s.c.dir.Refile(m.scope, s.peer)
		}
	}
}

func (s *session) join(j *wire.Join) error {
	if j.Have < 0 || j.Have > j.Total || j.Total > manifest.MaxPieces {
		return fmt.Errorf("join: %d of %d pieces", j.Have, j.Total)
	}
	now := s.c.cfg.Now()
	g, err := s.c.checkGrant(j, s.peer.Key, now)
	if err != nil {
		s.fail(wire.Error{Code: wire.CodeBadGrant, Message: err.Error(), Object: &j.Object})
		return nil
	}
	m := membership{
		scope:  directory.Scope{Publisher: g.Publisher, Object: g.Object},
		policy: g.Policy, total: j.Total, seed: j.Total > 0 && j.Have == j.Total,
	}
	old, again := s.swarms[j.Object]
	switch {
	case again && old.scope != m.scope:
		s.c.dir.Leave(old.scope, s.peer)
	case !again && len(s.swarms) >= maxSwarms:
		s.fail(wire.Error{Code: wire.CodeOverload, Message: fmt.Sprintf("in %d swarms already", maxSwarms), Object: &j.Object, Retry: 300})
		return nil
	}
	s.swarms[j.Object] = m
	expires := now.Add(s.c.memberTTL())
	if end := g.Expires.Add(grant.Leeway); end.Before(expires) {
		expires = end
	}
	got := s.c.dir.Join(m.scope, s.peer, directory.Membership{
		Have: j.Have, Total: j.Total, Policy: g.Policy.P2P, Expires: expires,
	}, s.query(j.Object, j.Want, nil, now))
	s.introduce(m, got, now)
	return nil
}

// checkGrant says whether the holder of key may join.
func (c *Control) checkGrant(j *wire.Join, key wire.Key, now time.Time) (*grant.Claims, error) {
	g, err := grant.Parse(j.Grant, now)
	if err != nil {
		return nil, err
	}
	if g.Object != j.Object || g.Key != key {
		return nil, grant.ErrMismatch
	}
	return g, c.trusts(g)
}

func (s *session) find(f *wire.Find) error {
	if len(f.Except) > maxPairs {
		return fmt.Errorf("find: %d exceptions", len(f.Except))
	}
	m, ok := s.swarms[f.Object]
	if !ok {
		s.fail(wire.Error{Code: wire.CodeBadGrant, Message: "not joined", Object: &f.Object})
		return nil
	}
	m.seed = m.total > 0 && f.Have >= m.total
	s.swarms[f.Object] = m
	now := s.c.cfg.Now()
	got, ok := s.c.dir.Find(m.scope, s.peer, f.Have, s.query(f.Object, f.Want, f.Except, now))
	if !ok {
		delete(s.swarms, f.Object)
		s.fail(wire.Error{Code: wire.CodeBadGrant, Message: "membership expired, join again", Object: &f.Object})
		return nil
	}
	s.introduce(m, got, now)
	return nil
}

func (s *session) query(o manifest.ObjectID, want int, except []wire.Key, now time.Time) directory.Query {
	return directory.Query{Want: want, Except: except, Now: now, Allow: func(m *directory.Member) bool {
		return s.pairs.may(pair{m.Peer.Key, o}, now)
	}}
}

// introduce tells the session of its candidates and each of them of the session,
// at one moment, so that both dial and their packets open both NATs.
func (s *session) introduce(m membership, got []*directory.Candidate, now time.Time) {
	duty := s.c.dir.Duty(m.scope, s.peer)
	answer := wire.Peers{Object: m.scope.Object, Peers: []wire.Candidate{}, Policy: m.policy, Duty: &duty}
	type notice struct {
		to *session
		wire.Candidate
	}
	var notices []notice
	for _, cand := range got {
		t := s.c.sessionOf(cand.Peer)
		if t == nil || !s.c.learned.may(s.installation, cand.Peer.Place.Site, now) {
			continue
		}
		cand.Peer.Assign(now)
		s.pairs.add(pair{t.peer.Key, m.scope.Object}, now)
		t.pairs.add(pair{s.peer.Key, m.scope.Object}, now)
		if c := describe(t, s, cand.Seed); len(c.Addrs) > 0 {
			answer.Peers = append(answer.Peers, c)
		}
		if c := describe(s, t, m.seed); len(c.Addrs) > 0 {
			notices = append(notices, notice{t, c})
		}
	}
	s.c.counters.handouts.Add(1)
	s.c.counters.candidates.Add(int64(len(answer.Peers)))
	s.send(wire.Message{Type: wire.MsgPeers, Peers: &answer})
	for _, n := range notices {
		n.to.send(wire.Message{Type: wire.MsgPeers, Peers: &wire.Peers{
			Object: m.scope.Object, Peers: []wire.Candidate{n.Candidate}, Policy: m.policy,
		}})
	}
}

// describe is what to may know of a peer.
func describe(of, to *session, seed bool) wire.Candidate {
	f := of.peer.Facts()
	return wire.Candidate{
		Key: of.peer.Key, Addrs: visibleAddrs(f.Addrs, of.addr.Addr(), to.addr.Addr()),
		NAT: f.NAT, Uploads: f.Uploads, Seed: seed, Uplink: f.Uplink,
		Near: directory.TierOf(of.peer.Place, to.peer.Place).Near(),
	}
}

func (s *session) leave(o manifest.ObjectID) {
	if m, ok := s.swarms[o]; ok {
		delete(s.swarms, o)
		s.c.dir.Leave(m.scope, s.peer)
	}
}

func (s *session) report(r *wire.Report) {
	now := s.c.cfg.Now()
	g, err := checkReport(r, now)
	if err == nil {
		err = s.c.trusts(g)
	}
	if err != nil {
		s.c.counters.reportsRefused.Add(1)
		s.fail(wire.Error{Code: wire.CodeBadReport, Message: err.Error(), Object: &r.Object, Report: r.ID})
		return
	}
	if now.Before(g.Expires) { // older ones say nothing of the swarm as it is
		s.c.dir.Report(directory.Scope{Publisher: g.Publisher, Object: g.Object}, r.FromEdge, r.FromPeers, now)
	}
	late := func(err error) {
		s.fail(wire.Error{Code: wire.CodeOverload, Message: err.Error(), Report: r.ID, Retry: 10})
	}
	rec := record{installation: s.installation, publisher: g.Publisher, report: *r, received: now}
	err = s.c.reports.submit(rec, func(err error) {
		if err != nil {
			late(errors.New("report not stored"))
			return
		}
		s.send(wire.Message{Type: wire.MsgAck, Ack: &wire.Ack{ID: r.ID}})
	})
	if err != nil {
		late(err)
	}
}

// links learns from what became of the pairs that control has made, each of them
// once.
func (s *session) links(l *wire.Links) {
	now := s.c.cfg.Now()
	if now.Sub(s.linksAt) < linksEvery {
		return
	}
	s.linksAt = now
	for made, keys := range map[bool][]wire.Key{true: l.Made, false: l.Failed} {
		for _, k := range keys {
			t := s.c.sessionFor(k)
			if !s.pairs.settle(pair{k, l.Object}, made) || t == nil {
				continue
			}
			if s.c.dir.Learn(s.peer, t.peer, made, now) {
				s.c.counters.links.Add(1)
			}
		}
	}
}

// blame counts against a peer that control itself brought the session together
// with; anything else would let anyone accuse everyone.
func (s *session) blame(b *wire.Blame) {
	if s.blames++; s.blames > maxBlames || !s.pairs.has(pair{b.Peer, b.Object}) {
		return
	}
	s.c.counters.blamed.Add(1)
	t := s.c.sessionFor(b.Peer)
	if t == nil {
		return
	}
	n := s.c.blames.add(t, s, b.Object, s.c.cfg.Now())
	t.log.Info("peer blamed", "by", s.name, "object", b.Object.String(), "reason", b.Reason[:min(len(b.Reason), maxReason)], "reporters", n)
}
