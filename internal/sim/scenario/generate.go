package scenario

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tandem-cdn/tandem/internal/sim"
)

// Config draws the world of a seed.
func (s *Scenario) Config(seed uint64) sim.Config {
	w := &world{s: s, seed: seed}
	w.objects()
	w.hosts()
	w.choose()
	w.downloads()
	w.holdings()
	return sim.Config{
		Seed: seed, Until: time.Duration(s.End), Tick: time.Duration(s.Tick),
		Efficiency: s.Efficiency, CertainLinks: s.Hosts.Linking == certain, Candidates: s.Policy.Candidates,
		Objects: w.cfg.Objects, Hosts: w.cfg.Hosts, Downloads: w.cfg.Downloads, Holdings: w.cfg.Holdings,
		Edges: s.edges(), Control: s.control(),
		Alone: s.Policy.Alone, Ablate: s.ablation(),
	}
}

// world is a configuration being drawn.
type world struct {
	s    *Scenario
	seed uint64
	cfg  sim.Config

	zone    []time.Duration // of hosts: local time less that of the simulation
	pick    picker          // of objects, by popularity
	askers  []int           // hosts that download, in order of their wants
	taken   map[[2]int]bool // host and object that have met
	honest  []int           // hosts that give, and give what they should
	holding map[[2]int]bool
}

// rng is the source of randomness of one aspect. Each has its own, so that
// changing one leaves the others as they were and runs can be compared.
func (w *world) rng(aspect string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(aspect))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

func (w *world) objects() {
	if w.s.streams() {
		w.stream()
		return
	}
	o := w.s.Objects
	rng := w.rng("sizes")
	for range o.Count {
		w.cfg.Objects = append(w.cfg.Objects, sim.Object{Size: max(1, int64(o.Size.next(rng))), Piece: int64(o.Piece)})
	}
	w.pick = newPicker(zipf(o.Count, o.Zipf, o.Shift))
	w.taken, w.holding = map[[2]int]bool{}, map[[2]int]bool{}
}

// choose says which hosts download: everybody once before anybody twice.
func (w *world) choose() {
	n, hosts := w.s.wantCount(), len(w.cfg.Hosts)
	rng := w.rng("askers")
	for len(w.askers) < n {
		round := rng.Perm(hosts)
		w.askers = append(w.askers, round[:min(hosts, n-len(w.askers))]...)
	}
}

func (w *world) downloads() {
	when, which, stay := w.rng("arrivals"), w.rng("objects"), w.rng("stay")
	for i, host := range w.askers {
		at := w.arrival(when, i, host)
		leave := stay.Uint64()
		at, online := w.online(host, at)
		if w.s.streams() {
			if online {
				w.view(host, at, rand.New(rand.NewPCG(leave, 0)))
			}
			continue
		}
		object, ok := w.object(which, host)
		if !ok || !online {
			continue
		}
		w.want(host, object, at, rand.New(rand.NewPCG(leave, 0)))
	}
	slices.SortStableFunc(w.cfg.Downloads, func(a, b sim.Download) int { return cmp.Compare(a.At, b.At) })
}

// object picks one that the host has not had yet.
func (w *world) object(rng *rand.Rand, host int) (int, bool) {
	for range 16 {
		o := w.pick.next(rng)
		if k := [2]int{host, o}; !w.taken[k] {
			w.taken[k] = true
			return o, true
		}
	}
	return 0, false
}

func (w *world) want(host, object int, at time.Duration, stay *rand.Rand) {
	d := &w.s.Downloads
	want := sim.Download{Host: host, Object: object, At: at, Class: class(d.Class)}
	if d.FinishBy > 0 {
		want.FinishBy = at + time.Duration(d.FinishBy)
	}
	linger, leave := d.Linger.next(stay), d.Leave.next(stay)
	if w.cfg.Hosts[host].Uploads {
		want.Linger = time.Duration(linger)
	}
	if leave > 0 {
		want.Leave = at + time.Duration(leave)
	}
	w.cfg.Downloads = append(w.cfg.Downloads, want)
}

// online is the first moment at or after at when the host is on.
func (w *world) online(host int, at time.Duration) (time.Duration, bool) {
	end := time.Duration(w.s.End)
	spans := w.cfg.Hosts[host].Online
	if spans == nil {
		return at, at < end
	}
	i, _ := slices.BinarySearchFunc(spans, at, func(sp sim.Span, t time.Duration) int { return cmp.Compare(sp.To, t+1) })
	if i == len(spans) {
		return 0, false
	}
	at = max(at, spans[i].From)
	return at, at < end
}

// holdings gives copies to hosts that give, to those first that want nothing.
func (w *world) holdings() {
	if len(w.honest) == 0 || w.s.streams() {
		return
	}
	rng := w.rng("holdings")
	asks := make([]bool, len(w.cfg.Hosts))
	for _, h := range w.askers {
		asks[h] = true
	}
	idle := slices.DeleteFunc(slices.Clone(w.honest), func(h int) bool { return asks[h] })
	if len(idle) < w.s.Seeders.Copies {
		idle = w.honest
	}
	for o := range w.cfg.Objects {
		for range w.s.Seeders.Copies {
			w.hold(idle[rng.IntN(len(idle))], o, 0)
		}
	}
	w.retained(rng)
}

// retained are the copies of downloads before the beginning that are still kept.
func (w *world) retained(rng *rand.Rand) {
	keep := float64(w.s.Seeders.Retention)
	if keep == 0 {
		return
	}
	past := int(float64(w.s.wantCount()) * keep / float64(w.s.Arrivals.Over))
	for range past {
		host, object := rng.IntN(len(w.cfg.Hosts)), w.pick.next(rng)
		until := time.Duration(rng.Float64() * keep)
		if h := &w.cfg.Hosts[host]; h.Uploads && h.Conduct == sim.Honest {
			w.hold(host, object, max(until, 1))
		}
	}
}

// hold gives a host a copy unless it has it, or will ask for it.
func (w *world) hold(host, object int, until time.Duration) {
	k := [2]int{host, object}
	if w.holding[k] || w.taken[k] {
		return
	}
	w.holding[k] = true
	w.cfg.Holdings = append(w.cfg.Holdings, sim.Holding{Host: host, Object: object, Until: until})
}

func (s *Scenario) edges() []sim.Edge {
	var edges []sim.Edge
	for _, e := range s.Edges {
		edge := sim.Edge{Rate: float64(e.Rate), RTT: time.Duration(e.RTT), Admits: e.Admits}
		for _, f := range e.Faults {
			edge.Faults = append(edge.Faults, sim.Fault{From: time.Duration(f.From), To: time.Duration(f.To), Rate: float64(f.Rate)})
		}
		edges = append(edges, edge)
	}
	return edges
}

func (s *Scenario) control() sim.Control {
	c := sim.Control{Refresh: time.Duration(s.Control.Refresh)}
	for _, o := range s.Control.Outages {
		c.Outages = append(c.Outages, sim.Span{From: time.Duration(o.From), To: time.Duration(o.To)})
	}
	for _, t := range s.Control.Wipes {
		c.Wipes = append(c.Wipes, time.Duration(t))
	}
	return c
}

func (s *Scenario) ablation() sim.Ablation {
	has := func(name string) bool { return slices.Contains(s.Policy.Ablate, name) }
	return sim.Ablation{SeedDuty: has("seed-duty"), InOrder: has("in-order"), Locality: has("locality"), Rotation: has("rotation"), GiveWay: has("give-way"), Stealing: has("stealing")}
}

func class(name string) sim.Class {
	switch name {
	case "interactive":
		return sim.Interactive
	case "background":
		return sim.Background
	default:
		return sim.Normal
	}
}
