package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/manifest"
	"github.com/tandem-cdn/tandem/internal/store"
	"github.com/tandem-cdn/tandem/internal/swarm"
	"github.com/tandem-cdn/tandem/internal/wire"
)

const (
	// seekEvery is how often a download with few peers asks for more.
	seekEvery = 10 * time.Second
	fewPeers  = 8
	// minRenew is the least time between two grants, but for refused ones.
	minRenew  = 10 * time.Second
	wantPeers = wire.MaxCandidates
)

// member is a download's, or a seed's, part in a swarm. It shows the swarm's
// peers to package fetch, which knows neither links nor control.
type member struct {
	d       *Download
	b       *bootstrapped
	file    *store.File
	fetch   *fetch.Download
	swarm   *swarm.Swarm
	control *control
	grant   atomic.Pointer[string]
	ctx     context.Context
	cancel  context.CancelFunc
	stale   chan struct{} // the grant was refused
	changed chan struct{} // the file is not the object any more
	seeking context.CancelFunc
	left    sync.Once
	met     atomic.Pointer[time.Time] // when control named the first peers
	served  sync.Once                 // by a peer
}

func newMember(d *Download, b *bootstrapped, file *store.File) *member {
	return &member{d: d, b: b, file: file, stale: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

func (m *member) object() manifest.ObjectID { return m.b.signed.Object }

// seed is this client's place in the election of owners: the first bytes of its
// session key, which every peer sees alike.
func (m *member) seed() uint64 {
	if m.b.p2p == nil {
		return 0
	}
	return seedOf(m.b.p2p.node.Key())
}

func seedOf(k wire.Key) uint64 { return binary.BigEndian.Uint64(k[:8]) }

// join enters the swarm, or says why it cannot.
func (m *member) join() error {
	if m.b.err != nil {
		return m.b.err
	}
	var err error
	m.grant.Store(&m.b.grant.Grant)
	if len(m.b.doc.Control) > 0 { // peers that are linked already may be blamed at once
		m.control = m.d.e.control(m.b.doc.Control[0], m.b.p2p, m.d.req.Guarded)
	}
	m.swarm, err = m.b.p2p.node.Join(swarm.Membership{
		Object: m.object(), Pieces: m.b.signed.Manifest, Source: shared{m},
		Grant: func() string { return *m.grant.Load() }, Trusted: m.b.doc.Keys.Public(),
		Uploads: m.d.e.cfg.Upload, Part: m.fetch.Part, Handler: handler{m},
	})
	if err != nil {
		m.control = nil
		return err
	}
	m.d.e.ledger.Name(m.object(), m.d.url.Host, (&url.URL{Scheme: m.d.url.Scheme, Host: m.d.url.Host, Path: m.d.url.Path}).String())
	m.ctx, m.cancel = context.WithCancel(m.d.e.ctx)
	if m.control != nil {
		m.control.join(m, m.joining())
	}
	var seeking context.Context
	seeking, m.seeking = context.WithCancel(m.ctx)
	m.d.e.group.Go(func() error { m.seek(seeking); return nil })
	m.d.e.group.Go(func() error { m.renew(m.ctx); return nil })
	m.d.e.group.Go(func() error { m.watch(); return nil })
	return nil
}

func (m *member) joining() wire.Join {
	j := wire.Join{Object: m.object(), Grant: *m.grant.Load(), Have: m.file.Have().Count(), Total: m.b.signed.NumPieces()}
	if j.Have < j.Total {
		j.Want = wantPeers
	}
	return j
}

// meet connects to the candidates that control names. Those that will download
// and upload as well share the duty of fetching from the edge from now on.
func (m *member) meet(told wire.Peers) {
	if told.Duty != nil {
		m.fetch.SetDuty(fetch.Duty(*told.Duty))
	}
	var seeds []uint64
	for _, c := range told.Peers {
		if c.Uploads && !c.Seed {
			seeds = append(seeds, seedOf(c.Key))
		}
	}
	if now := time.Now(); len(told.Peers) > 0 {
		m.met.CompareAndSwap(nil, &now)
	}
	m.fetch.Expect(seeds...)
	m.swarm.Connect(told.Peers)
}

// seek asks control for more peers while there are few.
func (m *member) seek(ctx context.Context) {
	if m.control == nil {
		return
	}
	every(ctx, seekEvery, func() {
		if made, failed := m.swarm.Outcomes(); len(made)+len(failed) > 0 {
			m.control.s.Links(wire.Links{Object: m.object(), Made: made, Failed: failed})
		}
		if keys := m.swarm.Keys(); len(keys) < fewPeers {
			m.control.s.Find(wire.Find{Object: m.object(), Want: wantPeers - len(keys), Except: keys, Have: m.file.Have().Count()})
		}
	})
}

// every calls f once in each period until ctx ends.
func every(ctx context.Context, period time.Duration, f func()) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

func (m *member) stopSeeking() {
	if m.seeking != nil {
		m.seeking()
	}
}

// renew gets a new grant when half of the old one's time is over.
func (m *member) renew(ctx context.Context) {
	renewing(ctx, m.b.grant.Expires, m.stale, func() (int64, error) {
		g, err := m.d.fetchGrant(ctx, m.b)
		if err != nil {
			m.d.e.log.Info("grant not renewed", "object", m.object().String()[:16], "error", err)
			return 0, err
		}
		m.grant.Store(&g.Grant)
		m.swarm.Renew()
		if m.control != nil {
			m.control.join(m, m.joining())
		}
		return g.Expires, nil
	})
}

// renewing calls again when half of a grant's time is over, and when it is stale, until
// ctx ends. again returns when the new one expires; times are in Unix seconds.
func renewing(ctx context.Context, expires int64, stale <-chan struct{}, again func() (int64, error)) {
	left := time.Until(time.Unix(expires, 0))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(left/2, minRenew)):
		case <-stale:
		}
		left = time.Minute
		if expires, err := again(); err == nil {
			left = time.Until(time.Unix(expires, 0))
		}
	}
}

// wantGrant makes renew get a new grant now.
func (m *member) wantGrant() {
	select {
	case m.stale <- struct{}{}:
	default:
	}
}

// complete tells control that this member is a seed now, and reports.
func (m *member) complete(r Result) {
	if m.control == nil {
		return
	}
	j := m.joining()
	j.Want = 0
	m.control.join(m, j)
	receipts := m.swarm.Receipts()
	report := wire.Report{
		ID: rand.Text(), Object: m.object(), Grant: *m.grant.Load(), Session: m.b.p2p.node.Key(),
		Size: r.Size, FromEdge: r.FromEdge, FromPeers: r.FromPeers, Wasted: r.Wasted,
		Millis: r.Elapsed.Milliseconds(), Complete: true, Receipts: receipts[:min(len(receipts), wire.MaxReceipts)],
	}
	report.Signature = ed25519.Sign(m.b.p2p.key, report.SignedBytes())
	if err := m.d.e.ledger.Add(m.control.url, report); err != nil {
		m.d.e.log.Warn("report not kept", "object", m.object().String()[:16], "error", err)
	}
	m.control.s.Report(report)
}

// leave quits the swarm, once: somebody else here may be a member then.
func (m *member) leave() {
	if m.swarm == nil {
		return
	}
	m.left.Do(func() {
		m.cancel()
		if m.control != nil {
			m.control.leave(m.object())
		}
		m.swarm.Leave()
	})
}

func (m *member) announce(piece int) {
	if m.swarm != nil {
		m.swarm.Announce(piece)
	}
}

func (m *member) credit(p fetch.Peer, n int) {
	if p, ok := p.(*swarm.Peer); ok {
		m.swarm.Credit(p, n)
	}
}

// handler passes what peers do to the download.
type handler struct{ m *member }

func (h handler) PeerOpen(p *swarm.Peer)               { h.m.fetch.PeerOpen(p, seedOf(p.Key())) }
func (h handler) PeerHave(p *swarm.Peer, pieces []int) { h.m.fetch.PeerHave(p, pieces) }
func (h handler) PeerLost(*swarm.Peer, []int)          {} // an object is held as a whole
func (h handler) PeerBytes(p *swarm.Peer, piece, n int) {
	h.m.served.Do(func() {
		if met := h.m.met.Load(); met != nil {
			h.m.d.e.log.Debug("first bytes from a peer", "peer", p.Key().Short(), "after", time.Since(*met))
		}
	})
	h.m.fetch.PeerBytes(p, piece, n)
}

func (h handler) PeerLate(_ *swarm.Peer, n int) { h.m.fetch.PeerLate(n) }

func (h handler) PeerPiece(p *swarm.Peer, piece int, begin int64, data []byte) {
	h.m.fetch.PeerPiece(p, piece, begin, data)
}

func (h handler) PeerReject(p *swarm.Peer, piece int, missing bool, retry time.Duration) {
	h.m.fetch.PeerReject(p, piece, missing, retry)
}

// PeerClose has control hear of a peer that did wrong.
func (h handler) PeerClose(p *swarm.Peer, err error) {
	h.m.fetch.PeerClose(p)
	if reason := swarm.Misconduct(err); blamable(reason) && h.m.control != nil {
		h.m.control.s.Blame(wire.Blame{Object: h.m.object(), Peer: p.Key(), Reason: reason})
	}
}

// blamable reports whether control is to hear of a peer that was banned. What has an
// innocent cause too is this client's own business: one that was silent may have a bad
// line, and the owner of a file may have changed it after its pieces were announced.
func blamable(reason string) bool {
	return reason == fetch.DropCorrupt || reason == swarm.BrokeProtocol
}
