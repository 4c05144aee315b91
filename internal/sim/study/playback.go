package study

import (
	"math"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
	"github.com/tandem-cdn/tandem/internal/sim/bound"
)

// Playback is what is drawn of a stream, of the first seed. Times are in seconds, curves
// the quantiles from 0 to 1.
type Playback struct {
	Live        bool      `json:"live"`
	Starts      []float64 `json:"starts"`
	AloneStarts []float64 `json:"edge_only_starts,omitempty"`
	Stalls      []float64 `json:"stalls"` // how long pictures stood still, of all viewers
	AloneStalls []float64 `json:"edge_only_stalls,omitempty"`
	Behind      []float64 `json:"behind,omitempty"`
	Segments    []Segment `json:"segments"`
	Hops        []Hop     `json:"hops"` // the first is from the edge
}

// Segment is one that was played. Who began with it is not counted: that comes from the
// edge.
type Segment struct {
	At      float64 `json:"at"`      // of a live stream its publication, else its place in the film
	Copies  float64 `json:"copies"`  // that edges sent
	Viewers int     `json:"viewers"` // who played it
}

// Hop is what came over so many hops.
type Hop struct {
	Share float64 `json:"share"` // of the bytes
	// Latencies are from the publication of a segment until a piece of it was there.
	Latencies []float64 `json:"latencies,omitempty"`
}

// patience is what a viewer has at least that is counted when it has seen nothing.
const patience = 10 * time.Second

func (p *pair) streams() bool { return len(p.cfg.Objects) == 1 && p.cfg.Objects[0].Stream != nil }

// playback sets the figures of what viewers saw.
func (p *pair) playback(f map[string]float64) {
	viewers, stalled, stood := stalls(p.got)
	var failed float64
	for i, o := range p.got.Outcomes {
		failed += b2f(o.Started && !p.got.Views[i].Began && p.stay(i).length() >= patience.Seconds())
	}
	f["viewers"], f["failed"] = viewers, failed
	f["stalled"], f["stall-time"] = stalled/viewers, stood/viewers
	begin := ofViews(p.got, startOf)
	f["start-p50"], f["start-p95"] = quantile(begin, 0.5), quantile(begin, 0.95)
	if p.cfg.Objects[0].Stream.Live {
		behind := ofViews(p.got, behindOf)
		f["behind-p50"], f["behind-p95"] = quantile(behind, 0.5), quantile(behind, 0.95)
	}
	if p.alone != nil {
		n, stalled, _ := stalls(p.alone)
		f["start-ratio"], f["alone-stalled"] = mean(begin)/mean(ofViews(p.alone, startOf)), stalled/n
	}
	var copies []float64
	for _, s := range p.segments() {
		copies = append(copies, s.Copies)
	}
	f["segment-copies"] = mean(copies)
}

// stalls counts viewers, those whose picture stood still, and for how long in all.
func stalls(r *sim.Result) (viewers, stalled, stood float64) {
	for i, o := range r.Outcomes {
		viewers += b2f(o.Started)
		stalled += b2f(r.Views[i].Stalled > 0)
		stood += r.Views[i].Stalled.Seconds()
	}
	return viewers, stalled, stood
}

func startOf(v sim.View) time.Duration  { return v.Startup }
func stallOf(v sim.View) time.Duration  { return v.Stalled }
func behindOf(v sim.View) time.Duration { return v.Behind }

// ofViews are times of those who saw something, sorted, in seconds.
func ofViews(r *sim.Result, f func(sim.View) time.Duration) []float64 {
	var list []float64
	for _, v := range r.Views {
		if v.Began {
			list = append(list, f(v).Seconds())
		}
	}
	slices.Sort(list)
	return list
}

// segments are those that were played, to the last that anybody has had to its end.
func (p *pair) segments() []Segment {
	s := p.cfg.Objects[0].Stream
	comes := make([]int, s.Segments+1) // less those who go
	from, to := s.Segments, 0
	for _, v := range p.got.Views {
		if v.Began {
			end := v.First + int(v.Watched/s.Duration)
			from, to = min(from, v.First), max(to, end)
			comes[v.First+1]++
			comes[max(v.First+1, end)]--
		}
	}
	size := float64(p.cfg.Objects[0].Size) / float64(s.Segments)
	var list []Segment
	viewers := 0
	for i := from; i < to; i++ {
		viewers += comes[i]
		list = append(list, Segment{At: s.Place(i).Seconds(), Copies: float64(p.got.Segments[i]) / size, Viewers: viewers})
	}
	return list
}

// hops sets the figures of the ways that pieces took.
func (p *pair) hops(f map[string]float64) {
	var bytes, sum float64
	var all []int64
	for k, h := range p.got.Hops {
		bytes += float64(h.Bytes)
		sum += float64(h.Bytes) * float64(k+1)
		if all == nil {
			all = make([]int64, len(h.Latencies))
		}
		for i, n := range h.Latencies {
			all[i] += n
		}
	}
	f["hops-mean"] = sum / bytes
	f["latency-p50"], f["latency-p95"] = later(all, 0.5), later(all, 0.95)
}

// later is a quantile of a histogram of latencies, in seconds; of nothing it is NaN.
func later(histogram []int64, q float64) float64 {
	var total, below int64
	for _, n := range histogram {
		total += n
	}
	want := q * float64(total)
	for i, n := range histogram {
		if n > 0 && float64(below+n) >= want {
			return (float64(i) + max(0, want-float64(below))/float64(n)) * sim.LatencyStep.Seconds()
		}
		below += n
	}
	return math.NaN()
}

// stay is a time in which somebody is there.
type stay struct{ from, to float64 }

func (s stay) length() float64 { return max(0, s.to-s.from) }

// stay is how long a viewer was there to watch.
func (p *pair) stay(i int) stay {
	d, o := p.cfg.Downloads[i], p.got.Outcomes[i]
	end := p.got.Simulated
	switch {
	case o.Done:
		end = d.At + o.Took
	case d.Leave > 0:
		end = min(end, d.Leave)
	}
	return stay{d.At.Seconds(), end.Seconds()}
}

// audience sets ρ and the bound of the offload: what was delivered, once by the edge, and
// the uplinks of those who are there.
func (p *pair) audience(f map[string]float64) {
	o := &p.cfg.Objects[0]
	var all float64
	var there []bound.Copy
	for i, got := range p.got.Outcomes {
		d := p.cfg.Downloads[i]
		if !got.Started {
			continue
		}
		all += float64(got.FromEdge + got.FromPeers)
		s := p.stay(i)
		if got.Done && (d.Leave == 0 || s.to < d.Leave.Seconds()) {
			s.to = min(s.to+d.Linger.Seconds(), p.got.Simulated.Seconds())
		}
		there = present(there, &p.cfg.Hosts[d.Host], s)
	}
	once := float64(len(p.segments())) * float64(o.Size) / float64(o.Stream.Segments)
	up := bound.Company(there)
	f["rho"] = up / all
	f["offload-bound"] = bound.Audience(once/all, up/all)
	f["offload-ratio"] = f["offload"] / f["offload-bound"]
}

// present adds the times of a stay in which a host is on.
func present(list []bound.Copy, h *sim.Host, s stay) []bound.Copy {
	online := h.Online
	if online == nil {
		online = []sim.Span{{To: math.MaxInt64}}
	}
	for _, on := range online {
		if a, b := max(s.from, on.From.Seconds()), min(s.to, on.To.Seconds()); a < b {
			list = append(list, bound.Copy{From: a, To: b, Up: gives(h)})
		}
	}
	return list
}

// shown fills what is drawn of a stream.
func (p *pair) shown(r *Run) {
	b := &Playback{
		Live: p.cfg.Objects[0].Stream.Live, Segments: p.segments(),
		Starts: Curve(ofViews(p.got, startOf)), Stalls: Curve(ofViews(p.got, stallOf)),
	}
	if p.alone != nil {
		b.AloneStarts, b.AloneStalls = Curve(ofViews(p.alone, startOf)), Curve(ofViews(p.alone, stallOf))
	}
	if b.Live {
		b.Behind = Curve(ofViews(p.got, behindOf))
	}
	var all float64
	for _, h := range p.got.Hops {
		all += float64(h.Bytes)
	}
	for _, h := range p.got.Hops {
		x := Hop{Share: float64(h.Bytes) / all}
		if h.Pieces > 0 {
			x.Latencies = make([]float64, points)
			for i := range x.Latencies {
				x.Latencies[i] = later(h.Latencies, float64(i)/(points-1))
			}
		}
		b.Hops = append(b.Hops, x)
	}
	r.Playback = b
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, x := range list {
		sum += x
	}
	return sum / float64(len(list))
}
