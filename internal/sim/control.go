package sim

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/tandem-cdn/tandem/internal/control/directory"
	"github.com/tandem-cdn/tandem/internal/fetch"
	"github.com/tandem-cdn/tandem/internal/wire"
)

// What real clients and control do; see package agent and package control.
const (
	seekEvery = 10 * time.Second
	// divideEvery is how often control tells the members of swarms whose number has
	// changed what each is to fetch from the edge.
	divideEvery = 500 * time.Millisecond
	fewPeers    = 8
	pairAgain   = 2 * time.Second
	// againFrom and againWithin bound the pause until a client that has lost
	// control comes back to it.
	againFrom, againWithin = 250 * time.Millisecond, 4 * time.Second
)

type scope = directory.Scope

// controlPlane is the directory with the sessions of the hosts.
type controlPlane struct {
	dir    *directory.Directory
	wipes  uint64
	peers  []*directory.Peer // by host, nil until it first joins
	blamed map[int32]map[int32]bool
	byNAT  map[natFacts]*directory.Facts
}

type natFacts struct {
	nat          wire.NAT
	tcp, uploads bool
}

func newControlPlane(w *world) controlPlane {
	w.banned = map[[2]int32]bool{}
	return controlPlane{
		dir: directory.New(w.cfg.Seed), peers: make([]*directory.Peer, len(w.hosts)),
		blamed: map[int32]map[int32]bool{}, byNAT: map[natFacts]*directory.Facts{},
	}
}

func scopeOf(seed uint64, object int) scope {
	var s scope
	binary.BigEndian.PutUint64(s.Object[:], mix(seed^uint64(object)<<20))
	binary.BigEndian.PutUint64(s.Object[8:], uint64(object))
	return s
}

// seedOf is a host's place in the election of owners: the beginning of its key.
func (w *world) seedOf(host int32) uint64 { return mix(mix(w.cfg.Seed) + uint64(host)) }

func (w *world) keyOf(host int32) wire.Key {
	var k wire.Key
	binary.BigEndian.PutUint64(k[:], w.seedOf(host))
	binary.BigEndian.PutUint64(k[8:], uint64(host))
	return k
}

// mix is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit makes a number in [0, 1) of x.
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// facts are what a host tells control of itself.
func (c *controlPlane) facts(w *world, host int32) *directory.Facts {
	h := &w.cfg.Hosts[host]
	k := natFacts{h.NAT, h.TCP, h.Uploads}
	f := c.byNAT[k]
	if f == nil {
		f = &directory.Facts{NAT: h.NAT, TCP: h.TCP, Uploads: h.Uploads}
		c.byNAT[k] = f
	}
	return f
}

func (c *controlPlane) peer(w *world, host int32) *directory.Peer {
	if c.peers[host] == nil {
		place := w.cfg.Hosts[host].Place
		if w.cfg.Ablate.Locality {
			place = nowhere(host)
		}
		c.peers[host] = directory.NewPeer(w.keyOf(host), place)
		c.peers[host].Set(c.facts(w, host))
	}
	return c.peers[host]
}

// nowhere is a place that is near no other.
func nowhere(host int32) directory.Place {
	var b [16]byte
	b[0] = 0xfd
	binary.BigEndian.PutUint32(b[12:], uint32(host))
	ip := netip.AddrFrom16(b)
	all := netip.PrefixFrom(ip, ip.BitLen())
	return directory.Place{IP: ip, Site: all, Net: all}
}

// clock is now as the directory sees it.
func (w *world) clock() time.Time { return time.Unix(1e9, 0).Add(w.now) }

// away is when control is back, if it is away.
func (w *world) away() (back time.Duration, away bool) {
	for _, o := range w.cfg.Control.Outages {
		if w.now >= o.From && w.now < o.To {
			return o.To, true
		}
	}
	return 0, false
}

// retry plans what control was to do for when it is back.
func (w *world) retry(k kind, id int32) bool {
	back, away := w.away()
	if away {
		at := back + againFrom + time.Duration(w.rng.Int64N(int64(againWithin)))
		w.cal.add(event{at: at, kind: k, a: id, runA: w.members[id].runs})
	}
	return away
}

// join tells control of a member and has it named to peers.
func (w *world) join(id int32) {
	m := &w.members[id]
	if w.cfg.Alone || m.state != fetching && m.state != seeding || w.retry(evJoin, id) {
		return
	}
	first := !m.joined
	m.joined = true
	want := 0
	if m.state == fetching {
		want = w.candidates()
	}
	w.control.join(w, id, want)
	if first && m.state == fetching {
		w.cal.add(event{at: w.now + seekEvery, kind: evFind, a: id, runA: m.runs})
		w.cal.add(event{at: w.now + w.cfg.Control.Refresh, kind: evRenew, a: id, runA: m.runs})
	}
}

func (w *world) candidates() int {
	if w.cfg.Candidates > 0 {
		return min(w.cfg.Candidates, wire.MaxCandidates)
	}
	return wire.MaxCandidates
}

// find has a download with few peers ask for more.
func (w *world) find(id int32) {
	m := &w.members[id]
	if m.state != fetching {
		return
	}
	m.told = nil
	if m.nlinks < fewPeers && !w.cfg.Ablate.Rotation {
		if _, away := w.away(); !away && m.joined {
			w.control.find(w, id, w.candidates()-m.nlinks)
		}
	}
	w.cal.add(event{at: w.now + seekEvery, kind: evFind, a: id, runA: m.runs})
}

// renew repeats the announcement of a download. Seeds are taken to do so, too:
// nothing changes by it.
func (w *world) renew(id int32) {
	m := &w.members[id]
	if m.state != fetching {
		return
	}
	if _, away := w.away(); !away && m.joined {
		w.control.join(w, id, 0)
	}
	w.cal.add(event{at: w.now + w.cfg.Control.Refresh, kind: evRenew, a: id, runA: m.runs})
}

// wipe empties the directory. The members come back by their next announcement.
func (w *world) wipe() {
	c := &w.control
	c.wipes++
	c.dir = directory.New(mix(w.cfg.Seed + c.wipes))
	for id := range w.members {
		m := &w.members[id]
		if m.joined {
			at := w.now + time.Duration(w.rng.Int64N(int64(w.cfg.Control.Refresh)))
			w.cal.add(event{at: at, kind: evJoin, a: int32(id), runA: m.runs})
		}
	}
}

// forever is longer than any membership: members that go say so.
const forever = 100 * 365 * 24 * time.Hour

func (c *controlPlane) join(w *world, id int32, want int) {
	m := &w.members[id]
	o := &w.objects[m.object]
	ms := directory.Membership{Have: m.count, Total: o.n, Expires: w.clock().Add(forever)}
	if o.stream != nil { // a member of a stream is never complete
		ms.Total = max(m.known, 1)
		ms.Have = min(m.count, ms.Total-1)
	}
	c.name(w, id, c.dir.Join(o.scope, c.peer(w, m.host), ms, w.query(id, want, nil)))
}

func (c *controlPlane) find(w *world, id int32, want int) {
	m := &w.members[id]
	except := make([]wire.Key, 0, m.nlinks)
	for i := range m.links {
		if p := m.links[i].peer; p >= 0 {
			except = append(except, w.keyOf(w.members[p].host))
		}
	}
	got, ok := c.dir.Find(w.objects[m.object].scope, c.peer(w, m.host), m.count, w.query(id, want, except))
	if !ok {
		c.join(w, id, want) // the directory was wiped
		return
	}
	c.name(w, id, got)
}

func (w *world) query(id int32, want int, except []wire.Key) directory.Query {
	m := &w.members[id]
	return directory.Query{Want: want, Except: except, Now: w.clock(), Allow: func(d *directory.Member) bool {
		p := w.memberOf(d.Peer, m.object)
		return p >= 0 && !w.wasTold(m, p)
	}}
}

// memberOf is the member that a host has in the swarm of an object, or −1.
func (w *world) memberOf(p *directory.Peer, object int32) int32 {
	host := binary.BigEndian.Uint64(p.Key[8:])
	for _, id := range w.hosts[host].members {
		if w.members[id].object == object {
			return id
		}
	}
	return -1
}

// redivide tells the members of swarms that have grown or shrunk what each is to
// fetch from the edge now.
func (w *world) redivide() {
	if _, away := w.away(); !away {
		w.control.dir.Redivide(func(s scope, p *directory.Peer, duty wire.Duty) {
			if id := w.memberOf(p, int32(binary.BigEndian.Uint64(s.Object[8:]))); id >= 0 {
				w.assign(id, duty)
			}
		})
	}
	w.cal.add(event{at: w.now + divideEvery, kind: evDivide})
}

// assign tells a member its share.
func (w *world) assign(id int32, duty wire.Duty) {
	m := &w.members[id]
	m.duty = duty
	if d, ok := m.plan.(downloading); ok {
		d.SetDuty(fetch.Duty(duty))
		m.due = true
	}
}

// name introduces candidates, and tells the one that asked its share.
func (c *controlPlane) name(w *world, id int32, got []*directory.Candidate) {
	m := &w.members[id]
	w.assign(id, c.dir.Duty(w.objects[m.object].scope, c.peer(w, m.host)))
	for _, g := range got {
		g.Peer.Assign(w.clock())
		if p := w.memberOf(g.Peer, w.members[id].object); p >= 0 {
			w.introduce(id, p)
		}
	}
}

func (c *controlPlane) leave(w *world, id int32) {
	m := &w.members[id]
	c.dir.Leave(w.objects[m.object].scope, c.peer(w, m.host))
}

// blame ends the dealings of a host with another, and has control hear of it.
func (c *controlPlane) blame(w *world, d drop) {
	by, of := w.members[d.by].host, w.members[d.peer].host
	w.banned[[2]int32{by, of}] = true
	if _, away := w.away(); away || d.reason != fetch.DropCorrupt { // a bad line, or pieces that are gone, may be no fault
		return
	}
	if c.blamed[of] == nil {
		c.blamed[of] = map[int32]bool{}
	}
	c.blamed[of][by] = true
	c.peer(w, of).Blame(len(c.blamed[of]))
}
