package study

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/bound"
	"github.com/tandem-cdn/tandem/internal/sim/scenario"
)

// pair is a world and what came of it, with and without peers.
type pair struct {
	s          *scenario.Scenario
	cfg        sim.Config
	got, alone *sim.Result // alone may be nil
}

// figures are the numbers of [scenario.Figures]; those that have no meaning in
// this world are left out.
func (p *pair) figures() map[string]float64 {
	f := map[string]float64{}
	p.bytes(f)
	if p.streams() {
		p.playback(f)
		p.hops(f)
		p.audience(f)
	} else {
		p.times(f)
		p.bounds(f)
		p.failures(f)
	}
	for name, v := range f {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			delete(f, name)
		}
	}
	return f
}

func (p *pair) bytes(f map[string]float64) {
	var edge, peers, same, wasted, corrupt, sent, uplink, used float64
	for _, o := range p.got.Outcomes {
		edge, peers = edge+float64(o.FromEdge), peers+float64(o.FromPeers)
		same, wasted, corrupt = same+float64(o.SameAS), wasted+float64(o.Wasted), corrupt+float64(o.Corrupt)
	}
	for _, n := range p.got.Edges {
		sent += float64(n)
	}
	for _, s := range p.got.Series {
		if s.Active > 0 {
			uplink, used = uplink+s.Uplink, used+float64(s.Peers)
		}
	}
	f["edge-bytes"], f["peer-bytes"] = sent, peers
	f["offload"] = peers / (edge + peers)
	f["same-as"] = same / peers
	f["uplink-use"] = used / uplink
	f["waste"], f["corrupt"] = wasted/(edge+peers), corrupt/(edge+peers)
	f["polluted"] = float64(p.got.Polluted)
}

// wanted is the size of all that is wanted.
func (p *pair) wanted() (sum float64) {
	seen := make([]bool, len(p.cfg.Objects))
	for _, d := range p.cfg.Downloads {
		if !seen[d.Object] {
			seen[d.Object] = true
			sum += float64(p.cfg.Objects[d.Object].Size)
		}
	}
	return sum
}

func (p *pair) times(f map[string]float64) {
	times, ratios := p.done(p.got), p.ratios()
	f["copies"] = f["edge-bytes"] / p.wanted()
	f["time-p50"], f["time-p95"], f["time-p99"] = quantile(times, 0.5), quantile(times, 0.95), quantile(times, 0.99)
	if p.alone != nil {
		f["ratio-p50"], f["ratio-p95"], f["ratio-p99"] = quantile(ratios, 0.5), quantile(ratios, 0.95), quantile(ratios, 0.99)
	}
	first, last, rate := time.Duration(math.MaxInt64), time.Duration(0), 0.0
	for i, o := range p.got.Outcomes {
		d := p.cfg.Downloads[i]
		first = min(first, d.At)
		if o.Done {
			last = max(last, d.At+o.Took)
			rate += float64(p.cfg.Objects[d.Object].Size) / o.Took.Seconds()
		}
	}
	f["makespan"] = (last - first).Seconds()
	f["rate-mean"] = rate / float64(len(times))
	if len(times) == 0 {
		delete(f, "makespan")
	}
}

// done are the sorted times of downloads that ended well, in seconds.
func (p *pair) done(r *sim.Result) []float64 {
	var list []float64
	for _, o := range r.Outcomes {
		if o.Done {
			list = append(list, o.Took.Seconds())
		}
	}
	slices.Sort(list)
	return list
}

// ratios are the sorted quotients of times with and without peers.
func (p *pair) ratios() []float64 {
	if p.alone == nil {
		return nil
	}
	var list []float64
	for i, o := range p.got.Outcomes {
		if a := p.alone.Outcomes[i]; o.Done && a.Done && a.Took > 0 {
			list = append(list, o.Took.Seconds()/a.Took.Seconds())
		}
	}
	slices.Sort(list)
	return list
}

func (p *pair) failures(f map[string]float64) {
	var begun, failed, late, due float64
	deadline := time.Duration(p.s.Downloads.Deadline)
	for i, o := range p.got.Outcomes {
		d := p.cfg.Downloads[i]
		if !o.Started {
			continue
		}
		begun++
		if o.Done || p.gaveUp(d) {
			if o.Done {
				due++
				late += b2f(deadline > 0 && o.Took > deadline)
			}
			continue
		}
		if p.hadTime(i) {
			failed++
			due, late = due+1, late+1
		}
	}
	f["downloads"], f["failed"], f["violations"] = begun, failed, float64(p.got.Violations)
	if deadline > 0 {
		f["late"] = late / due
	}
}

func (p *pair) gaveUp(d sim.Download) bool { return d.Leave > 0 && d.Leave <= p.cfg.Until }

// hadTime reports whether the edge alone would have been done before the end.
func (p *pair) hadTime(i int) bool {
	if p.alone != nil {
		return p.alone.Outcomes[i].Done
	}
	d := p.cfg.Downloads[i]
	needs := 2 * float64(p.cfg.Objects[d.Object].Size) / p.cfg.Hosts[d.Host].Down
	return d.At.Seconds()+needs < p.cfg.Until.Seconds()
}

// bounds sets the figures that compare with what is possible.
func (p *pair) bounds(f map[string]float64) {
	sizes := make([]float64, len(p.cfg.Objects))
	for i, o := range p.cfg.Objects {
		sizes[i] = float64(o.Size)
	}
	wants, copies, held := p.wants(sizes)
	var edge, up, down float64
	elastic := false
	for _, e := range p.cfg.Edges {
		edge += e.Rate
		elastic = elastic || e.Rate == 0
	}
	if elastic {
		edge = 0
	}
	for i := range p.cfg.Hosts {
		up, down = up+gives(&p.cfg.Hosts[i]), down+p.cfg.Hosts[i].Down
	}
	f["rho"] = up / down
	if len(wants) == 0 {
		return
	}
	first := wants[0].At
	// A client is taken to give to the end from its beginning on: its copy is not
	// another uplink.
	f["makespan-bound"] = bound.Makespan(sizes, edge, wants, held) - first
	f["makespan-ratio"] = f["makespan"] / f["makespan-bound"]
	if f["makespan"] == 0 {
		delete(f, "makespan-ratio")
	}
	if elastic || p.alone != nil {
		var demand float64
		for _, w := range wants {
			demand += sizes[w.Object]
		}
		f["offload-bound"] = bound.PeerBytes(sizes, wants, copies) / demand
		f["offload-ratio"] = f["offload"] / f["offload-bound"]
	}
}

// gives is the uplink of a host that sends what it should.
func gives(h *sim.Host) float64 {
	if !h.Uploads || h.Conduct != sim.Honest {
		return 0
	}
	return h.Up
}

// wants is the world as the bounds see it: downloads last as long as from the
// edge alone, and who keeps a copy, or holds one from the beginning, gives it
// whenever online.
func (p *pair) wants(sizes []float64) (wants []bound.Want, copies, held []bound.Copy) {
	for i, d := range p.cfg.Downloads {
		h := &p.cfg.Hosts[d.Host]
		took := sizes[d.Object] / h.Down
		if p.alone != nil {
			if p.alone.Outcomes[i].Done {
				took = p.alone.Outcomes[i].Took.Seconds()
			} else if p.gaveUp(d) || !p.got.Outcomes[i].Started {
				continue
			}
		}
		at := d.At.Seconds()
		slack := max(0, p.due(d)-took)
		wants = append(wants, bound.Want{Object: d.Object, At: at, Duration: took, Slack: slack, Down: h.Down, Up: gives(h)})
		copies = kept(copies, d.Object, h, at+took+slack, at+took+slack+d.Linger.Seconds())
	}
	for _, k := range p.cfg.Holdings {
		until := cmp.Or(k.Until, p.cfg.Until)
		held = kept(held, k.Object, &p.cfg.Hosts[k.Host], 0, until.Seconds())
	}
	return wants, append(copies, held...), held
}

// due is how long a download may take by its deadline, in seconds.
func (p *pair) due(d sim.Download) float64 {
	if d.FinishBy > 0 {
		return (d.FinishBy - d.At).Seconds()
	}
	return time.Duration(p.s.Downloads.Deadline).Seconds()
}

// kept adds the times in which a host gives a copy.
func kept(copies []bound.Copy, object int, h *sim.Host, from, to float64) []bound.Copy {
	up := gives(h)
	if up == 0 || to <= from {
		return copies
	}
	if h.Online == nil {
		return append(copies, bound.Copy{Object: object, From: from, To: to, Up: up})
	}
	for _, on := range h.Online {
		a, b := max(from, on.From.Seconds()), min(to, on.To.Seconds())
		if a < b {
			copies = append(copies, bound.Copy{Object: object, From: a, To: b, Up: up})
		}
	}
	return copies
}

// curves fills what is drawn of a run.
func (p *pair) curves(r *Run) {
	if p.streams() {
		p.shown(r)
	} else {
		r.Times, r.Ratios = Curve(p.done(p.got)), Curve(p.ratios())
		if p.alone != nil {
			r.AloneTimes = Curve(p.done(p.alone))
		}
		const most = 1000 // objects: more are not told apart in a picture
		r.Copies = p.got.Copies[:min(len(p.got.Copies), most)]
	}
	before := 0.0
	for _, s := range p.got.Series {
		at := s.At.Seconds()
		r.Series = append(r.Series, Sample{At: at, Span: at - before, Edge: s.Edge, Peers: s.Peers, Active: s.Active, Seeds: s.Seeds, Done: s.Completed})
		before = at
	}
	r.Matrix, r.ASes = p.got.Matrix.Bytes, p.got.Matrix.AS
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
