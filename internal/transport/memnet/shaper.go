package memnet

import "time"

// uplink sends the packets of its flows one after the other, at its rate, the
// flows taking turns.
type uplink struct {
	clock *clock
	rate  int64 // bytes per second, 0 = no limit
	round []*flow
	busy  bool
}

// kick puts the flow into the round when it has something to send.
func (u *uplink) kick(f *flow) {
	if !f.queued && f.ready() {
		f.queued = true
		u.round = append(u.round, f)
	}
	u.serve()
}

func (u *uplink) serve() {
	for !u.busy && len(u.round) > 0 {
		f := u.round[0]
		u.round[0] = nil
		u.round = u.round[1:]
		f.queued = false
		if !f.ready() {
			continue
		}
		p := f.take()
		if f.ready() {
			f.queued = true
			u.round = append(u.round, f)
		}
		u.send(p)
	}
}

func (u *uplink) send(p packet) {
	f := p.flow
	arrive := func() { f.clock.after(f.latency, func() { f.down.put(p) }) }
	if u.rate == 0 || p.end {
		arrive()
		return
	}
	u.busy = true
	u.clock.after(duration(len(p.data), u.rate), func() {
		u.busy = false
		arrive()
		u.serve()
	})
}

// downlink receives packets one after the other, at its rate, in the order in
// which they come.
type downlink struct {
	clock *clock
	rate  int64
	queue []packet
	busy  bool
}

func (d *downlink) put(p packet) {
	d.queue = append(d.queue, p)
	d.serve()
}

func (d *downlink) serve() {
	for !d.busy && len(d.queue) > 0 {
		p := d.queue[0]
		d.queue[0] = packet{}
		d.queue = d.queue[1:]
		if d.rate == 0 || p.end {
			p.flow.deliver(p)
			continue
		}
		d.busy = true
		d.clock.after(duration(len(p.data), d.rate), func() {
			d.busy = false
			p.flow.deliver(p)
			d.serve()
		})
	}
}

// duration is how long n bytes take at a rate in bytes per second.
func duration(n int, rate int64) time.Duration {
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}
