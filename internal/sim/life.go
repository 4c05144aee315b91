package sim

import (
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/manifest"
)

// The steps of a start, in round trips to the edge: the first response begins
// after those for TCP, TLS and the request; the well-known document comes at the
// same time, then manifest and grant, one after the other. Control is reached
// meanwhile on a connection of its own: TCP, TLS, WebSocket, login.
const (
	firstByteTrips = 3
	planTrips      = 5
	loginTrips     = 7
	// pauseRate bounds how long a client leaves the first response unread while it
	// waits for the manifest: the time its size takes at this rate, bytes per second.
	pauseRate = 64 << 20
	// firstBytes is for how many bytes it asks at first.
	firstBytes = 1 << 20
)

// anyRun marks events that are about a member whatever its life.
const anyRun = -1

// schedule plans all that the Config knows of.
func (w *world) schedule() {
	for i := range w.hosts {
		spans := w.cfg.Hosts[i].Online
		w.hosts[i].online = spans == nil
		for _, s := range spans {
			w.cal.add(event{at: s.From, kind: evOnline, a: int32(i)})
			w.cal.add(event{at: s.To, kind: evOffline, a: int32(i)})
		}
	}
	for i, h := range w.cfg.Holdings {
		id := int32(len(w.cfg.Downloads) + i)
		w.members[id].until = h.Until
		if h.Until == 0 {
			w.members[id].until = w.cfg.Until
		}
		w.cal.add(event{kind: evHold, a: id})
		w.cal.add(event{at: w.members[id].until, kind: evLeave, a: id, runA: anyRun})
	}
	for i, d := range w.cfg.Downloads {
		w.cal.add(event{at: d.At, kind: evArrive, a: int32(i)})
		if d.Leave > 0 {
			w.cal.add(event{at: max(d.Leave, d.At), kind: evLeave, a: int32(i), runA: anyRun})
		}
	}
	for _, at := range w.cfg.Control.Wipes {
		w.cal.add(event{at: at, kind: evWipe})
	}
	w.cal.add(event{kind: evDivide})
	w.pending = len(w.cfg.Downloads)
}

func (w *world) handle(e event) {
	switch e.kind {
	case evArrive:
		w.arrive(e.a)
	case evHold:
		w.hold(e.a)
	case evOnline:
		w.wake(e.a)
	case evOffline:
		w.sleep(e.a)
	case evWipe:
		w.wipe()
	case evDivide:
		w.redivide()
	default:
		w.concern(e)
	}
}

// concern handles what is about a member, unless that life of it is over.
func (w *world) concern(e event) {
	m := &w.members[e.a]
	if e.runA != anyRun && e.runA != m.runs {
		return
	}
	switch e.kind {
	case evPlan:
		w.plan(e.a)
	case evJoin:
		w.join(e.a)
	case evFind:
		w.find(e.a)
	case evRenew:
		w.renew(e.a)
	case evLeave:
		w.leave(e.a)
	case evSated:
		w.sated(m)
	case evLink:
		if p := &w.members[e.b]; e.runB == p.runs {
			w.connect(e.a, e.b)
		}
	default:
	}
}

// arrive begins a download, or has it wait for its host.
func (w *world) arrive(id int32) {
	m := &w.members[id]
	h := &w.hosts[m.host]
	for _, o := range h.members {
		if w.members[o].object != m.object {
			continue
		}
		// The host has the object, or is getting it.
		w.pending--
		if w.members[o].state == seeding {
			w.outcomes[id] = Outcome{Started: true, Done: true}
			w.tally.completed++
		}
		return
	}
	if !h.online {
		h.waiting = append(h.waiting, id)
		return
	}
	w.begin(id)
}

// hold has a host share what it has from the beginning on.
func (w *world) hold(id int32) {
	m := &w.members[id]
	m.fill(&w.objects[m.object])
	h := &w.hosts[m.host]
	if !h.online {
		h.waiting = append(h.waiting, id)
		return
	}
	w.appear(id, seeding)
	w.join(id)
}

// fill gives m the whole object.
func (m *member) fill(o *object) {
	m.have, m.count = manifest.NewBitfield(o.n), o.n
	m.have.SetAll()
}

// appear brings a member to life.
func (w *world) appear(id int32, st state) {
	m := &w.members[id]
	h := &w.hosts[m.host]
	m.state, m.joined = st, false
	m.runs++
	h.members = append(h.members, id)
	if len(h.members) == 1 {
		w.tally.uplink(h, +1)
	}
	if st == seeding {
		w.tally.seeds++
		return
	}
	w.active++
	if s := w.shardOf(m.host); !m.listed {
		m.listed = true
		s.active = append(s.active, id)
	}
}

// vanish ends the life of a member: links, control and requests know it no more.
func (w *world) vanish(id int32) {
	m := &w.members[id]
	h := &w.hosts[m.host]
	if m.state == fetching {
		w.outcomes[id].Peers = m.nlinks
	}
	for slot := range m.links {
		if l := &m.links[slot]; l.peer >= 0 {
			p := &w.members[l.peer]
			p.part(l.back)
			w.unlink(p, l.back)
			w.unlink(m, int32(slot))
		}
	}
	w.hangUp(m)
	if m.joined {
		w.control.leave(w, id)
	}
	if m.state == seeding {
		w.tally.seeds--
	} else {
		w.active--
	}
	m.state, m.joined, m.plan = absent, false, nil
	m.links, m.unused, m.told, m.cancelled = nil, nil, nil, nil
	m.runs++
	h.members = slices.DeleteFunc(h.members, func(o int32) bool { return o == id })
	if len(h.members) == 0 {
		w.tally.uplink(h, -1)
	}
}

// begin starts a download, or goes on with one that was interrupted.
func (w *world) begin(id int32) {
	m := &w.members[id]
	o := &w.objects[m.object]
	w.appear(id, starting)
	w.outcomes[id].Started = true
	rtt := w.edgeRTT(m.host, 0)
	if m.have.Len() == 0 {
		m.have = manifest.NewBitfield(o.n)
	}
	if o.stream != nil { // the playlist comes first
		if w.hops[id] == nil {
			w.hops[id] = make([]uint8, o.n)
		}
		w.cal.add(event{at: w.now + firstByteTrips*rtt, kind: evPlan, a: id, runA: m.runs})
		return
	}
	if m.count == 0 {
		ready, end := firstByteTrips*rtt, o.n
		if !w.cfg.Alone {
			end = min(o.n, int(firstBytes/o.piece)) // none, where pieces are larger
			ready += min((planTrips-firstByteTrips)*rtt, time.Duration(float64(o.size)/pauseRate*float64(time.Second)))
		}
		if end > 0 {
			w.submit(w.shardOf(m.host), m, id, edgeFlow{
				conn: conn{win: initialWindow}, end: int32(end), stop: int32(end),
				ready: w.q + w.quanta(ready), rtt: float32(rtt.Seconds()), pace: float32(math.Inf(1)),
			})
		}
	}
	w.cal.add(event{at: w.now + planTrips*rtt, kind: evPlan, a: id, runA: m.runs})
}

// plan goes on with the scheduler, and tells control.
func (w *world) plan(id int32) {
	m := &w.members[id]
	if m.state != starting {
		return
	}
	m.state = fetching
	at := w.now
	if w.objects[m.object].stream != nil { // its first segment does not wait for manifest and grant
		w.tune(m, id)
		m.idle = append(m.idle, conn{last: w.q, win: initialWindow})
		at += (planTrips - firstByteTrips) * w.edgeRTT(m.host, 0)
	} else {
		var flow *edgeFlow
		if len(m.edge) > 0 {
			flow = &m.edge[0]
		}
		w.newPlan(m, id, flow)
	}
	if !w.cfg.Alone {
		w.cal.add(event{at: at + w.loginDelay(m), kind: evJoin, a: id, runA: m.runs})
	}
}

// loginDelay is how long a member takes to reach control once it has its grant.
func (w *world) loginDelay(m *member) time.Duration {
	rtt := w.edgeRTT(m.host, 0)
	h := &w.hosts[m.host]
	if h.session {
		return rtt / 2
	}
	h.session = true
	return (loginTrips-planTrips)*rtt + rtt/2
}

// finish ends a download that is whole; its host shares on if it is to.
func (w *world) finish(id int32) {
	m := &w.members[id]
	d := &w.cfg.Downloads[id]
	if m.plan != nil {
		m.plan.act(w, w.shardOf(m.host), m, id) // withdraws what is asked for twice
	}
	if p, ok := m.plan.(downloading); ok && p.Late(m.time(m.doneAt)) {
		w.tally.late++
	}
	if w.objects[m.object].stream != nil {
		m.doneAt = w.now
	}
	o := &w.outcomes[id]
	o.Done, o.Took, o.Peers = true, m.doneAt-d.At, m.nlinks
	w.pending--
	w.tally.completed++
	w.account(id)
	m.plan = nil
	w.hangUp(m)
	m.until = m.doneAt + d.Linger
	if !w.hosts[m.host].uploads || m.until <= w.now+w.dt {
		w.vanish(id)
		w.forget(id)
		return
	}
	m.state = seeding
	w.active--
	w.tally.seeds++
	w.cal.add(event{at: m.until, kind: evLeave, a: id, runA: anyRun})
	w.cal.add(event{at: w.now + satedAfter, kind: evSated, a: id, runA: m.runs})
	if m.joined {
		w.control.join(w, id, 0)
	}
}

// hangUp ends what a member has to do with edges.
func (w *world) hangUp(m *member) {
	s := w.shardOf(m.host)
	for len(m.edge) > 0 {
		w.endEdge(s, m, 0)
	}
	m.edge, m.idle = nil, nil
}

// leave is the end of a member's stay.
func (w *world) leave(id int32) {
	m := &w.members[id]
	h := &w.hosts[m.host]
	d := int(id)
	if d < len(w.cfg.Downloads) && w.outcomes[d].Started && !w.outcomes[d].Done {
		w.pending--
		w.seen(id)
	}
	if i := slices.Index(h.waiting, id); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
		if d < len(w.cfg.Downloads) && !w.outcomes[d].Started {
			w.pending--
		}
	}
	if m.state != absent {
		w.vanish(id)
	}
	w.forget(id)
}

// forget drops what a member had.
func (w *world) forget(id int32) {
	w.logs[id], w.logLen[id] = nil, 0
	if int(id) < len(w.hops) {
		w.hops[id] = nil
	}
}

// seen ends the outcome of a viewer who has seen enough.
func (w *world) seen(id int32) {
	if w.objects[w.members[id].object].stream == nil || !w.views[id].Began {
		return
	}
	o := &w.outcomes[id]
	o.Done, o.Took, o.Peers = true, w.now-w.cfg.Downloads[id].At, w.members[id].nlinks
	w.tally.completed++
	w.account(id)
}

// account has control hear of what a member has had.
func (w *world) account(id int32) {
	m, o := &w.members[id], &w.outcomes[id]
	if _, away := w.away(); m.joined && !away {
		w.control.dir.Report(w.objects[m.object].scope, o.FromEdge, o.FromPeers, w.clock())
	}
}

// wake brings a host online: what it had begun goes on, what it has is shared.
func (w *world) wake(host int32) {
	h := &w.hosts[host]
	h.online = true
	waiting := h.waiting
	h.waiting = nil
	for _, id := range waiting {
		m := &w.members[id]
		if m.count < w.objects[m.object].n && !w.done(id) {
			w.begin(id)
			continue
		}
		w.appear(id, seeding)
		delay := planTrips*w.edgeRTT(host, 0) + w.loginDelay(m)
		w.cal.add(event{at: w.now + delay, kind: evJoin, a: id, runA: m.runs})
	}
}

// sleep takes a host offline.
func (w *world) sleep(host int32) {
	h := &w.hosts[host]
	h.online, h.session = false, false
	for _, id := range slices.Clone(h.members) {
		w.vanish(id)
		h.waiting = append(h.waiting, id)
	}
}

// done reports whether a member's download has ended well.
func (w *world) done(id int32) bool { return int(id) < len(w.outcomes) && w.outcomes[id].Done }
