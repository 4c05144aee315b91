package directory

import "github.com/tandem-cdn/tandem/internal/wire"

// widths are how many numbers a member gets, by its uplink: who sends faster is to
// bring more of the object into the swarm.
var widths = [...]uint32{1, 2, 4}

// duties numbers the members of a swarm that upload and still download, so that
// each can tell from its numbers alone what it is to fetch from the edge (see
// fetch.Duty). Numbers that become free are given again, so that they stay dense.
type duties struct {
	of   uint32 // numbers given so far, free ones included
	held map[*Member]wire.Duty
	free [len(widths)][]uint32 // first numbers of free ranges, by width
	told uint32                // what of was when members were told last
	live uint32                // numbers that are held
}

// renumber gives everybody new numbers, without holes: many have gone.
func (d *duties) renumber() {
	held := d.held
	*d = duties{held: make(map[*Member]wire.Duty, len(held))}
	for m := range held {
		d.assign(m)
	}
}

// assign gives m its numbers, or takes them back, as is due.
func (d *duties) assign(m *Member) {
	due := m.uploads && !m.Seed() && m.Policy != wire.P2POff && m.Peer.Blamed() < Quarantine
	if _, has := d.held[m]; has == due {
		return
	}
	if !due {
		d.release(m)
		return
	}
	w := width(m.Peer.Facts().Uplink)
	d.live += widths[w]
	if d.held == nil {
		d.held = map[*Member]wire.Duty{}
	}
	if free := d.free[w]; len(free) > 0 {
		d.held[m] = wire.Duty{Index: free[len(free)-1], Width: widths[w]}
		d.free[w] = free[:len(free)-1]
		return
	}
	d.held[m] = wire.Duty{Index: d.of, Width: widths[w]}
	d.of += widths[w]
}

func (d *duties) release(m *Member) {
	held, has := d.held[m]
	if !has {
		return
	}
	delete(d.held, m)
	d.live -= held.Width
	if len(d.held) == 0 {
		*d = duties{}
		return
	}
	for w := range widths {
		if widths[w] == held.Width {
			d.free[w] = append(d.free[w], held.Index)
		}
	}
}

// duty is the share of m; the zero Duty is none. In a small swarm everybody knows
// everybody, and neighbours agree at once about every change.
func (d *duties) duty(m *Member) wire.Duty {
	held, has := d.held[m]
	if !has || len(d.held) <= SmallSwarm {
		return wire.Duty{}
	}
	held.Of = d.of
	return held
}

// width is the index of a member's width, by its spare uplink in kbit/s.
func width(uplink uint32) int {
	switch {
	case uplink < 4000: // or not known
		return 0
	case uplink < 16_000:
		return 1
	}
	return 2
}

// Duty is the share of the object that p is to fetch from the edge for the swarm;
// the zero Duty is none.
func (d *Directory) Duty(s Scope, p *Peer) (duty wire.Duty) {
	d.with(s, func(sw *Swarm) {
		if m := sw.Get(p); m != nil {
			duty = sw.duties.duty(m)
		}
	})
	return duty
}

// Redivide calls tell for the members of every swarm that has grown or shrunk so
// much since they were told that their shares are quite different now.
func (d *Directory) Redivide(tell func(s Scope, p *Peer, duty wire.Duty)) {
	for i := range d.shards {
		d.shards[i].redivide(tell)
	}
}

func (sh *shard) redivide(tell func(Scope, *Peer, wire.Duty)) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for scope, sw := range sh.swarms {
		ds := &sw.duties
		sparse := 2*ds.live < ds.of
		if sparse {
			ds.renumber()
		}
		if !sparse && ds.of < ds.told+ds.told/2+1 {
			continue
		}
		ds.told = ds.of
		for m := range ds.held {
			tell(scope, m.Peer, ds.duty(m))
		}
	}
}
